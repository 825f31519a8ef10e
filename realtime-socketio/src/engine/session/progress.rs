//! Progress of the packets of a connection to the main namespace: which packet was incomplete when
//! the connection ended.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use realtime_http::Wire;
use realtime_http::spi::Spans;

use crate::packet::frame::{payload_len, whole_header};
use crate::packet::payload::{SEPARATOR, is_main_message};

/// Progress of the events and acks of one connection to the main namespace.
#[derive(Default)]
pub(crate) struct Progress {
    /// Number of packets that were written with all their attachments.
    complete: AtomicU64,
    /// Set while only a part of the next packet was written, on a websocket.
    partial: AtomicBool,
    /// Position at which that packet starts.
    partial_start: AtomicU32,
    /// Bytes written to the websocket, modulo 2^32; its wire's count is used instead if there is a
    /// wire.
    written: AtomicU32,
    websocket: OnceLock<Arc<Wire>>,
    large: Mutex<Large>,
}

/// Positions of large packets that were written completely.
#[derive(Default)]
struct Large {
    spans: Spans,
    /// TCP connection of the last long-polling response.
    response_wire: Option<Arc<Wire>>,
}

/// Upper bound of the bytes of a response's head.
const MAX_HEAD: u32 = 4 * 1024;
/// Upper bound of the bytes of a packet whose end was not written yet.
const MAX_PARTIAL: u32 = 1 << 30;

impl Progress {
    /// Notes that the session is on a websocket, on this TCP connection if the listener reports it.
    pub(crate) fn begin_websocket(&self, wire: Option<Arc<Wire>>) {
        self.note_response_arrived();
        if let Some(wire) = wire {
            let _ = self.websocket.set(wire);
        }
    }

    /// Returns the number of the large packet that has arrived in part only, if there is one.
    /// Called when the connection has ended.
    pub(crate) fn find_partial_packet(&self) -> Option<u64> {
        let mut large = self.lock();
        if self.partial.load(Ordering::SeqCst) {
            let start = self.partial_start.load(Ordering::SeqCst);
            large.spans.push(self.complete.load(Ordering::SeqCst), start, start.wrapping_add(MAX_PARTIAL));
        }
        if large.spans.is_empty() {
            return None;
        }
        let wire = large.response_wire.as_ref().or_else(|| self.websocket.get());
        let arrived = wire.map_or_else(|| self.written.load(Ordering::SeqCst), |wire| wire.acknowledged());
        large.spans.within(arrived)
    }

    /// Notes the packets of a long-polling response, and its TCP connection if that carries nothing
    /// else.
    pub(crate) fn note_response(&self, packets: &[u8], wire: Option<&Arc<Wire>>) {
        let base = wire.map_or(0, |wire| wire.written());
        let mut end = 0;
        // The attachments of a packet follow it.
        let mut message_start: Option<usize> = None;
        for packet in packets.split(|byte| *byte == SEPARATOR) {
            let start = end;
            end += packet.len() + 1;
            if packet.first() == Some(&b'b') {
                continue;
            }
            if let Some(message_start) = message_start.take() {
                self.note_packet(message_start, start - 1, base, wire);
            }
            if is_connect(packet) {
                self.restart();
            }
            message_start = is_main_message(packet).then_some(start);
        }
        if let Some(start) = message_start {
            self.note_packet(start, packets.len(), base, wire);
        }
    }

    /// Notes a packet of a response, at these positions in its body.
    fn note_packet(&self, start: usize, end: usize, base: u32, wire: Option<&Arc<Wire>>) {
        let number = self.complete.fetch_add(1, Ordering::SeqCst);
        if let Some(wire) = wire
            && end - start > MAX_HEAD as usize
        {
            let mut large = self.lock();
            large.spans.push(number, base.wrapping_add(start as u32 + MAX_HEAD), base.wrapping_add(end as u32));
            large.response_wire = Some(Arc::clone(wire));
        }
    }

    /// Notes bytes that were written to the websocket. Returns the position after them.
    fn note_written(&self, bytes: usize) -> u32 {
        match self.websocket.get() {
            Some(wire) => wire.written(),
            None => self.written.fetch_add(bytes as u32, Ordering::SeqCst).wrapping_add(bytes as u32),
        }
    }

    /// Notes a packet that was written to the websocket at these positions.
    fn end_packet(&self, start: u32, end: u32) {
        let number = self.complete.fetch_add(1, Ordering::SeqCst);
        if end.wrapping_sub(start) > MAX_HEAD {
            self.lock().spans.push(number, start, end);
        }
    }

    /// Notes that the last long-polling response has arrived.
    pub(crate) fn note_response_arrived(&self) {
        *self.lock() = Large::default();
    }

    /// Resets the state for a new connection, which starts with the answer to its CONNECT.
    fn restart(&self) {
        self.complete.store(0, Ordering::SeqCst);
        self.partial.store(false, Ordering::SeqCst);
        self.note_response_arrived();
    }

    fn lock(&self) -> MutexGuard<'_, Large> {
        self.large.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Returns whether a packet is the answer to the main namespace's CONNECT.
fn is_connect(packet: &[u8]) -> bool {
    packet.starts_with(b"40") && packet.get(2) != Some(&b'/')
}

/// Number of first bytes of a packet that show whether it counts: its types, its number of
/// attachments, the start of what follows.
const MAX_START: usize = 24;

/// Parser of the frames that a websocket's server writes: whole messages, not masked.
#[derive(Default)]
pub(crate) struct ProgressScan {
    header: [u8; 14],
    header_len: usize,
    /// Payload bytes of the current frame that are still missing.
    left: u64,
    text: bool,
    /// First bytes of the current text.
    first_bytes: Vec<u8>,
    /// Number of attachments of the current packet that are still missing, if the packet counts.
    attachments: Option<usize>,
    /// Position at which the current text starts.
    position: u32,
}

impl ProgressScan {
    /// Notes bytes that were written.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], progress: &Progress) {
        let end = progress.note_written(bytes.len());
        while !bytes.is_empty() {
            let position = end.wrapping_sub(bytes.len() as u32);
            if self.left == 0 {
                if self.header_len == 0 && bytes[0] & 0x0f == 1 {
                    self.position = position;
                }
                self.header[self.header_len] = bytes[0];
                self.header_len += 1;
                bytes = &bytes[1..];
                let header = self.header;
                if let Some((header, _)) = whole_header(&header[..self.header_len]) {
                    self.begin_frame(header);
                    if self.left == 0 {
                        self.end_frame(position.wrapping_add(1), progress);
                    }
                }
                continue;
            }
            let run = self.left.min(bytes.len() as u64) as usize;
            if self.text {
                let more = run.min(MAX_START - self.first_bytes.len());
                self.first_bytes.extend_from_slice(&bytes[..more]);
            }
            self.left -= run as u64;
            bytes = &bytes[run..];
            if self.left == 0 {
                self.end_frame(end.wrapping_sub(bytes.len() as u32), progress);
            }
        }
        let partial = self.attachments.is_some() || (self.text && self.left > 0 && is_main_message(&self.first_bytes));
        progress.partial_start.store(self.position, Ordering::SeqCst);
        progress.partial.store(partial, Ordering::SeqCst);
    }

    fn begin_frame(&mut self, h: &[u8]) {
        self.header_len = 0;
        self.left = payload_len(h);
        self.text = h[0] & 0x0f == 1;
        if self.text {
            self.first_bytes.clear();
            self.attachments = None;
        }
    }

    fn end_frame(&mut self, end: u32, progress: &Progress) {
        let binary = self.header[0] & 0x0f == 2;
        if self.text {
            if is_connect(&self.first_bytes) {
                progress.restart();
            }
            self.attachments = is_main_message(&self.first_bytes).then(|| attachments(&self.first_bytes));
        } else if binary && let Some(attachments) = &mut self.attachments {
            *attachments = attachments.saturating_sub(1);
        }
        if (self.text || binary) && self.attachments == Some(0) {
            self.attachments = None;
            progress.end_packet(self.position, end);
        }
        self.text = false;
    }
}

/// Returns the number of attachments that follow a packet.
fn attachments(packet: &[u8]) -> usize {
    let [b'4', b'5' | b'6', rest @ ..] = packet else { return 0 };
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok().and_then(|count| count.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use realtime_http::{Guard, WireConfig};

    use super::*;
    use crate::packet::frame::text_frame;

    #[test]
    fn websocket_progress_is_exact_after_each_byte() {
        let binary = |len: usize| [vec![0x82, len as u8], vec![7; len]].concat();
        let own_messages = [
            text_frame("42[\"connected\"]"),
            text_frame(&format!("42[\"{}\"]", "x".repeat(300))),
            [text_frame("452-[\"b\",{},{}]"), binary(5), binary(0)].concat(),
            text_frame("431[]"),
            text_frame("450-[1]"),
        ];
        let others =
            [text_frame("2"), text_frame("42/own,[]"), text_frame("451-/own,[]"), binary(3), text_frame("44/own,{}")];
        let mut bytes = [text_frame("42[\"of the connection before\"]"), text_frame("40{\"sid\":\"x\"}")].concat();
        let (mut ends, mut within) = (Vec::new(), Vec::new());
        for (one, other) in own_messages.iter().zip(&others) {
            bytes.extend(other);
            // From the start of the payload on.
            let payload = bytes.len() + whole_header(one).unwrap().0.len();
            bytes.extend(one);
            ends.push(bytes.len());
            within.push(payload + 5..bytes.len());
        }
        let (mut scan, progress) = (ProgressScan::default(), Progress::default());
        let now =
            |progress: &Progress| (progress.complete.load(Ordering::SeqCst), progress.partial.load(Ordering::SeqCst));
        let connected = text_frame("42[\"of the connection before\"]").len() + text_frame("40{\"sid\":\"x\"}").len();
        for at in 1..=bytes.len() {
            scan.feed(&bytes[at - 1..at], &progress);
            if at >= connected {
                let (whole, partial) = now(&progress);
                assert_eq!(whole, ends.iter().filter(|end| **end <= at).count() as u64, "{at}");
                assert!(partial || !within.iter().any(|within| within.contains(&at)), "{at}");
                assert!(!partial || ends.iter().all(|end| *end != at), "{at}");
            }
        }
        let (mut scan, all) = (ProgressScan::default(), Progress::default());
        scan.feed(&bytes, &all);
        assert_eq!(now(&all), now(&progress), "in one piece");
    }

    /// Under a listener that reports nothing about its connections, bytes that the stream accepted
    /// count as arrived.
    #[test]
    fn large_packet_on_websocket_is_partial_until_last_byte() {
        let large = "x".repeat(100_000);
        let parts = [
            text_frame("40{}"),
            text_frame("42[0]"),
            text_frame(&format!("451-[\"{large}\",{{}}]")),
            vec![0x82, 3, 7, 7, 7],
        ];
        let bytes = parts.concat();
        let begin = parts[0].len() + parts[1].len();
        // A packet of the main namespace is recognised by its payload.
        for (at, expected) in [
            (begin, None),
            (begin + 20, Some(1)),
            (begin + 90_000, Some(1)),
            (bytes.len() - 1, Some(1)),
            (bytes.len(), None),
        ] {
            let (mut scan, progress) = (ProgressScan::default(), Progress::default());
            scan.feed(&bytes[..at], &progress);
            assert_eq!(progress.find_partial_packet(), expected, "{at}");
        }
    }

    #[tokio::test]
    async fn large_packet_of_response_is_partial_until_last_byte() {
        use tokio::io::AsyncWriteExt;
        let large = "x".repeat(100_000);
        let packets = format!("42[0]\x1e40{{}}\x1e42[1]\x1e451-[\"{large}\",{{}}]\x1eb{large}\x1e2\x1e42[3]");
        let (begin, end) = (packets.find("451-").unwrap(), packets.find("\x1e2").unwrap());
        for (sent, expected) in [
            (begin, None),
            (begin + MAX_HEAD as usize, None),
            (begin + MAX_HEAD as usize + 1, Some(1)),
            (end - 1, Some(1)),
            (end, None),
            (packets.len(), None),
        ] {
            let (io, _peer) = tokio::io::duplex(packets.len());
            let mut stream = Guard::new(&WireConfig::default()).wrap(io, ([127, 0, 0, 1], 7).into());
            let progress = Progress::default();
            progress.note_response(packets.as_bytes(), Some(stream.wire()));
            stream.write_all(&packets.as_bytes()[..sent]).await.unwrap();
            assert_eq!(
                (progress.find_partial_packet(), progress.complete.load(Ordering::SeqCst)),
                (expected, 3),
                "{sent}"
            );
            progress.note_response_arrived();
            assert_eq!(progress.find_partial_packet(), None);
        }
    }
}
