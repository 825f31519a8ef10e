use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};

use crate::Position;

/// Which life of a log a position belongs to: a log that lost its records has a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Epoch(u64);

impl Epoch {
    /// A new random epoch.
    pub fn random() -> Self {
        Self(uuid::Uuid::new_v4().as_u64_pair().0)
    }

    /// The epoch with this number, as a log has stored it.
    pub const fn new(number: u64) -> Self {
        Self(number)
    }

    /// The number, for a log to store.
    pub const fn get(self) -> u64 {
        self.0
    }
}

/// A client's place in a log, as text of `[A-Za-z0-9_-]`: version, epoch, position, checksum.
///
/// It says nothing about who may read: that is decided by who presents it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    epoch: Epoch,
    position: Position,
}

/// Why a text is no cursor.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CursorError {
    /// It is not the text of a cursor: truncated, altered, or something else.
    #[error("not a cursor")]
    Malformed,
    /// It is of a version that this build does not know.
    #[error("unknown cursor version")]
    Version,
}

const VERSION: u8 = 1;
const BYTES: usize = 1 + 8 + 8 + 4;

impl Cursor {
    /// The cursor for this place.
    pub const fn new(epoch: Epoch, position: Position) -> Self {
        Self { epoch, position }
    }

    /// The log's life.
    pub const fn epoch(self) -> Epoch {
        self.epoch
    }

    /// The place.
    pub const fn position(self) -> Position {
        self.position
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; BYTES];
        bytes[0] = VERSION;
        bytes[1..9].copy_from_slice(&self.epoch.0.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.position.get().to_be_bytes());
        let sum = crc32fast::hash(&bytes[..17]);
        bytes[17..].copy_from_slice(&sum.to_be_bytes());
        let mut text = [0; BYTES.div_ceil(3) * 4];
        let len = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(std::str::from_utf8(&text[..len]).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for Cursor {
    type Err = CursorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let mut bytes = [0; BYTES];
        match URL_SAFE_NO_PAD.decode_slice(text, &mut bytes) {
            Ok(BYTES) => {}
            _ => return Err(CursorError::Malformed),
        }
        let (body, sum) = bytes.split_at(17);
        if crc32fast::hash(body).to_be_bytes() != sum {
            return Err(CursorError::Malformed);
        }
        if body[0] != VERSION {
            return Err(CursorError::Version);
        }
        let number = |at: usize| u64::from_be_bytes(std::array::from_fn(|i| body[at + i]));
        Ok(Self { epoch: Epoch(number(1)), position: Position::new(number(9)) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_its_text() {
        let cursor = Cursor::new(Epoch::new(u64::MAX), Position::new(42));
        let text = cursor.to_string();
        assert!(
            text.len() <= 64 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-'),
            "{text}"
        );
        assert_eq!(text.parse(), Ok(cursor));
    }

    #[test]
    fn every_truncation_and_every_altered_character_is_noticed() {
        let text = Cursor::new(Epoch::new(7), Position::new(9)).to_string();
        for end in 0..text.len() {
            assert!(text[..end].parse::<Cursor>().is_err(), "cut at {end}");
        }
        for at in 0..text.len() {
            let mut altered = text.clone().into_bytes();
            altered[at] = if altered[at] == b'A' { b'B' } else { b'A' };
            let altered = String::from_utf8(altered).unwrap();
            assert!(altered.parse::<Cursor>().is_err(), "{altered}");
        }
        for text in ["", "ä", "....", &"A".repeat(10_000)] {
            assert!(text.parse::<Cursor>().is_err());
        }
    }
}
