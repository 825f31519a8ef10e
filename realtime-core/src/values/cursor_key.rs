use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

/// The secret that signs the cursors of one epoch of a log; stored in the log's state, as secret as
/// its records.
///
/// The key is random and not derived from anything, least of all from the epoch, which every cursor
/// shows. Serialised as its bytes; printed as `…`.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct CursorKey([u8; Self::BYTES]);

/// The error for stored bytes that are not a [`CursorKey`]: the log has to begin a new epoch with a
/// new key.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a cursor key: {} bytes are needed", CursorKey::BYTES)]
pub struct CursorKeyError;

impl CursorKey {
    /// The number of bytes of a key.
    pub const BYTES: usize = 32;

    /// Creates a new random key.
    ///
    /// # Panics
    /// When the operating system provides no random bytes; without them no key is secret.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; Self::BYTES];
        if let Err(error) = getrandom::fill(&mut bytes) {
            panic!("no random bytes: {error}");
        }
        Self(bytes)
    }

    /// Creates the key from these bytes, as a log has stored them.
    #[must_use]
    pub const fn new(bytes: [u8; Self::BYTES]) -> Self {
        Self(bytes)
    }

    /// Derives a key for another purpose, which says nothing about this one: HMAC-SHA-256 of the
    /// purpose's name (a cursor's MAC is that of 21 bytes, of which the first is a version).
    #[must_use]
    pub fn derive(&self, purpose: &str) -> [u8; Self::BYTES] {
        sum(&self.0, &[&[0], purpose.as_bytes()])
    }

    /// Returns the bytes, for a log to store.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; Self::BYTES] {
        &self.0
    }
}

/// Returns the HMAC-SHA-256 of these parts.
pub(crate) fn sum(key: &[u8], parts: &[&[u8]]) -> [u8; CursorKey::BYTES] {
    // RFC 2104 takes a key of any length.
    let mut mac = match Hmac::<Sha256>::new_from_slice(key) {
        Ok(mac) => mac,
        Err(error) => unreachable!("{error}"),
    };
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

impl TryFrom<&[u8]> for CursorKey {
    type Error = CursorKeyError;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        bytes.try_into().map(Self).map_err(|_| CursorKeyError)
    }
}

impl fmt::Debug for CursorKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn key_survives_its_bytes_and_other_lengths_are_rejected() {
        let key = CursorKey::random();
        assert_eq!(CursorKey::try_from(&key.as_bytes()[..]), Ok(key.clone()));
        assert_eq!(serde_json::from_str::<CursorKey>(&serde_json::to_string(&key).unwrap()).unwrap(), key);
        for bytes in [&[][..], &[0; 31], &[0; 33]] {
            assert_eq!(CursorKey::try_from(bytes), Err(CursorKeyError));
        }
    }

    #[test]
    fn key_is_never_printed() {
        let key = CursorKey::random();
        assert_eq!(format!("{key:?}"), "…");
        assert_eq!(format!("{:?}", Some(&key)), "Some(…)");
    }

    #[test]
    fn derived_keys_differ_by_key_and_purpose() {
        let [one, two] = [CursorKey::new([1; 32]), CursorKey::new([2; 32])];
        assert_eq!(one.derive("a"), one.clone().derive("a"));
        assert!(one.derive("a") != one.derive("b") && one.derive("a") != two.derive("a"));
    }

    #[test]
    fn random_keys_differ() {
        assert_ne!(CursorKey::random(), CursorKey::random());
    }
}
