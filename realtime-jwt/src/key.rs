use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::errors::{Error as JwtError, ErrorKind};
use jsonwebtoken::{DecodingKey, Validation, decode};
use realtime_core::{Error, Result};
use serde_json::value::RawValue;

use crate::algorithm::JwtAlgorithm;

/// The fewest bytes of an RSA key: 2048 bits.
const LEAST_RSA_BYTES: usize = 256;
/// The fewest bytes of a point.
const LEAST_POINT_BYTES: usize = 32;

/// A key that verifies tokens, and the algorithm that it is for: a token that says another one in
/// its header is not verified with it.
#[derive(Clone)]
pub struct JwtKey {
    /// The key's `kid`.
    pub(crate) id: Option<String>,
    algorithms: Box<[JwtAlgorithm]>,
    key: DecodingKey,
}

/// The reason why a key did not verify a token.
pub(crate) enum Unverified {
    /// A text that is no token with claims.
    Malformed,
    /// A signature of another key.
    Signature,
}

impl JwtKey {
    /// Creates the key of an HMAC: `Hs256`, `Hs384` or `Hs512`, with a secret of at least 32, 48 or
    /// 64 bytes (RFC 7518 §3.2), random ones. Who can verify such a token can make one too.
    ///
    /// # Errors
    /// [`Error::Config`] for another algorithm, or a secret that is too short.
    pub fn from_secret(algorithm: JwtAlgorithm, secret: impl AsRef<[u8]>) -> Result<Self> {
        let secret = secret.as_ref();
        let Some(least) = algorithm.secret_bytes() else {
            return Err(config(algorithm, "has public keys: JwtKey::from_pem"));
        };
        if secret.len() < least {
            return Err(config(algorithm, &format!("needs a secret of at least {least} random bytes")));
        }
        Ok(Self::new(None, [algorithm], DecodingKey::from_secret(secret)))
    }

    /// Creates a public key from its PEM text (`-----BEGIN PUBLIC KEY-----`, or an RSA key's
    /// `-----BEGIN RSA PUBLIC KEY-----`). RSA keys have at least 2048 bits (RFC 7518 §3.3).
    ///
    /// # Errors
    /// [`Error::Config`] for a text that is no public key of this algorithm, and for a private key.
    pub fn from_pem(algorithm: JwtAlgorithm, pem: impl AsRef<[u8]>) -> Result<Self> {
        let pem = pem.as_ref();
        let has = |label: &[u8]| pem.windows(label.len()).any(|part| part == label);
        if has(b"PRIVATE KEY") {
            return Err(config(algorithm, "needs the public key, and this PEM is a private one"));
        }
        if has(b"CERTIFICATE") {
            return Err(config(algorithm, "needs the key of the certificate: openssl x509 -pubkey -noout"));
        }
        let key = match algorithm {
            JwtAlgorithm::EdDsa => DecodingKey::from_ed_pem(pem),
            JwtAlgorithm::Es256 | JwtAlgorithm::Es384 => DecodingKey::from_ec_pem(pem),
            JwtAlgorithm::Hs256 | JwtAlgorithm::Hs384 | JwtAlgorithm::Hs512 => {
                return Err(config(algorithm, "has secrets: JwtKey::from_secret"));
            }
            _ => DecodingKey::from_rsa_pem(pem),
        };
        let key = key.map_err(|_| config(algorithm, "cannot use this PEM: it is no public key of its kind"))?;
        // Of an RSA key the modulus and a few bytes more; of a curve a point.
        let least = if JwtAlgorithm::RSA.contains(&algorithm) { LEAST_RSA_BYTES } else { LEAST_POINT_BYTES };
        if key.try_get_as_bytes().is_ok_and(|bytes| bytes.len() < least) {
            return Err(config(algorithm, "cannot use this PEM: its key is too short"));
        }
        let key = Self::new(None, [algorithm], key);
        key.check(algorithm)?;
        Ok(key)
    }

    /// Sets the key's id: a token with another `kid` in its header is not verified with it. A key
    /// without an id verifies tokens of any.
    #[must_use]
    pub fn with_id(mut self, id: impl Into<String>) -> Self {
        self.id = Some(id.into());
        self
    }

    pub(crate) fn new(id: Option<String>, algorithms: impl Into<Box<[JwtAlgorithm]>>, key: DecodingKey) -> Self {
        Self { id, algorithms: algorithms.into(), key }
    }

    /// Returns whether a token with this algorithm and key id may be verified with the key.
    pub(crate) fn matches(&self, algorithm: JwtAlgorithm, id: Option<&str>) -> bool {
        let same_id = self.id.as_deref().is_none_or(|own| id.is_none_or(|id| own == id));
        same_id && self.algorithms.contains(&algorithm)
    }

    /// Verifies the signature of a token, by one of the key's algorithms; returns its claims as
    /// JSON.
    pub(crate) fn verify(
        &self,
        algorithm: JwtAlgorithm,
        token: &str,
    ) -> std::result::Result<Box<RawValue>, Unverified> {
        match self.decode(algorithm, token) {
            Ok(claims) => Ok(claims),
            Err(error) if is_of_token(&error) => Err(Unverified::Malformed),
            Err(_) => Err(Unverified::Signature),
        }
    }

    /// Checks that the key can be used with an algorithm: it is of the algorithm's kind and curve.
    pub(crate) fn check(&self, algorithm: JwtAlgorithm) -> Result<()> {
        // A signature is looked at only with a key that can be read. No signature is shorter.
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{}"}}"#, algorithm.name()));
        let signature = URL_SAFE_NO_PAD.encode([1; 64]);
        match self.decode(algorithm, &format!("{header}.e30.{signature}")) {
            Err(error) if *error.kind() == ErrorKind::InvalidSignature => Ok(()),
            _ => Err(config(algorithm, "cannot use this key: it is of another kind, curve or size")),
        }
    }

    fn decode(&self, algorithm: JwtAlgorithm, token: &str) -> std::result::Result<Box<RawValue>, JwtError> {
        let mut validation = Validation::new(algorithm.into());
        // The claims are checked when they have been read (check.rs).
        validation.required_spec_claims.clear();
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        decode::<Box<RawValue>>(token, &self.key, &validation).map(|data| data.claims)
    }
}

/// Returns whether an error is about the token's text.
fn is_of_token(error: &JwtError) -> bool {
    matches!(error.kind(), ErrorKind::Base64(_) | ErrorKind::InvalidToken | ErrorKind::Json(_) | ErrorKind::Utf8(_))
}

fn config(algorithm: JwtAlgorithm, what: &str) -> Error {
    Error::Config(format!("jwt: {} {what}", algorithm.name()))
}

impl std::fmt::Debug for JwtKey {
    /// Writes the id and the algorithms.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { id, algorithms, key: _ } = self;
        f.debug_struct("JwtKey").field("id", id).field("algorithms", algorithms).finish_non_exhaustive()
    }
}
