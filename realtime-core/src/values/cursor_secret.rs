use std::fmt;
use std::sync::Arc;

use crate::values::cursor::Epoch;
use crate::values::cursor_key::{CursorKey, sum};
use crate::values::error::{Error, Result};

/// An application's own secret, from which the keys of cursors are derived in place of the key in
/// the log: who can read the log cannot make cursors then. Printed as `…`.
#[derive(Clone)]
pub struct CursorSecret(Arc<[u8]>);

/// The purpose of the derived keys, so that the same secret gives other keys elsewhere.
const INFO: &[u8] = b"realtime cursor key";

impl CursorSecret {
    /// The fewest bytes of a secret.
    pub const MIN_BYTES: usize = 16;

    /// Creates the secret.
    ///
    /// # Errors
    /// [`Error::Config`] for fewer than [`CursorSecret::MIN_BYTES`] bytes.
    pub fn new(secret: impl AsRef<[u8]>) -> Result<Self> {
        let secret = secret.as_ref();
        if secret.len() < Self::MIN_BYTES {
            return Err(Error::Config(format!("cursor_secret has fewer than {} bytes", Self::MIN_BYTES)));
        }
        Ok(Self(secret.into()))
    }

    /// Derives the key of an epoch: HKDF-SHA-256 (RFC 5869) with the epoch as its salt.
    #[must_use]
    pub fn key(&self, epoch: Epoch) -> CursorKey {
        let extracted = sum(&epoch.get().to_be_bytes(), &[&self.0]);
        CursorKey::new(sum(&extracted, &[INFO, &[1]]))
    }
}

impl fmt::Debug for CursorSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("…")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivation_is_hkdf_with_sha_256() {
        // RFC 5869, test case 1, whose first block of 32 bytes this is.
        let (salt, secret) = ((0..=0x0c).collect::<Vec<u8>>(), [0x0b; 22]);
        let info: Vec<u8> = (0xf0..=0xf9).collect();
        let expected = [
            0x3c, 0xb2, 0x5f, 0x25, 0xfa, 0xac, 0xd5, 0x7a, 0x90, 0x43, 0x4f, 0x64, 0xd0, 0x36, 0x2f, 0x2a, 0x2d, 0x2d,
            0x0a, 0x90, 0xcf, 0x1a, 0x5a, 0x4c, 0x5d, 0xb0, 0x2d, 0x56, 0xec, 0xc4, 0xc5, 0xbf,
        ];
        assert_eq!(sum(&sum(&salt, &[&secret]), &[&info, &[1]]), expected);
    }

    #[test]
    fn keys_differ_by_secret_and_by_epoch() {
        let [one, two] = ["a secret of 16 b", "b secret of 16 b"].map(|secret| CursorSecret::new(secret).unwrap());
        let keys = [one.key(Epoch::new(1)), one.key(Epoch::new(2)), two.key(Epoch::new(1))];
        assert!(keys[0] != keys[1] && keys[0] != keys[2] && keys[1] != keys[2]);
        assert_eq!(keys[0], one.clone().key(Epoch::new(1)));
        assert!(CursorSecret::new("a secret of 15b").is_err());
        assert_eq!(format!("{one:?}"), "…");
    }
}
