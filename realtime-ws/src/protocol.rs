//! The WebSocket protocol of one connection (RFC 6455) without a socket: bytes in, messages and
//! replies out.

use std::io::{self, ErrorKind, Read, Write};

use realtime_core::CloseReason;
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::CapacityError;
use tokio_tungstenite::tungstenite::protocol::{Message, Role, WebSocketConfig, WebSocketContext};

use crate::fragments::Fragments;

/// The reader of the client's messages.
///
/// tungstenite does the work; its state exists only while a message is being received, so that an
/// idle connection holds no read buffer and a large message leaves none behind.
pub(crate) struct Protocol {
    context: Option<Box<WebSocketContext>>,
    /// Input that the context has not consumed yet, from `at` on.
    input: Vec<u8>,
    at: usize,
    /// The number of bytes that the context has consumed since its creation.
    fed: usize,
    /// A lower bound of the bytes that the messages returned by the context consist of. If it
    /// equals `fed`, nothing is left in the context.
    used: usize,
    /// The number of bytes that have come since the last whole message, without control frames.
    open: usize,
    /// `true` if the context needs more input.
    starved: bool,
    fragments: Fragments,
}

/// The smallest header of a frame from a client, in bytes: two and the mask (RFC 6455 §5.2).
const MIN_HEADER: usize = 6;

/// The bytes that the frame headers of one message may have in addition to the message's own size:
/// empty fragments hold nothing, so only this bounds their number.
const FRAGMENTS_ROOM: usize = 64 * 1024;

impl Protocol {
    pub(crate) fn new() -> Self {
        Self {
            context: None,
            input: Vec::new(),
            at: 0,
            fed: 0,
            used: 0,
            open: 0,
            starved: true,
            fragments: Fragments::default(),
        }
    }

    /// Adds input; only after [`Protocol::next`] has returned `None`.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        debug_assert!(self.at == self.input.len(), "input is added only after the last one has been consumed");
        self.input = bytes.to_vec();
        self.fragments.count(bytes);
        self.at = 0;
        self.starved = false;
    }

    /// Returns the number of small fragments in the input since the last call.
    pub(crate) fn take_fragments(&mut self) -> u32 {
        self.fragments.take()
    }

    /// Returns whether [`Protocol::next`] needs more input.
    pub(crate) fn is_starved(&self) -> bool {
        self.starved
    }

    /// Returns the next whole message; pongs and the answer to a close are added to `replies`.
    ///
    /// # Errors
    /// The protocol error of the client, after which nothing more can be read.
    pub(crate) fn next(&mut self, config: &WebSocketConfig, replies: &mut Vec<u8>) -> Result<Option<Message>, Error> {
        if self.starved {
            return Ok(None);
        }
        if self.context.is_none() {
            let part = std::mem::take(&mut self.input);
            self.fed = part.len();
            self.used = 0;
            self.open = part.len();
            let context = WebSocketContext::from_partially_read(part, Role::Server, Some(*config));
            self.context = Some(Box::new(context));
        }
        let Some(context) = &mut self.context else { return Ok(None) };
        let mut port = Port { input: &self.input[self.at..], taken: 0, replies };
        let read = context.read(&mut port);
        self.at += port.taken;
        self.fed += port.taken;
        self.open += port.taken;
        match read {
            Ok(message) => {
                let size = MIN_HEADER + extended_length(message.len()) + message.len();
                self.used += size;
                let is_data = message.is_text() || message.is_binary();
                self.open = if is_data { 0 } else { self.open.saturating_sub(size) };
                Ok(Some(message))
            }
            Err(Error::Io(error)) if error.kind() == ErrorKind::WouldBlock => {
                self.shrink();
                self.check_open(config.max_message_size.unwrap_or(usize::MAX))?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    fn check_open(&self, max_size: usize) -> Result<(), Error> {
        let most = max_size.saturating_mul(2).saturating_add(FRAGMENTS_ROOM);
        if self.open <= most {
            return Ok(());
        }
        Err(Error::Capacity(CapacityError::MessageTooLong { size: self.open, max_size }))
    }

    /// Writes the answer to the client's close frame.
    pub(crate) fn answer_close(&mut self, replies: &mut Vec<u8>) {
        if let Some(context) = &mut self.context {
            // The error reports that the connection is closed now, which is known.
            let _ = context.flush(&mut Port { input: &[], taken: 0, replies });
        }
    }

    /// Keeps only what an incomplete message needs, now that all input has been consumed.
    fn shrink(&mut self) {
        self.starved = true;
        self.input = Vec::new();
        self.at = 0;
        if self.fed == self.used && self.context.as_ref().is_some_and(|context| context.can_write()) {
            self.context = None;
        }
    }
}

/// Returns the close reason for a protocol error; `None` when the connection is closed already.
pub(crate) fn close_reason(error: &Error) -> Option<CloseReason> {
    match error {
        Error::AlreadyClosed | Error::ConnectionClosed => None,
        Error::Capacity(_) => Some(CloseReason::TOO_LARGE),
        Error::Utf8(_) => Some(CloseReason::INVALID_UTF8),
        _ => Some(CloseReason::PROTOCOL_ERROR),
    }
}

/// Returns the number of bytes of a frame's length beyond the first (RFC 6455 §5.2).
fn extended_length(length: usize) -> usize {
    match length {
        0..126 => 0,
        126..65_536 => 2,
        _ => 8,
    }
}

/// A stream for tungstenite: reads from the input, writes to the replies.
struct Port<'a> {
    input: &'a [u8],
    taken: usize,
    replies: &'a mut Vec<u8>,
}

impl Read for Port<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let rest = &self.input[self.taken..];
        if rest.is_empty() {
            return Err(ErrorKind::WouldBlock.into());
        }
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        self.taken += length;
        Ok(length)
    }
}

impl Write for Port<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.replies.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: u8 = 0x80;

    fn config() -> WebSocketConfig {
        crate::settings::websocket(1000, 64)
    }

    /// Returns a frame as a client sends it.
    fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut bytes = vec![first];
        match payload.len() {
            length @ 0..126 => bytes.push(0x80 | length as u8),
            length => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&(length as u16).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        bytes
    }

    struct Run {
        protocol: Protocol,
        messages: Vec<Message>,
        replies: Vec<u8>,
    }

    impl Run {
        fn new() -> Self {
            Self { protocol: Protocol::new(), messages: Vec::new(), replies: Vec::new() }
        }

        fn feed(&mut self, bytes: &[u8]) -> Result<(), Error> {
            self.protocol.feed(bytes);
            while let Some(message) = self.protocol.next(&config(), &mut self.replies)? {
                self.messages.push(message);
            }
            Ok(())
        }
    }

    #[test]
    fn messages_are_read_from_chunks_of_any_size() {
        let mut bytes = Vec::new();
        bytes.extend(frame(OPEN | 1, b"first"));
        bytes.extend(frame(1, b"sec"));
        bytes.extend(frame(OPEN | 9, b"ping"));
        bytes.extend(frame(OPEN, b"ond"));
        bytes.extend(frame(OPEN | 2, &[7; 300]));
        bytes.extend(frame(OPEN | 1, b""));
        for size in [1, 2, 7, 64, 1000] {
            let mut run = Run::new();
            for piece in bytes.chunks(size) {
                run.feed(piece).unwrap();
            }
            let expected = [
                Message::text("first"),
                Message::Ping("ping".into()),
                Message::text("second"),
                Message::binary(vec![7; 300]),
                Message::text(""),
            ];
            assert_eq!(run.messages, expected, "chunks of {size}");
            assert_eq!(run.replies, b"\x8a\x04ping", "chunks of {size}");
        }
    }

    #[test]
    fn nothing_is_kept_between_messages() {
        let mut run = Run::new();
        for _ in 0..3 {
            let bytes = frame(OPEN | 1, &[b'x'; 900]);
            run.feed(&bytes[..500]).unwrap();
            assert!(run.protocol.context.is_some());
            run.feed(&bytes[500..]).unwrap();
            assert!(run.protocol.context.is_none());
        }
        run.feed(&[frame(OPEN | 9, b""), frame(OPEN | 1, b"a"), frame(OPEN | 10, b"")].concat()).unwrap();
        assert!(run.protocol.context.is_none());
        assert_eq!(run.messages.len(), 6);
        assert_eq!(run.protocol.input.capacity(), 0);
    }

    #[test]
    fn protocol_errors_have_their_close_codes() {
        let reason = |bytes: &[u8]| close_reason(&Run::new().feed(bytes).unwrap_err());
        assert_eq!(reason(&frame(OPEN | 1, &[b'x'; 1001])), Some(CloseReason::TOO_LARGE));
        // A length of 2^62 bytes.
        assert_eq!(reason(&[0x82, 0xff, 0x40, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]), Some(CloseReason::TOO_LARGE));
        let halves = [frame(1, &[b'x'; 501]), frame(OPEN, &[b'x'; 500])].concat();
        assert_eq!(reason(&halves), Some(CloseReason::TOO_LARGE));
        assert_eq!(reason(&frame(OPEN | 1, b"\xff")), Some(CloseReason::INVALID_UTF8));
        assert_eq!(reason(&frame(1, b"\xff")), Some(CloseReason::INVALID_UTF8));
        let wrong: [&[u8]; 7] = [
            // Not masked; reserved bits; reserved opcodes; a fragmented ping; a continuation of
            // nothing; a close of one byte.
            b"\x81\x01a",
            &frame(0xc1, b"a"),
            &frame(OPEN | 3, b"a"),
            &frame(OPEN | 11, b"a"),
            &frame(9, b"a"),
            &frame(OPEN, b"a"),
            &frame(OPEN | 8, b"a"),
        ];
        for bytes in wrong {
            assert_eq!(reason(bytes), Some(CloseReason::PROTOCOL_ERROR), "{bytes:x?}");
        }
        let two = [frame(1, b"a"), frame(OPEN | 1, b"b")].concat();
        assert_eq!(reason(&two), Some(CloseReason::PROTOCOL_ERROR));
        assert_eq!(reason(&frame(OPEN | 9, &[0; 126])), Some(CloseReason::PROTOCOL_ERROR));
    }

    #[test]
    fn empty_fragments_are_bounded_and_pongs_are_not() {
        let mut run = Run::new();
        for _ in 0..20_000 {
            run.feed(&frame(OPEN | 10, b"")).unwrap();
        }
        run.feed(&frame(1, b"a")).unwrap();
        for _ in 0..20_000 {
            run.feed(&frame(OPEN | 10, b"")).unwrap();
        }
        run.messages.clear();
        let empty = frame(0, b"");
        let error = (0..20_000).find_map(|_| run.feed(&empty).err()).unwrap();
        assert_eq!(close_reason(&error), Some(CloseReason::TOO_LARGE));
        assert_eq!(run.messages, []);
    }

    #[test]
    fn close_is_answered_with_its_code() {
        let mut run = Run::new();
        run.protocol.feed(&frame(OPEN | 8, b"\x03\xe8bye"));
        let close = run.protocol.next(&config(), &mut run.replies).unwrap();
        assert!(matches!(close, Some(Message::Close(Some(_)))));
        run.protocol.answer_close(&mut run.replies);
        assert_eq!(run.replies, b"\x88\x05\x03\xe8bye");
    }
}
