//! Packet that connects a session to the entry namespace, and the answer to it, which is hidden
//! from the client.

use bytes::Bytes;

use crate::packet::payload::SEPARATOR;

/// Name of the entry namespace; clients may not connect to it.
pub(crate) const NAME: &str = "/.session";
/// CONNECT packet of the entry namespace.
pub(crate) const ENTER: &str = "40/.session";
/// The same packet as a client's frame, masked with zeros.
pub(crate) const ENTER_FRAME: [u8; 17] = *b"\x81\x8b\x00\x00\x00\x0040/.session";
/// First bytes of the answer.
const ANSWER: &[u8] = b"40/.session,";

/// Returns the packets of a long-polling response without the entry namespace's answer, or none
/// when the response does not contain that answer.
pub(crate) fn without_answer(packets: &[u8]) -> Option<Bytes> {
    let all = packets.split(|byte| *byte == SEPARATOR);
    let others: Vec<_> = all.clone().filter(|packet| !packet.starts_with(ANSWER)).collect();
    (others.len() < all.count()).then(|| others.join(&SEPARATOR).into())
}

/// Returns the start and the end of the entry namespace's answer among these frames, if it is
/// complete.
pub(crate) fn find_answer(frames: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while let [first, len @ 0..=125, rest @ ..] = &frames[at..] {
        let end = at + 2 + usize::from(*len);
        if *first == 0x81 && rest.starts_with(ANSWER) {
            return (end <= frames.len()).then_some((at, end));
        }
        at = end.min(frames.len());
    }
    // Longer frames are written after the answer, which is among the first three.
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_answer_is_removed_from_polling_response() {
        let answer = "40/.session,{\"sid\":\"x\"}";
        for (before, after) in [("2", "40{}"), ("2", ""), ("", "42[]"), ("", "")] {
            let parts = |parts: &[&str]| {
                parts.iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join("\u{1e}")
            };
            let others = without_answer(parts(&[before, answer, after]).as_bytes());
            assert_eq!(others.unwrap(), parts(&[before, after]));
        }
        assert_eq!(without_answer(b"2\x1e40/.sessions,{}"), None);
    }

    #[test]
    fn entry_answer_is_found_among_frames() {
        let answer = b"\x81\x1740/.session,{\"sid\":\"x\"}";
        let frames = [b"\x81\x012", &answer[..], b"\x82\x03abc"].concat();
        assert_eq!(find_answer(&frames), Some((3, 3 + answer.len())));
        assert_eq!(find_answer(&frames[..20]), None);
        assert_eq!(find_answer(b"\x81\x7e\x01\x00"), None);
        assert_eq!(find_answer(b"\x81"), None);
        assert_eq!(find_answer(b"\x81\x09abc"), None);
    }

    #[test]
    fn enter_frame_contains_the_enter_packet() {
        assert_eq!(&ENTER_FRAME[6..], ENTER.as_bytes());
        assert_eq!(usize::from(ENTER_FRAME[1] & 0x7f), ENTER.len());
        assert_eq!(&ENTER[2..], NAME);
        assert_eq!(ANSWER, format!("{ENTER},").as_bytes());
    }
}
