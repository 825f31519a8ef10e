//! How far the packets of the main namespace have gone out, for those who ask when the connection has ended.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::post::{SEPARATOR, is_ours};
use crate::scan::whole_header;

/// The events and answers of one connection to the main namespace.
#[derive(Default)]
pub(crate) struct Outflow {
    /// Those that have gone out with all their attachments.
    whole: AtomicU64,
    /// A part of the next one has.
    begun: AtomicBool,
}

impl Outflow {
    /// How many have gone out as a whole, and whether a part of the next one has.
    pub(crate) fn now(&self) -> (u64, bool) {
        (self.whole.load(Ordering::SeqCst), self.begun.load(Ordering::SeqCst))
    }

    /// Of the packets of a long-polling answer at least this many bytes have gone out, and at most that many.
    pub(crate) fn note_answer(&self, packets: &[u8], least: usize, most: usize) {
        let mut end = 0;
        // The attachments of a packet follow it.
        let mut ours: Option<usize> = None;
        for packet in packets.split(|byte| *byte == SEPARATOR) {
            let begin = end;
            end += packet.len() + 1;
            if packet.first() == Some(&b'b') {
                continue;
            }
            if let Some(begin) = ours.take()
                && !self.note_packet(least > begin, end - packet.len() - 2 <= most)
            {
                return;
            }
            if is_connect(packet) {
                self.restart();
            }
            ours = is_ours(packet).then_some(begin);
        }
        if let Some(begin) = ours {
            self.note_packet(least > begin, packets.len() <= most);
        }
    }

    /// Whether it is out.
    fn note_packet(&self, begun: bool, whole: bool) -> bool {
        if whole {
            self.whole.fetch_add(1, Ordering::SeqCst);
        }
        self.begun.store(begun && !whole, Ordering::SeqCst);
        whole
    }

    /// A connection begins with the answer to its CONNECT.
    fn restart(&self) {
        self.whole.store(0, Ordering::SeqCst);
        self.begun.store(false, Ordering::SeqCst);
    }
}

/// Whether it is the answer to the main namespace's CONNECT.
fn is_connect(packet: &[u8]) -> bool {
    packet.starts_with(b"40") && packet.get(2) != Some(&b'/')
}

/// What tells whether a packet is one of ours: its types, the number of its attachments, the begin of what follows.
const MAX_BEGIN: usize = 24;

/// Follows the frames that a websocket's server writes: whole messages, not masked.
#[derive(Default)]
pub(crate) struct OutflowScan {
    header: [u8; 14],
    have: usize,
    /// Payload bytes of the present frame that are still to come.
    left: u64,
    text: bool,
    /// The begin of the present text.
    begin: Vec<u8>,
    /// Attachments of the present packet that are still to come, if it is one of ours.
    attachments: Option<usize>,
}

impl OutflowScan {
    /// These bytes have gone out.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], outflow: &Outflow) {
        while !bytes.is_empty() {
            if self.left == 0 {
                self.header[self.have] = bytes[0];
                self.have += 1;
                bytes = &bytes[1..];
                let header = self.header;
                if let Some((header, _)) = whole_header(&header[..self.have]) {
                    self.begin_frame(header);
                    if self.left == 0 {
                        self.end_frame(outflow);
                    }
                }
                continue;
            }
            let run = self.left.min(bytes.len() as u64) as usize;
            if self.text {
                let more = run.min(MAX_BEGIN - self.begin.len());
                self.begin.extend_from_slice(&bytes[..more]);
            }
            self.left -= run as u64;
            bytes = &bytes[run..];
            if self.left == 0 {
                self.end_frame(outflow);
            }
        }
        let begun = self.attachments.is_some() || (self.text && self.left > 0 && is_ours(&self.begin));
        outflow.begun.store(begun, Ordering::SeqCst);
    }

    fn begin_frame(&mut self, h: &[u8]) {
        self.have = 0;
        self.left = match h[1] & 0x7f {
            126 => u16::from_be_bytes([h[2], h[3]]).into(),
            127 => u64::from_be_bytes([h[2], h[3], h[4], h[5], h[6], h[7], h[8], h[9]]),
            length => length.into(),
        };
        self.text = h[0] & 0x0f == 1;
        if self.text {
            self.begin.clear();
            self.attachments = None;
        }
    }

    fn end_frame(&mut self, outflow: &Outflow) {
        let binary = self.header[0] & 0x0f == 2;
        if self.text {
            if is_connect(&self.begin) {
                outflow.restart();
            }
            self.attachments = is_ours(&self.begin).then(|| attachments(&self.begin));
        } else if binary && let Some(attachments) = &mut self.attachments {
            *attachments = attachments.saturating_sub(1);
        }
        if (self.text || binary) && self.attachments == Some(0) {
            self.attachments = None;
            outflow.whole.fetch_add(1, Ordering::SeqCst);
        }
        self.text = false;
    }
}

/// How many attachments follow a packet.
fn attachments(packet: &[u8]) -> usize {
    let [b'4', b'5' | b'6', rest @ ..] = packet else { return 0 };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok().and_then(|count| count.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::denial::frame;

    #[test]
    fn what_has_gone_out_on_a_websocket_is_known_after_each_byte() {
        let binary = |len: usize| [vec![0x82, len as u8], vec![7; len]].concat();
        let ours = [
            frame("42[\"connected\"]"),
            frame(&format!("42[\"{}\"]", "x".repeat(300))),
            [frame("452-[\"b\",{},{}]"), binary(5), binary(0)].concat(),
            frame("431[]"),
            frame("450-[1]"),
        ];
        let others = [frame("2"), frame("42/own,[]"), frame("451-/own,[]"), binary(3), frame("44/own,{}")];
        let mut bytes = [frame("42[\"of the connection before\"]"), frame("40{\"sid\":\"x\"}")].concat();
        let (mut ends, mut within) = (Vec::new(), Vec::new());
        for (one, other) in ours.iter().zip(&others) {
            bytes.extend(other);
            // From the begin of its payload on.
            let payload = bytes.len() + whole_header(one).unwrap().0.len();
            bytes.extend(one);
            ends.push(bytes.len());
            within.push(payload + 5..bytes.len());
        }
        let (mut scan, outflow) = (OutflowScan::default(), Outflow::default());
        let connected = frame("42[\"of the connection before\"]").len() + frame("40{\"sid\":\"x\"}").len();
        for at in 1..=bytes.len() {
            scan.feed(&bytes[at - 1..at], &outflow);
            if at >= connected {
                let whole = ends.iter().filter(|end| **end <= at).count() as u64;
                assert_eq!(outflow.now().0, whole, "{at}");
                assert!(outflow.now().1 || !within.iter().any(|within| within.contains(&at)), "{at}");
                assert!(!outflow.now().1 || ends.iter().all(|end| *end != at), "{at}");
            }
        }
        let (mut scan, all) = (OutflowScan::default(), Outflow::default());
        scan.feed(&bytes, &all);
        assert_eq!(all.now(), outflow.now(), "in one piece");
    }

    #[test]
    fn what_has_gone_out_of_an_answer_is_known_by_its_bytes() {
        let large = "x".repeat(100);
        let packets = format!("42[0]\x1e40{{}}\x1e42[1]\x1e451-[\"{large}\",{{}}]\x1eb{large}\x1e2\x1e42[3]");
        let (begin, end) = (packets.find("451-").unwrap(), packets.find("\x1e2").unwrap());
        for (least, most, expected) in [
            (packets.len(), packets.len(), (3, false)),
            (begin, begin, (1, false)),
            (begin + 1, begin + 1, (1, true)),
            (end - 1, end - 1, (1, true)),
            (end, end, (2, false)),
            (begin, end, (2, false)),
        ] {
            let outflow = Outflow::default();
            outflow.note_answer(packets.as_bytes(), least, most);
            assert_eq!(outflow.now(), expected, "{least} {most}");
        }
    }
}
