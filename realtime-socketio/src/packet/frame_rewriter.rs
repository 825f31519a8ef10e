use crate::packet::frame::Header;
use crate::packet::rewrite::{self, MAX_GROWTH, Rewrite};

/// Bytes that are held back until it is known whether a packet is rewritten; more are left unchanged.
const MAX_HELD: usize = 16 * 1024;

/// Rewriter of the text packets among the frames of a client's websocket (RFC 6455 §5.2), wherever frames and reads are cut.
///
/// A rewritten packet starts with a frame of its own, followed by the rest of the frame that it was in.
///
/// The size of a message is checked here, as the client has sent it. One that is too large is replaced by the header of a frame
/// that every reader refuses.
pub(crate) struct FrameRewriter {
    /// Upper bound of a message, in bytes.
    max: u64,
    /// Payload bytes of the present message, over all its frames so far.
    message: u64,
    /// Set once a message was too large: nothing comes after it.
    over: bool,
    /// Bytes from the start of a frame on, too few to decide.
    held: Vec<u8>,
    /// Payload bytes of the present frame that are still to come.
    left: u64,
}

/// Decision on the start of a text message.
enum Text {
    Replaced(Replaced),
    Incomplete,
    Unchanged,
}

struct Replaced {
    /// Replacement of the first frames.
    frames: Vec<u8>,
    /// Number of bytes that are replaced, without the rest of the last frame's payload.
    of: usize,
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
    /// Creates a rewriter for messages up to so many bytes.
    pub(crate) fn new(max: usize) -> Self {
        Self { max: max as u64, message: 0, over: false, held: Vec::new(), left: 0 }
    }

    /// Returns what replaces these bytes, or none if they stay. The replacement may be longer, shorter, or empty as yet.
    pub(crate) fn feed(&mut self, bytes: &[u8]) -> Option<Vec<u8>> {
        let joined = (!self.held.is_empty()).then(|| [&std::mem::take(&mut self.held), bytes].concat());
        let all = joined.as_deref().unwrap_or(bytes);
        let mut out = Vec::new();
        if self.over {
            return Some(out);
        }
        let (mut at, mut copied) = (0, 0);
        while at < all.len() {
            if self.left > 0 {
                // The bytes fit into memory, so their number fits into usize.
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
                header.push_header(header.first, header.payload.max(refused_by(self.max)), header.key, &mut out);
                self.over = true;
                return Some(out);
            }
            let text = if header.opcode() == 1 { begin(rest, self.max) } else { Text::Unchanged };
            match text {
                Text::Incomplete if rest.len() <= MAX_HELD => break,
                Text::Incomplete | Text::Unchanged => {
                    at += header.len;
                    self.left = header.payload;
                    self.message = message;
                }
                Text::Replaced(rewritten) => {
                    out.extend_from_slice(&all[copied..at]);
                    out.extend_from_slice(&rewritten.frames);
                    at += rewritten.of;
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

/// Number of frames at the start of a message that are read to decide; in more it is not rewritten. They are read again with each
/// frame, so that a client that sends one byte in each could keep a core busy.
const MAX_FRAMES: usize = 16;

/// Returns the smallest payload that is refused where messages up to so many bytes are accepted, and rewritten ones.
pub(crate) fn refused_by(max: u64) -> u64 {
    max.saturating_add(MAX_GROWTH as u64 + 1)
}

/// Decides on the text message that starts with these frames.
fn begin(frames: &[u8], max: u64) -> Text {
    let (mut at, mut packet, mut between) = (0, Vec::new(), Vec::new());
    let mut opening = None;
    let (mut seen, mut message) = (0, 0);
    loop {
        let Some(header) = Header::read(&frames[at..]) else { return Text::Incomplete };
        seen += 1;
        if seen > MAX_FRAMES {
            return Text::Unchanged;
        }
        let rest = &frames[at + header.len..];
        let here = usize::try_from(header.payload).map_or(rest.len(), |payload| payload.min(rest.len()));
        let is_whole = here as u64 == header.payload;
        if opening.is_some() && header.opcode() >= 8 {
            // Control frames come between the fragments of a message.
            if !is_whole {
                return Text::Incomplete;
            }
            between.extend_from_slice(&frames[at..at + header.len + here]);
            at += header.len + here;
            continue;
        }
        if opening.is_some() && header.opcode() != 0 {
            return Text::Unchanged;
        }
        message = header.message_after(message);
        if message > max {
            return Text::Unchanged;
        }
        let first = *opening.get_or_insert(header.first);
        let taken = here.min(MAX_HELD);
        let payload = rest[..taken].iter().zip(header.key.iter().cycle()).map(|(byte, key)| byte ^ key);
        packet.extend(payload);
        match rewrite::read(&packet) {
            Rewrite::Replaced(of, mut rewritten) => {
                rewritten.extend_from_slice(&packet[of..]);
                let left = header.payload - taken as u64;
                let mut out = between;
                let last = if left == 0 { header.first & 0x80 } else { 0 };
                header.push_frame(last | (first & 0x7f), &rewritten, &mut out);
                if left > 0 {
                    header.push_rest(taken, left, &mut out);
                }
                return Text::Replaced(Replaced { frames: out, of: at + header.len + taken, left, message });
            }
            Rewrite::Incomplete if !is_whole => return Text::Incomplete,
            Rewrite::Incomplete if header.first & 0x80 == 0 => at += header.len + here,
            Rewrite::Incomplete | Rewrite::Unchanged => return Text::Unchanged,
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

    /// The messages in these frames: their opcode and payload.
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
    fn packets_are_mended_wherever_the_wire_is_cut() {
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
        for cut in 0..bytes.len() {
            assert_eq!(messages(&fed(&mut [&bytes[..cut], &bytes[cut..]].into_iter())), expected, "{cut}");
        }
    }

    /// What is handed on where a message may have so many bytes, whatever the cuts.
    fn limited(max: usize, bytes: &[u8]) -> Vec<u8> {
        let whole = FrameRewriter::new(max).feed(bytes).unwrap_or_else(|| bytes.to_vec());
        for cut in 0..bytes.len() {
            let mut rewriter = FrameRewriter::new(max);
            let parts = [&bytes[..cut], &bytes[cut..]];
            let out: Vec<u8> =
                parts.iter().flat_map(|part| rewriter.feed(part).unwrap_or_else(|| part.to_vec())).collect();
            // A packet whose frame is cut may be rewritten in more pieces.
            assert!(out.len() >= whole.len(), "{cut}");
            assert!(out.ends_with(&whole[whole.len() - 4..]), "{cut}");
        }
        whole
    }

    #[test]
    fn a_message_is_measured_as_it_came() {
        let key = [1, 2, 3, 4];
        let rewritten = |max| limited(max, &[frame(0x81, b"42[7]", key), frame(0x81, b"3", key)].concat());
        assert_eq!(messages(&rewritten(5)), [(1, "42[\"\",7]".to_owned()), (1, "3".to_owned())]);
        // Of one that is too large a header is left.
        let over = Header::read(&rewritten(4)).unwrap();
        assert_eq!((over.first, over.payload), (0x81, refused_by(4)));
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
            assert_eq!((over.first, over.payload), (0x80, refused_by(last.len() as u64 + 5)));
        }
        let huge = [&[0x81, 0x80 | 127][..], &[0xff; 8], &key, b"42[7]"].concat();
        assert_eq!(FrameRewriter::new(10).feed(&huge).unwrap(), huge[..14]);
    }

    #[test]
    fn what_needs_no_rewriting_is_not_copied() {
        let mut rewriter = FrameRewriter::default();
        let plain = [frame(0x81, b"42[\"a\",1]", [1; 4]), frame(0x81, b"3", [2; 4])].concat();
        assert_eq!(rewriter.feed(&plain), None);
        let large = frame(0x81, format!("42[\"a\",\"{}\"]", "x".repeat(70_000)).as_bytes(), [3; 4]);
        assert!(large.chunks(4096).all(|piece| rewriter.feed(piece).is_none()));
    }

    #[test]
    fn little_is_held_back_whatever_comes() {
        let mut rewriter = FrameRewriter::default();
        let mut passed = rewriter.feed(&frame(0x01, b"42", [0; 4])).unwrap().len();
        for _ in 0..10_000 {
            let piece = frame(0x00, b"", [0; 4]);
            passed += rewriter.feed(&piece).map_or(piece.len(), |out| out.len());
            assert!(rewriter.held.len() <= MAX_HELD + piece.len());
        }
        assert!(passed > 10_000, "what is too much goes on as it is");
        let huge = [&[0x81, 0x80 | 127][..], &[0xff; 8], &[0; 4], b"42[7"].concat();
        let out = FrameRewriter::default().feed(&huge).unwrap();
        let rest = Header::read(&out[6 + b"42[\"\",7".len()..]).unwrap();
        assert_eq!((rest.first, rest.payload), (0x80, u64::MAX - 4));
    }

    /// What is held is read anew with each frame, so that it has to stay small in frames too.
    #[test]
    fn a_message_in_very_many_frames_is_handed_on_as_it_is() {
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
