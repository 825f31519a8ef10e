//! Key sets as documents (RFC 7517 §5).

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use realtime_core::{Error, Result};
use serde::Deserialize;
use serde_json::Value;

use crate::algorithm::JwtAlgorithm;
use crate::key::JwtKey;
use crate::key_set::KeySet;

/// The most keys of a document that are read.
const MAX_KEYS: usize = 100;

/// The bytes of an RSA key's modulus: 2048 to 8192 bits.
const MODULUS_BYTES: std::ops::RangeInclusive<usize> = 256..=1024;

/// The bytes of an Ed25519 key.
const POINT_BYTES: usize = 32;

#[derive(Deserialize)]
struct Document {
    keys: Vec<Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    alg: Option<String>,
    kid: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

/// Reads the public keys of a document. What is for something else than signatures, or of a kind
/// that is not known, is skipped: an issuer may have added it for others. So are secrets (`oct`),
/// which do not belong into a document that is published.
///
/// # Errors
/// [`Error::Config`] for what is no key set.
pub(crate) fn read(document: &[u8]) -> Result<KeySet> {
    let Document { keys } = serde_json::from_slice(document).map_err(|_| {
        Error::Config("jwt: the document is no key set (JWKS): an object with a list \"keys\"".to_owned())
    })?;
    let found = keys.len();
    let mut read = KeySet::default();
    keys.into_iter().take(MAX_KEYS).filter_map(key).for_each(|key| read.push(key));
    if read.len() < found {
        tracing::debug!(found, usable = read.len(), "keys of a key set were skipped");
    }
    Ok(read)
}

/// Returns the key of an entry, if it is one that verifies tokens.
fn key(entry: Value) -> Option<JwtKey> {
    let jwk: Jwk = serde_json::from_value(entry).ok()?;
    let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk.key_ops.as_ref().is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    if !signs {
        return None;
    }
    let (algorithms, key): (Vec<_>, _) = match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => {
            let modulus = jwk.n.as_deref()?;
            if !MODULUS_BYTES.contains(&URL_SAFE_NO_PAD.decode(modulus).ok()?.len()) {
                return None;
            }
            (JwtAlgorithm::RSA.into(), DecodingKey::from_rsa_components(modulus, jwk.e.as_deref()?))
        }
        ("EC", Some("P-256")) => (vec![JwtAlgorithm::Es256], curve_key(&jwk)?),
        ("EC", Some("P-384")) => (vec![JwtAlgorithm::Es384], curve_key(&jwk)?),
        ("OKP", Some("Ed25519")) => {
            let point = jwk.x.as_deref()?;
            // The library panics with another length.
            if URL_SAFE_NO_PAD.decode(point).ok()?.len() != POINT_BYTES {
                return None;
            }
            (vec![JwtAlgorithm::EdDsa], DecodingKey::from_ed_components(point))
        }
        _ => return None,
    };
    let algorithms = match &jwk.alg {
        None => algorithms,
        Some(name) => vec![JwtAlgorithm::of_name(name).filter(|own| algorithms.contains(own))?],
    };
    let first = *algorithms.first()?;
    let key = JwtKey::new(jwk.kid, algorithms, key.ok()?);
    key.check(first).ok()?;
    Some(key)
}

fn curve_key(jwk: &Jwk) -> Option<jsonwebtoken::errors::Result<DecodingKey>> {
    Some(DecodingKey::from_ec_components(jwk.x.as_deref()?, jwk.y.as_deref()?))
}
