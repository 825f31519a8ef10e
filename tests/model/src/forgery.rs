//! Forged cursors. A client knows their format, the epoch and every cursor that it was ever given,
//! but no key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::player::Player;

/// The way a cursor is forged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// The format before cursors had a MAC, with a checksum that anyone can compute.
    Checksum,
    /// Without a MAC.
    NoMac,
    Short,
    /// One of its own, with another position.
    OtherPosition,
    /// One of its own, with the mark of another record.
    OtherMark,
    /// One of its own, with the MAC of another one.
    OtherMac,
    /// One of its own, with one bit flipped.
    Bit,
}

/// The length of version, epoch, position and mark.
const BODY: usize = 1 + 8 + 8 + 4;
const BYTES: usize = BODY + 16;

impl Forgery {
    pub(crate) const ALL: [Self; 7] =
        [Self::Checksum, Self::NoMac, Self::Short, Self::OtherPosition, Self::OtherMark, Self::OtherMac, Self::Bit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checksum => "forged cursor: older format",
            Self::NoMac => "forged cursor: no MAC",
            Self::Short => "forged cursor: too short",
            Self::OtherPosition => "forged cursor: another position",
            Self::OtherMark => "forged cursor: another record",
            Self::OtherMac => "forged cursor: another MAC",
            Self::Bit => "forged cursor: a bit turned",
        }
    }

    /// Forges a cursor for this epoch, of a client's own cursor and its previous ones, newest
    /// first. `at` is a position or the number of a bit.
    pub(crate) fn make(self, epoch: u64, at: u64, client: &Player) -> String {
        let decode = |text: &String| URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == BYTES);
        let own = client.cursor.as_ref().and_then(decode).unwrap_or_else(|| [&[2][..], &[0; BYTES - 1]].concat());
        let past = client.past.iter().rev();
        let other = past.filter_map(decode).find(|other| other[9..] != own[9..]).unwrap_or_else(|| vec![0; BYTES]);
        let mut bytes = own;
        bytes[1..9].copy_from_slice(&epoch.to_be_bytes());
        let keeps_position = matches!(self, Self::Bit | Self::OtherMac | Self::OtherMark);
        if !keeps_position {
            bytes[9..17].copy_from_slice(&at.to_be_bytes());
        }
        match self {
            Self::Checksum => {
                bytes.truncate(17);
                bytes[0] = 1;
                let bit = |sum: u32| if sum & 1 == 1 { sum >> 1 ^ 0xedb8_8320 } else { sum >> 1 };
                let sum = !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u32::from(*byte), |sum, _| bit(sum)));
                bytes.extend(sum.to_be_bytes());
            }
            Self::NoMac => bytes[BODY..].fill(0),
            Self::Short => bytes.truncate(BODY + at as usize % 16),
            Self::OtherPosition => {}
            Self::OtherMark => {
                let mark = if at == 0 { [0; 4] } else { [other[17], other[18], other[19], other[20] ^ 1] };
                bytes[17..BODY].copy_from_slice(&mark);
            }
            Self::OtherMac => bytes[BODY..].copy_from_slice(&other[BODY..]),
            Self::Bit => {
                // After the epoch, for another epoch is recognized by itself.
                let bit = at as usize % ((BYTES - 9) * 8);
                bytes[9 + bit / 8] ^= 1 << (bit % 8);
            }
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }
}
