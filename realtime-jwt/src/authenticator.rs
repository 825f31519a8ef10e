use std::time::SystemTime;

use async_trait::async_trait;
use realtime_core::{Authenticator, ConnectRequest, Identity, Refusal, Result};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use crate::check::check;
use crate::claims::JwtClaims;
use crate::config::JwtConfig;
use crate::header::Header;
use crate::key_set::{KeySet, Verified};
use crate::refusals::{malformed, missing, unknown_key, wrong_claim, wrong_signature};
use crate::rotation::Rotation;

/// An authenticator of clients with a JSON Web Token (RFC 7519): it verifies the signature with a
/// key of its own, by that key's algorithm, checks the claims, and makes the identity of them.
///
/// ```
/// use realtime_jwt::{JwtAlgorithm, JwtAuthenticator, JwtConfig, JwtKey};
///
/// # fn main() -> realtime_core::Result<()> {
/// let key = JwtKey::from_secret(JwtAlgorithm::Hs256, "32 random bytes, from a variable")?;
/// let config = JwtConfig::default()
///     .with_key(key)
///     .with_issuer("https://login.example")
///     .with_tenant_claim("org");
/// let authenticator = JwtAuthenticator::new(config)?; // .authenticator(authenticator)
/// # drop(authenticator); Ok(()) }
/// ```
///
/// A refusal has a code for each reason, with the status 401: `token_missing`, `token_malformed`,
/// `token_unknown_key`, `token_signature`, `token_expired`, `token_not_yet_valid`,
/// `token_audience`, `token_issuer`, `token_claims`; with 503 and `Retry-After`:
/// `keys_unavailable`. Nothing of a token is in a refusal or in the log.
#[derive(Debug)]
pub struct JwtAuthenticator {
    config: JwtConfig,
    keys: KeySet,
    rotation: Option<Rotation>,
}

impl JwtAuthenticator {
    /// Creates an authenticator with this configuration.
    ///
    /// # Errors
    /// [`realtime_core::Error::Config`] that names what cannot work.
    pub fn new(config: JwtConfig) -> Result<Self> {
        config.check()?;
        let rotation = config.jwks.clone().map(Rotation::new).transpose()?;
        Ok(Self { keys: KeySet::new(config.keys.clone()), rotation, config })
    }

    /// Verifies a token and returns the identity that it makes, as for a client that connects with
    /// it.
    ///
    /// # Errors
    /// A [`Refusal`] with the code of the reason.
    pub async fn identify(&self, token: &str) -> Result<Identity, Refusal> {
        if token.is_empty() {
            return Err(missing());
        }
        if token.len() > self.config.max_token_bytes {
            return Err(malformed("the token is too long"));
        }
        let claims = self.verify(token).await?;
        let claims: Map<String, Value> = serde_json::from_str(claims.get())
            .map_err(|_| malformed("the token's claims are no object, or nested too deep"))?;
        let ends = check(&claims, &self.config, SystemTime::now())?;
        let identity = self.identity(&claims)?;
        let identity = match claims.get("jti").and_then(Value::as_str) {
            Some(id) if identity.token_id().is_none() => identity.with_token_id(id),
            _ => identity,
        };
        let ends = ends.into_iter().chain(identity.expiry()).min();
        Ok(ends.map_or(identity.clone(), |at| identity.with_expiry(at)))
    }

    /// Returns the claims of a token that a key of this authenticator has signed.
    async fn verify(&self, token: &str) -> Result<Box<RawValue>, Refusal> {
        let header = Header::read(token)?;
        let own = self.keys.verify(&header, token)?;
        let (Verified::UnknownKey | Verified::WrongSignature, Some(rotation)) = (&own, &self.rotation) else {
            return claims_of(own);
        };
        let fetched = rotation.keys().await?.verify(&header, token)?;
        let is_known = match fetched {
            Verified::Claims(_) => true,
            // With which of several keys a token without a key id was signed is not known.
            Verified::WrongSignature => header.key_id.is_some(),
            Verified::UnknownKey => false,
        };
        if is_known {
            return claims_of(fetched);
        }
        claims_of(rotation.newer_keys().await?.verify(&header, token)?)
    }

    /// Makes the identity of verified claims.
    fn identity(&self, claims: &Map<String, Value>) -> Result<Identity, Refusal> {
        let config = &self.config;
        if let Some(identify) = &config.identify {
            return identify(&JwtClaims::new(claims));
        }
        let name = |claim: &str| match claims.get(claim) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(Value::Number(number)) if number.is_u64() || number.is_i64() => Ok(number.to_string()),
            _ => Err(wrong_claim(claim, "a text or a whole number")),
        };
        let mut identity = Identity::user(name(&config.user_claim)?).with_claims(JwtClaims::new(claims));
        if let Some(claim) = &config.tenant_claim {
            identity = identity.with_tenant(name(claim)?);
        }
        if let Some(claim) = &config.rooms_claim {
            identity = identity.with_rooms(rooms(claims, claim)?);
        }
        Ok(identity)
    }
}

#[async_trait]
impl Authenticator for JwtAuthenticator {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let token = request.token_in(&self.config.sources).ok_or_else(missing)?;
        self.identify(&token).await
    }
}

fn claims_of(verified: Verified) -> Result<Box<RawValue>, Refusal> {
    match verified {
        Verified::Claims(claims) => Ok(claims),
        Verified::UnknownKey => Err(unknown_key()),
        Verified::WrongSignature => Err(wrong_signature()),
    }
}

/// Returns the rooms that a claim names.
fn rooms(claims: &Map<String, Value>, claim: &str) -> Result<Vec<String>, Refusal> {
    let wrong = || wrong_claim(claim, "a list of texts");
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(room)) => Ok(vec![room.clone()]),
        Some(Value::Array(rooms)) => {
            rooms.iter().map(|room| room.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        Some(_) => Err(wrong()),
    }
}
