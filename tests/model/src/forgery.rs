//! Positions that a client makes up. It knows how they are made, the epoch and all positions that it was ever given, but no key.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How a position is made up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Forgery {
    /// As positions were before they had a MAC, with a checksum that anybody can make.
    Checksum,
    /// Without a MAC, of the right length or not.
    NoMac,
    Short,
    /// One of its own, with another position.
    OtherPosition,
    /// One of its own, as the position of another record.
    OtherMark,
    /// One of its own, with the MAC of another one.
    OtherMac,
    /// One of its own, with a bit of it turned.
    Bit,
}

/// Version, epoch, position, mark.
const BODY: usize = 1 + 8 + 8 + 4;
const BYTES: usize = BODY + 16;

impl Forgery {
    pub(crate) const ALL: [Self; 7] =
        [Self::Checksum, Self::NoMac, Self::Short, Self::OtherPosition, Self::OtherMark, Self::OtherMac, Self::Bit];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Checksum => "made-up position: older format",
            Self::NoMac => "made-up position: no MAC",
            Self::Short => "made-up position: too short",
            Self::OtherPosition => "made-up position: another position",
            Self::OtherMark => "made-up position: another record",
            Self::OtherMac => "made-up position: another MAC",
            Self::Bit => "made-up position: a bit turned",
        }
    }

    /// Makes it up for this epoch, of a client's position and those of before, newest first. `at` is a position or the number of
    /// a bit.
    pub(crate) fn make<'a>(
        self,
        epoch: u64,
        at: u64,
        own: Option<&str>,
        past: impl Iterator<Item = &'a str>,
    ) -> String {
        let decode = |text: &str| URL_SAFE_NO_PAD.decode(text).ok().filter(|bytes| bytes.len() == BYTES);
        let own = own.and_then(decode).unwrap_or_else(|| [&[2][..], &[0; BYTES - 1]].concat());
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
                // Behind the epoch: those of another one are told apart by their epoch.
                let bit = at as usize % ((BYTES - 9) * 8);
                bytes[9 + bit / 8] ^= 1 << (bit % 8);
            }
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }
}
