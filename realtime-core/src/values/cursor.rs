use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::values::cursor_key::CursorKey;
use crate::values::event_id::EventId;
use crate::values::number::number;
use crate::values::position::Position;

/// The epoch of a log that a position belongs to: a log that lost its records has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u64);

number!(Epoch: random, "the number, as a log stores it");

/// A mark that distinguishes the record at a position from another one that was there before a log
/// lost records: 32 random bits of the record's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Mark(u32);

impl Mark {
    /// The mark of [`Position::START`], and of a lost record that this node never received.
    pub const NONE: Self = Self(0);

    /// Returns the mark of the record with this id: the last bits, which hold neither the time nor
    /// a counter.
    #[must_use]
    pub fn of(id: EventId) -> Self {
        let [.., a, b, c, d] = id.to_bytes();
        Self(u32::from_be_bytes([a, b, c, d]).max(1))
    }
}

/// A client's position in a log, as text of `[A-Za-z0-9_-]`: version, epoch, position, mark of the
/// record there, and a MAC of all of them, which can only be made with the log's [`CursorKey`].
///
/// A cursor grants no access: that depends on the client that presents it. A cursor that was read
/// from a text may be forged until [`CursorSigner::verify`] confirms it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Cursor([u8; BYTES]);

/// The reason why a text is not a cursor.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// A text that is not a cursor: truncated, altered, or something else.
    #[error("not a cursor")]
    Malformed,
    /// A version that this build does not know.
    #[error("unknown cursor version")]
    Version,
}

/// The signer of the cursors of one epoch of a log, which also verifies them.
#[derive(Clone)]
#[non_exhaustive]
pub struct CursorSigner {
    epoch: Epoch,
    /// The MAC with the key already processed, so that a cursor costs two blocks.
    mac: Hmac<Sha256>,
}

const VERSION: u8 = 2;
/// The bytes that the MAC covers: version, epoch, position, mark.
const BODY: usize = 1 + 8 + 8 + 4;
const BYTES: usize = BODY + 16;
/// The longest cursor text, of any version, that clients have to expect.
const MAX_CHARACTERS: usize = 256;

impl CursorSigner {
    /// Creates the signer of this epoch, with this key.
    #[must_use]
    pub fn new(epoch: Epoch, key: &CursorKey) -> Self {
        // RFC 2104: a key shorter than a block is padded with zeros.
        let mut block = [0; 64];
        block[..CursorKey::BYTES].copy_from_slice(key.as_bytes());
        Self { epoch, mac: Hmac::new(&block.into()) }
    }

    /// Returns the epoch.
    #[must_use]
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// Creates the cursor for this position, at which there is a record with this mark.
    #[must_use]
    pub fn cursor(&self, position: Position, mark: Mark) -> Cursor {
        let mut bytes = [0; BYTES];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[9..17].copy_from_slice(&position.get().to_be_bytes());
        bytes[17..BODY].copy_from_slice(&mark.0.to_be_bytes());
        let sum = self.mac.clone().chain_update(&bytes[..BODY]).finalize().into_bytes();
        bytes[BODY..].copy_from_slice(&sum[..BYTES - BODY]);
        Cursor(bytes)
    }

    /// Returns whether this cursor was made in this epoch with this key, and not altered since.
    #[must_use]
    pub fn verify(&self, cursor: &Cursor) -> bool {
        let (body, sum) = cursor.0.split_at(BODY);
        // Compares in constant time.
        cursor.epoch() == self.epoch && self.mac.clone().chain_update(body).verify_truncated_left(sum).is_ok()
    }
}

impl fmt::Debug for CursorSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CursorSigner").field("epoch", &self.epoch).finish_non_exhaustive()
    }
}

impl Cursor {
    /// The length of a cursor's text, in characters.
    pub const CHARACTERS: usize = (BYTES * 4).div_ceil(3);

    /// Returns the log's epoch.
    #[must_use]
    pub fn epoch(&self) -> Epoch {
        Epoch(self.number(1))
    }

    /// Returns the position.
    #[must_use]
    pub fn position(&self) -> Position {
        Position::new(self.number(9))
    }

    /// Writes the cursor's text into this buffer, for codecs: the same as [`fmt::Display`], without
    /// the formatter.
    pub fn encode<'a>(&self, text: &'a mut [u8; Self::CHARACTERS]) -> &'a str {
        // Neither can fail: the length is that of the encoding, which is ASCII.
        let len = URL_SAFE_NO_PAD.encode_slice(self.0, text).unwrap_or_default();
        std::str::from_utf8(&text[..len]).unwrap_or_default()
    }

    /// Returns the mark of the record at the position.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark(u32::from_be_bytes(std::array::from_fn(|i| self.0[17 + i])))
    }

    fn number(&self, at: usize) -> u64 {
        u64::from_be_bytes(std::array::from_fn(|i| self.0[at + i]))
    }
}

impl fmt::Debug for Cursor {
    /// Writes the cursor without its MAC: a logged cursor must not be usable.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cursor")
            .field("epoch", &self.epoch())
            .field("position", &self.position())
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.encode(&mut [0; Self::CHARACTERS]))
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    /// Reads a cursor of this version, genuine or not.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_CHARACTERS {
            return Err(CursorError::Malformed);
        }
        let mut bytes = [0; MAX_CHARACTERS / 4 * 3];
        let len = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| CursorError::Malformed)?;
        if len > 0 && bytes[0] != VERSION {
            return Err(CursorError::Version);
        }
        bytes[..len].try_into().map(Self).map_err(|_| CursorError::Malformed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer() -> CursorSigner {
        CursorSigner::new(Epoch::new(u64::MAX), &CursorKey::new([7; CursorKey::BYTES]))
    }

    #[test]
    fn cursor_survives_its_text() {
        let mark = Mark::of(EventId::random());
        let cursor = signer().cursor(Position::new(42), mark);
        let text = cursor.to_string();
        assert_eq!((text.len(), Cursor::CHARACTERS), (50, 50));
        assert!(text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'), "{text}");
        let read: Cursor = text.parse().unwrap();
        assert_eq!(read, cursor);
        assert_eq!((read.epoch(), read.position(), read.mark()), (Epoch::new(u64::MAX), Position::new(42), mark));
        assert!(signer().verify(&read));
    }

    /// The MAC is HMAC-SHA-256 of the first 21 bytes, truncated to 16; the expected text is another
    /// implementation's.
    #[test]
    fn cursor_text_matches_the_documented_format() {
        let cursor =
            CursorSigner::new(Epoch::new(7), &CursorKey::new([1; 32])).cursor(Position::new(9), Mark(0x0a0b_0c0d));
        // python3: hmac.digest(b'\1' * 32, bytes.fromhex('02' + '%016x' % 7 + '%016x' % 9 +
        // '0a0b0c0d'), 'sha256')[:16]
        assert_eq!(cursor.to_string(), "AgAAAAAAAAAHAAAAAAAAAAkKCwwNCEj5WukOdLIR8FideiVMvQ");
    }

    #[test]
    fn truncated_or_altered_cursor_is_rejected() {
        let genuine = signer().cursor(Position::new(9), Mark::of(EventId::random()));
        let text = genuine.to_string();
        let is_made = |text: &str| text.parse::<Cursor>().is_ok_and(|cursor| signer().verify(&cursor));
        assert!(is_made(&text));
        for end in 0..text.len() {
            assert!(!is_made(&text[..end]), "truncated at {end}");
        }
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(!is_made(&altered), "{altered}");
        }
        for text in ["", "ä", "....", &"A".repeat(10_000), &format!("{text}A"), &format!("{text}=")] {
            assert!(!is_made(text), "{text}");
        }
    }

    #[test]
    fn cursors_depend_on_key_and_epoch() {
        let (epoch, key) = (Epoch::new(7), CursorKey::random());
        let cursor = CursorSigner::new(epoch, &key).cursor(Position::START, Mark::NONE);
        assert!(CursorSigner::new(epoch, &key).verify(&cursor));
        assert!(!CursorSigner::new(epoch, &CursorKey::random()).verify(&cursor));
        assert!(!CursorSigner::new(Epoch::new(8), &key).verify(&cursor));
    }

    #[test]
    fn mark_is_random_and_never_none() {
        let mut bytes = [0; 16];
        assert_ne!(Mark::of(EventId::from_bytes(bytes)), Mark::NONE);
        bytes[15] = 5;
        assert_eq!(Mark::of(EventId::from_bytes(bytes)), Mark(5));
        // Ids made in the same millisecond differ in the bits of the mark.
        let marks: std::collections::HashSet<_> = (0..1_000).map(|_| Mark::of(EventId::random())).collect();
        assert!(marks.len() > 990, "{}", marks.len());
    }

    #[test]
    fn older_version_is_recognized_by_its_first_byte() {
        for len in [21, 37, 60] {
            let mut bytes = vec![0; len];
            bytes[0] = 1;
            assert_eq!(URL_SAFE_NO_PAD.encode(&bytes).parse::<Cursor>(), Err(CursorError::Version), "{len}");
        }
    }

    #[test]
    fn debug_output_cannot_be_presented_as_a_cursor() {
        let text = format!("{:?} {:?}", signer(), signer().cursor(Position::new(9), Mark::NONE));
        assert!(!text.contains("mac") && text.contains("Position(9)"), "{text}");
    }
}
