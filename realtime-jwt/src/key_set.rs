use realtime_core::Refusal;
use serde_json::value::RawValue;

use crate::header::Header;
use crate::key::{JwtKey, Unverified};
use crate::refusals::malformed;

/// Keys that may have signed a token.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeySet(Vec<JwtKey>);

/// The outcome of verifying a token with a set of keys.
pub(crate) enum Verified {
    /// The claims, as JSON.
    Claims(Box<RawValue>),
    /// No key of the set is for the token.
    UnknownKey,
    /// A key that is for the token did not sign it.
    WrongSignature,
}

impl KeySet {
    pub(crate) fn new(keys: Vec<JwtKey>) -> Self {
        Self(keys)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn push(&mut self, key: JwtKey) {
        self.0.push(key);
    }

    /// Verifies a token with the keys that are for its algorithm and its key id; one without a key
    /// id with all keys that are for its algorithm.
    ///
    /// # Errors
    /// The refusal of a text that is no token.
    pub(crate) fn verify(&self, header: &Header, token: &str) -> Result<Verified, Refusal> {
        let mut outcome = Verified::UnknownKey;
        for key in self.0.iter().filter(|key| key.matches(header.algorithm, header.key_id.as_deref())) {
            match key.verify(header.algorithm, token) {
                Ok(claims) => return Ok(Verified::Claims(claims)),
                Err(Unverified::Malformed) => return Err(malformed("the token's claims or signature cannot be read")),
                Err(Unverified::Signature) => outcome = Verified::WrongSignature,
            }
        }
        Ok(outcome)
    }
}
