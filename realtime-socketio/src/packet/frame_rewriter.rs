use crate::packet::frame::Header;
use crate::packet::rewrite::{self, MAX_GROWTH, Rewrite};

/// Number of bytes that are held back until it is known whether a packet is rewritten; a longer
/// start is left unchanged.
const MAX_HELD: usize = 16 * 1024;

/// Rewriter of the text packets among the frames of a client's websocket (RFC 6455 §5.2), however
/// they are split into frames and reads.
///
/// A rewritten packet starts with a frame of its own, followed by the rest of the client's frame.
///
/// The size of a message is checked here, as the client has sent it. A message that is too large is
/// replaced by the header of a frame that every reader rejects.
pub(crate) struct FrameRewriter {
    /// Upper bound of a message, in bytes.
    max: u64,
    /// Payload bytes of the current message, over all its frames so far.
    message: u64,
    /// Set once a message was too large: nothing is passed on after it.
    is_too_large: bool,
    /// Bytes from the start of a frame on, too few to decide.
    held: Vec<u8>,
    /// Payload bytes of the current frame that are still missing.
    left: u64,
}

/// Decision on the start of a text message.
enum Decision {
    Incomplete,
    Replaced(Replaced),
    Unchanged,
}

struct Replaced {
    /// Replacement of the first frames.
    frames: Vec<u8>,
    /// Number of bytes that are replaced, without the rest of the last frame's payload.
    replaced_len: usize,
    /// Number of bytes in that rest.
    left: u64,
    /// Payload bytes of the message up to the end of the last replaced frame.
    message: u64,
}

impl Default for FrameRewriter {
    fn default() -> Self {
        Self::new(usize::MAX)
    }
}

impl FrameRewriter {
    /// Creates a rewriter for messages of up to `max` bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max as u64, message: 0, is_too_large: false, held: Vec::new(), left: 0 }
    }

    /// Returns the replacement of these bytes, or none if they are unchanged. The replacement may
    /// be longer, shorter, or still empty.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let joined = (!self.held.is_empty()).then(|| [&std::mem::take(&mut self.held), bytes].concat());
        let all = joined.as_deref().unwrap_or(bytes);
        let mut out = Vec::new();
        if self.is_too_large {
            return Some(out);
        }
        let (mut at, mut copied) = (0, 0);
        while at < all.len() {
            if self.left > 0 {
                // The bytes are in memory, so their number fits into usize.
                let skip = self.left.min((all.len() - at) as u64);
                self.left -= skip;
                at += skip as usize;
                continue;
            }
            let rest = &all[at..];
            let Some(header) = Header::read(rest) else { break };
            let message = header.message_after(self.message);
            if message > self.max {
                out.extend_from_slice(&all[copied..at]);
                header.push_header(
                    header.first,
                    header.payload.max(min_refused_payload(self.max)),
                    header.key,
                    &mut out,
                );
                self.is_too_large = true;
                return Some(out);
            }
            let decision = if header.opcode() == 1 { decide(rest, self.max) } else { Decision::Unchanged };
            match decision {
                Decision::Incomplete if rest.len() <= MAX_HELD => break,
                Decision::Incomplete | Decision::Unchanged => {
                    at += header.len;
                    self.left = header.payload;
                    self.message = message;
                }
                Decision::Replaced(rewritten) => {
                    out.extend_from_slice(&all[copied..at]);
                    out.extend_from_slice(&rewritten.frames);
                    at += rewritten.replaced_len;
                    copied = at;
                    (self.left, self.message) = (rewritten.left, rewritten.message);
                }
            }
        }
        self.held = all[at..].to_vec();
        if copied == 0 && at == bytes.len() && joined.is_none() {
            return None;
        }
        out.extend_from_slice(&all[copied..at]);
        Some(out)
    }
}

/// Number of frames at the start of a message that are read to decide; a message that needs more is
/// not rewritten. They are read again with each frame, so that a client that sends one byte in each
/// could keep a core busy.
const MAX_FRAMES: usize = 16;

/// Returns the smallest payload that is rejected where messages of up to `max` bytes are accepted,
/// before they are rewritten.
pub(crate) fn min_refused_payload(max: u64) -> u64 {
    max.saturating_add(MAX_GROWTH as u64 + 1)
}

/// Decides on the text message that starts with these frames.
fn decide(frames: &[u8], max: u64) -> Decision {
    // Control frames between the fragments are written before the replacement.
    let (mut at, mut packet, mut control) = (0, Vec::new(), Vec::new());
    let mut opening = None;
    let (mut seen, mut message) = (0, 0);
    loop {
        let Some(header) = Header::read(&frames[at..]) else { return Decision::Incomplete };
        seen += 1;
        if seen > MAX_FRAMES {
            return Decision::Unchanged;
        }
        let rest = &frames[at + header.len..];
        let available = usize::try_from(header.payload).map_or(rest.len(), |payload| payload.min(rest.len()));
        let is_complete = available as u64 == header.payload;
        if opening.is_some() && header.opcode() >= 8 {
            if !is_complete {
                return Decision::Incomplete;
            }
            control.extend_from_slice(&frames[at..at + header.len + available]);
            at += header.len + available;
            continue;
        }
        if opening.is_some() && header.opcode() != 0 {
            return Decision::Unchanged;
        }
        message = header.message_after(message);
        if message > max {
            return Decision::Unchanged;
        }
        let first = *opening.get_or_insert(header.first);
        let taken = available.min(MAX_HELD);
        let payload = rest[..taken].iter().zip(header.key.iter().cycle()).map(|(byte, key)| byte ^ key);
        packet.extend(payload);
        match rewrite::decide(&packet) {
            Rewrite::Replaced(replaced_len, mut rewritten) => {
                rewritten.extend_from_slice(&packet[replaced_len..]);
                let left = header.payload - taken as u64;
                let mut out = control;
                let last = if left == 0 { header.first & 0x80 } else { 0 };
                header.push_frame(last | (first & 0x7f), &rewritten, &mut out);
                if left > 0 {
                    header.push_rest(taken, left, &mut out);
                }
                let replaced_len = at + header.len + taken;
                return Decision::Replaced(Replaced { frames: out, replaced_len, left, message });
            }
            Rewrite::Incomplete if !is_complete => return Decision::Incomplete,
            Rewrite::Incomplete if header.first & 0x80 == 0 => at += header.len + available,
            Rewrite::Incomplete | Rewrite::Unchanged => return Decision::Unchanged,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let header = Header { first, masked: true, len: 0, key, payload: 0 };
        header.push_header(first, payload.len() as u64, key, &mut bytes);
        bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        bytes
    }

    /// Returns the messages in these frames: their opcode and payload.
    fn messages(mut frames: &[u8]) -> Vec<(u8, String)> {
        let (mut all, mut open): (Vec<_>, Option<(u8, Vec<u8>)>) = (Vec::new(), None);
        while !frames.is_empty() {
            let header = Header::read(frames).unwrap();
            let payload = &frames[header.len..][..header.payload as usize];
            frames = &frames[header.len + payload.len()..];
            let payload = payload.iter().zip(header.key.iter().cycle()).map(|(byte, key)| byte ^ key);
            let last = header.first & 0x80 != 0;
            if header.opcode() >= 8 {
                all.push((header.opcode(), String::from_utf8(payload.collect()).unwrap()));
                continue;
            }
            let (_, message) = match header.opcode() {
                0 => open.as_mut().expect("a message under way"),
                opcode => open.insert((opcode, Vec::new())),
            };
            message.extend(payload);
            if last {
                let (opcode, message) = open.take().unwrap();
                all.push((opcode, String::from_utf8(message).unwrap()));
            }
        }
        assert!(open.is_none());
        all
    }

    #[test]
    fn packets_are_rewritten_at_any_split_of_reads() {
        let long = format!("42[\"\\u00e4\",\"{}\"]", "x".repeat(300));
        let key = [0x34, 0x5b, 0, 0xff];
        let bytes = [
            frame(0x81, b"42[7]", key),
            frame(0x82, b"42[7]", key),
            frame(0x01, b"42[\"", key),
            frame(0x89, b"42[7]", key),
            frame(0x00, b"", key),
            frame(0x00, b"a\\", key),
            frame(0x80, b"n\",1]", key),
            frame(0x81, b"42[\"plain\"]", key),
            frame(0x81, long.as_bytes(), key),
            frame(0x01, b"4", key),
            frame(0x80, b"", key),
            frame(0x01, b"43[", key),
            frame(0x80, b"1]", key),
        ]
        .concat();
        let expected = [
            (1, "42[\"\",7]"),
            (2, "42[7]"),
            (9, "42[7]"),
            (1, "42[\"\",\"a\\n\",1]"),
            (1, "42[\"plain\"]"),
            (1, &long.replacen('[', "[\"\",", 1)),
            (1, "4"),
            (1, "439223372036854775807[1]"),
        ]
        .map(|(opcode, text)| (opcode, text.to_owned()));
        let fed = |pieces: &mut dyn Iterator<Item = &[u8]>| {
            let mut rewriter = FrameRewriter::default();
            let out: Vec<u8> =
                pieces.flat_map(|piece| rewriter.feed(piece).unwrap_or_else(|| piece.to_vec())).collect();
            assert!(rewriter.held.is_empty());
            out
        };
        assert_eq!(messages(&fed(&mut [&bytes[..]].into_iter())), expected);
        assert_eq!(messages(&fed(&mut bytes.chunks(1))), expected, "a byte at a time");
        for split in 0..bytes.len() {
            assert_eq!(messages(&fed(&mut [&bytes[..split], &bytes[split..]].into_iter())), expected, "{split}");
        }
    }

    /// Returns the bytes that are passed on with this limit for a message, and checks them at each
    /// split of the reads.
    fn limited(max: usize, bytes: &[u8]) -> Vec<u8> {
        let whole = FrameRewriter::new(max).feed(bytes).unwrap_or_else(|| bytes.to_vec());
        for split in 0..bytes.len() {
            let mut rewriter = FrameRewriter::new(max);
            let parts = [&bytes[..split], &bytes[split..]];
            let out: Vec<u8> =
                parts.iter().flat_map(|part| rewriter.feed(part).unwrap_or_else(|| part.to_vec())).collect();
            // A packet whose frame is split may be rewritten in more pieces.
            assert!(out.len() >= whole.len(), "{split}");
            assert!(out.ends_with(&whole[whole.len() - 4..]), "{split}");
        }
        whole
    }

    #[test]
    fn message_size_is_checked_before_rewriting() {
        let key = [1, 2, 3, 4];
        let rewritten = |max| limited(max, &[frame(0x81, b"42[7]", key), frame(0x81, b"3", key)].concat());
        assert_eq!(messages(&rewritten(5)), [(1, "42[\"\",7]".to_owned()), (1, "3".to_owned())]);
        // A message that is too large is replaced by a header.
        let over = Header::read(&rewritten(4)).unwrap();
        assert_eq!((over.first, over.payload), (0x81, min_refused_payload(4)));
        for last in [b"42[\"\\u0061".as_slice(), b"42[\"aaaaaaaaa"] {
            let fragments = [
                frame(0x82, b"12345", key),
                frame(0x01, last, key),
                frame(0x89, b"12345", key),
                frame(0x00, b"12345", key),
                frame(0x80, b"6", key),
                frame(0x81, b"3", key),
            ];
            let whole = messages(&limited(last.len() + 6, &fragments.concat()));
            assert_eq!(whole.len(), 4, "{whole:?}");
            let out = limited(last.len() + 5, &fragments.concat());
            let over = Header::read(&out[out.len() - 8..]).unwrap();
            assert_eq!((over.first, over.payload), (0x80, min_refused_payload(last.len() as u64 + 5)));
        }
        let huge = [&[0x81, 0x80 | 127][..], &[0xff; 8], &key, b"42[7]"].concat();
        assert_eq!(FrameRewriter::new(10).feed(&huge).unwrap(), huge[..14]);
    }

    #[test]
    fn unchanged_frames_are_not_copied() {
        let mut rewriter = FrameRewriter::default();
        let plain = [frame(0x81, b"42[\"a\",1]", [1; 4]), frame(0x81, b"3", [2; 4])].concat();
        assert_eq!(rewriter.feed(&plain), None);
        let large = frame(0x81, format!("42[\"a\",\"{}\"]", "x".repeat(70_000)).as_bytes(), [3; 4]);
        assert!(large.chunks(4096).all(|piece| rewriter.feed(piece).is_none()));
    }

    #[test]
    fn held_back_bytes_are_bounded() {
        let mut rewriter = FrameRewriter::default();
        let mut passed = rewriter.feed(&frame(0x01, b"42", [0; 4])).unwrap().len();
        for _ in 0..10_000 {
            let piece = frame(0x00, b"", [0; 4]);
            passed += rewriter.feed(&piece).map_or(piece.len(), |out| out.len());
            assert!(rewriter.held.len() <= MAX_HELD + piece.len());
        }
        assert!(passed > 10_000, "frames beyond the bound are passed on unchanged");
        let huge = [&[0x81, 0x80 | 127][..], &[0xff; 8], &[0; 4], b"42[7"].concat();
        let out = FrameRewriter::default().feed(&huge).unwrap();
        let rest = Header::read(&out[6 + b"42[\"\",7".len()..]).unwrap();
        assert_eq!((rest.first, rest.payload), (0x80, u64::MAX - 4));
    }

    /// The held bytes are read again with each frame, so that the number of held frames has to stay
    /// small too.
    #[test]
    fn message_in_many_frames_is_passed_on_unchanged() {
        let text = format!("42/{},[\"x\"]", "a".repeat(2000));
        let last = text.len() - 1;
        let mut rewriter = FrameRewriter::default();
        let (mut sent, mut got) = (Vec::new(), Vec::new());
        for (at, byte) in text.bytes().enumerate() {
            let first = if at == 0 { 0x01 } else { 0 } | if at == last { 0x80 } else { 0 };
            let piece = frame(first, &[byte], [1, 2, 3, 4]);
            got.extend(rewriter.feed(&piece).unwrap_or_else(|| piece.clone()));
            sent.extend(piece);
            let held = (sent.len() - got.len()) / 7;
            assert!(held <= MAX_FRAMES, "{held} frames are held");
        }
        assert_eq!(got, sent);
    }
}
