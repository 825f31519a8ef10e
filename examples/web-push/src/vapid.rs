use std::time::{Duration, SystemTime, UNIX_EPOCH};

use axum::http::Uri;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey};
use realtime_unified::BoxError;
use serde_json::json;

/// The time for which a signature is valid; push services accept a day at most.
const VALID: Duration = Duration::from_secs(12 * 3600);

/// The key by which push services know this application (RFC 8292).
#[derive(Clone)]
pub struct Vapid {
    signing: EncodingKey,
    public: String,
    contact: String,
}

impl Vapid {
    /// Creates a new key. Subscriptions belong to a key: a real application keeps one for ever.
    ///
    /// # Errors
    /// When the machine has no random numbers.
    pub fn random(contact: &str) -> Result<Self, BoxError> {
        let mut bytes = [0; 32];
        loop {
            getrandom::fill(&mut bytes)?;
            // Almost every number is a key.
            if let Ok(key) = SecretKey::from_slice(&bytes) {
                return Self::new(&key, contact);
            }
        }
    }

    /// Reads a key of P-256 in PKCS#8, as `openssl genpkey -algorithm EC -pkeyopt
    /// ec_paramgen_curve:P-256` writes it. `contact` is a `mailto:` or `https:` URL for the
    /// operators of push services.
    ///
    /// # Errors
    /// For another text.
    pub fn from_pem(pem: &str, contact: &str) -> Result<Self, BoxError> {
        Self::new(&SecretKey::from_pkcs8_pem(pem)?, contact)
    }

    fn new(key: &SecretKey, contact: &str) -> Result<Self, BoxError> {
        let signing = EncodingKey::from_ec_der(key.to_pkcs8_der()?.as_bytes());
        let public = URL_SAFE_NO_PAD.encode(key.public_key().to_encoded_point(false));
        Ok(Self { signing, public, contact: contact.to_owned() })
    }

    /// Returns the public key, for `pushManager.subscribe({ applicationServerKey })`.
    #[must_use]
    pub fn public_key(&self) -> &str {
        &self.public
    }

    /// Returns the `Authorization` of a request to this endpoint: a token for its origin.
    ///
    /// # Errors
    /// For an endpoint without scheme and host.
    pub fn authorization(&self, endpoint: &Uri) -> Result<String, BoxError> {
        let (scheme, authority) = endpoint.scheme_str().zip(endpoint.authority()).ok_or("the endpoint is no URL")?;
        let expiry = SystemTime::now().duration_since(UNIX_EPOCH)? + VALID;
        let claims = json!({ "aud": format!("{scheme}://{authority}"), "exp": expiry.as_secs(), "sub": self.contact });
        let token = encode(&Header::new(Algorithm::ES256), &claims, &self.signing)?;
        Ok(format!("vapid t={token}, k={}", self.public))
    }
}
