//! Writing half of a websocket. Some frames that engineioxide writes are replaced: the open packet
//! by this crate's own, the answer to a refused CONNECT by one with data, and the close frame by
//! one with a code. The entry namespace's answer and Engine.IO's close packet are dropped. Pings
//! are written between two frames.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::engine::opening::{HandshakeData, OpenPacket};
use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::engine::session::connect_errors;
use crate::engine::session::progress::ProgressScan;
use crate::packet::entry;
use crate::packet::frame::whole_frame;
use crate::packet::frame_scan::FrameScan;
use crate::packet::head::Head;
use crate::packet::packet_scan::{Found, PacketScan};

/// engineioxide's last frame: a close frame without a code.
pub(crate) const BARE_CLOSE: [u8; 2] = [0x88, 0];

/// Engine.IO's close packet, which engineioxide writes for faults. On a websocket the close frame
/// carries more information, npm's server never sends the packet there, and python-engineio does
/// not reconnect after it (`_receive_packet`).
const CLOSE_PACKET: [u8; 3] = [0x81, 1, b'1'];

/// A ping without a payload (RFC 6455 §5.5.2).
pub(crate) const PING: [u8; 2] = [0x89, 0];
/// Engine.IO's ping packet as a text frame.
const HEARTBEAT_PING: [u8; 3] = [0x81, 1, b'2'];

/// Returns the position of Engine.IO's close packet among these frames.
fn find_close_packet(frames: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some((.., len)) = whole_frame(&frames[at..]) {
        if frames[at..at + len] == CLOSE_PACKET {
            return Some(at);
        }
        at += len;
    }
    None
}

/// Writer of one websocket's frames.
#[derive(Default)]
pub(crate) struct FrameWriter {
    /// Scan of the written frames.
    sent: FrameScan,
    /// Scan of the packets in the written frames.
    sent_packets: PacketScan,
    progress: ProgressScan,
    /// Contents of the open packet, until that is written; for a session that was opened on the
    /// websocket.
    handshake: Option<HandshakeData>,
    /// Replacement of the next bytes that was written in part.
    replacement: Option<Replacement>,
    /// Ping that was started, until it is flushed.
    ping: Option<Ping>,
}

/// Frames that are written instead of engineioxide's.
struct Replacement {
    frames: Cow<'static, [u8]>,
    /// Number of these bytes that were written.
    written: usize,
    /// Number of engineioxide's bytes that they replace.
    replaced_len: usize,
}

struct Ping {
    frame: &'static [u8],
    /// Number of bytes that were written.
    written: usize,
}

/// Treatment of the next bytes, with the number of bytes.
enum Part {
    Dropped(usize),
    Replaced(Replacement),
    Hidden(usize),
    Plain(usize),
}

/// Result of a write.
pub(crate) enum Written {
    /// This number of bytes was discarded.
    Discarded(usize),
    /// This number of bytes, or their replacement, was written.
    Sent(io::Result<usize>),
}

impl FrameWriter {
    /// Creates the writer of a websocket that opens a session.
    pub(crate) fn for_new_session(handshake: HandshakeData) -> Self {
        Self { handshake: Some(handshake), ..Self::default() }
    }

    /// Writes the first part of these bytes, or its replacement. `fault` returns the fault for
    /// which engineioxide closes the websocket.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        session: &EngineSession,
        cx: &mut Context<'_>,
        buf: &[u8],
        fault: impl FnOnce() -> Option<Cause>,
    ) -> Poll<Written> {
        let part = match self.replacement.take() {
            Some(replacement) => Part::Replaced(replacement),
            None => self.next_part(session, buf, fault),
        };
        let written = match part {
            Part::Dropped(bytes) => return Poll::Ready(Written::Discarded(bytes)),
            Part::Replaced(replacement) => ready!(self.poll_replacement(io, session, cx, replacement, buf)),
            Part::Hidden(bytes) => {
                session.entry.note_answer_hidden();
                return Poll::Ready(Written::Discarded(bytes));
            }
            Part::Plain(bytes) => {
                let written = ready!(Pin::new(io).poll_write(cx, &buf[..bytes]));
                if let Ok(written) = written {
                    self.note_written(session, &buf[..written]);
                }
                written
            }
        };
        Poll::Ready(Written::Sent(written))
    }

    fn next_part(&mut self, session: &EngineSession, buf: &[u8], fault: impl FnOnce() -> Option<Cause>) -> Part {
        // engineioxide writes the open packet first, in a write of its own.
        if let Some(handshake) = self.handshake.take() {
            return match OpenPacket::frame(buf, &handshake) {
                Some((frame, len)) => Part::Replaced(Replacement::new(frame, len)),
                // Never the case. Writing nothing ends the stream.
                None => Part::Plain(0),
            };
        }
        let mut plain = buf.len();
        let at_boundary = self.sent.at_boundary();
        let hides = session.entry.hides_answer();
        let begin = if at_boundary { 0 } else { self.sent.left(buf) };
        if hides && !at_boundary {
            plain = begin;
        }
        if hides && at_boundary {
            match entry::find_answer(buf) {
                Some((0, end)) => return Part::Hidden(end),
                Some((begin, _)) => plain = begin,
                None => {}
            }
        }
        match connect_errors::find(&buf[begin..plain.max(begin)]) {
            Some(0) if begin == 0 => {
                let (frames, replaced_len) =
                    session.connect_errors.replace_in_frames(&buf[..plain], |refusal| session.report(refusal));
                return Part::Replaced(Replacement::new(frames, replaced_len));
            }
            Some(before) => plain = begin + before,
            None => {}
        }
        match find_close_packet(&buf[begin..plain.max(begin)]) {
            Some(0) if begin == 0 => return Part::Dropped(CLOSE_PACKET.len()),
            Some(before) => plain = plain.min(begin + before),
            None => {}
        }
        match self.find_bare_close(&buf[..plain]) {
            Some(0) => match fault() {
                Some(fault) => Part::Replaced(Replacement::new(fault.last_frames(), BARE_CLOSE.len())),
                None => Part::Plain(plain),
            },
            Some(before) => Part::Plain(before),
            None => Part::Plain(plain),
        }
    }

    /// Returns the position of the bare close frame, if these bytes end with one; it is always the
    /// last frame.
    ///
    /// The same two bytes can also be the end of a payload, so the frames before them are scanned.
    fn find_bare_close(&self, buf: &[u8]) -> Option<usize> {
        let before = buf.strip_suffix(&BARE_CLOSE)?;
        let mut ahead = self.sent.clone();
        ahead.feed(before);
        ahead.at_boundary().then_some(before.len())
    }

    /// Writes a replacement of the first bytes of this buffer, which count as written once the
    /// replacement is written completely.
    fn poll_replacement<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        session: &EngineSession,
        cx: &mut Context<'_>,
        mut replacement: Replacement,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        while replacement.written < replacement.frames.len() {
            match Pin::new(&mut *io).poll_write(cx, &replacement.frames[replacement.written..]) {
                Poll::Ready(Ok(written)) if written > 0 => replacement.written += written,
                Poll::Ready(result) => return Poll::Ready(result),
                Poll::Pending => {
                    self.replacement = Some(replacement);
                    return Poll::Pending;
                }
            }
        }
        let len = replacement.replaced_len.min(buf.len());
        self.note_written(session, &buf[..len]);
        Poll::Ready(Ok(len))
    }

    /// Notes bytes that were written.
    fn note_written(&mut self, session: &EngineSession, mut bytes: &[u8]) {
        self.sent.feed(bytes);
        self.progress.feed(bytes, &session.progress);
        while !bytes.is_empty() || !self.sent_packets.is_done() {
            let (taken, found) = self.sent_packets.next(bytes);
            bytes = &bytes[taken..];
            if let Some(Found::Packet(head)) = found {
                session.sent(&head);
            }
        }
    }

    /// Writes the pings that are due between two frames, of the liveness check and of the
    /// heartbeat, or the rest of one.
    pub(crate) fn poll_ping<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        session: &EngineSession,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while let Some(ping) = self.ping.as_mut().filter(|ping| ping.written < ping.frame.len()) {
                match ready!(Pin::new(&mut *io).poll_write(cx, &ping.frame[ping.written..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => ping.written += written,
                }
            }
            match self.due_ping(session) {
                Some(frame) => self.ping = Some(Ping { frame, written: 0 }),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Writes and flushes the pings that are due. Called by the reading half, as engineioxide may
    /// not write for a long time.
    pub(crate) fn poll_idle_ping<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        session: &EngineSession,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.poll_ping(io, session, cx))?;
            if self.ping.is_none() {
                return Poll::Ready(Ok(()));
            }
            ready!(Pin::new(&mut *io).poll_flush(cx))?;
            // Another ping may be due meanwhile.
            self.flushed();
        }
    }

    /// Notes a flush.
    pub(crate) fn flushed(&mut self) {
        self.ping = None;
    }

    fn due_ping(&self, session: &EngineSession) -> Option<&'static [u8]> {
        let is_between = self.replacement.is_none() && self.handshake.is_none() && self.sent.at_boundary();
        if !is_between || self.sent.has_closed() {
            None
        } else if session.liveness.take_request() {
            Some(&PING)
        } else if session.liveness.take_ping() {
            session.sent(&Head::Ping);
            Some(&HEARTBEAT_PING)
        } else {
            None
        }
    }
}

impl Replacement {
    fn new(frames: impl Into<Cow<'static, [u8]>>, replaced_len: usize) -> Self {
        Self { frames: frames.into(), written: 0, replaced_len }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::websocket::stream::tests::sent_by;
    use crate::packet::frame::text_frame;
    use realtime_core::Refusal;
    use std::sync::Arc;

    #[tokio::test]
    async fn connect_error_is_replaced_at_any_split_of_writes() {
        let original = text_frame("44{\"message\":\"forbidden: a\"}");
        let replacement = text_frame("44{\"data\":{\"code\":\"forbidden\"},\"message\":\"forbidden: a\"}");
        let before = [text_frame("44/own,{}"), text_frame(&"x".repeat(200))].concat();
        let whole = [&before[..], &original, &before].concat();
        let expected = [&before[..], &replacement, &before].concat();
        let rest = &whole[before.len()..];
        for buffer in 1..=whole.len() {
            for writes in [&[&whole[..]][..], &[&before, rest]] {
                let session = Arc::new(EngineSession::default());
                session.connect_errors.queue(&Refusal::forbidden("a"));
                assert_eq!(sent_by(&session, writes, buffer).await, expected, "{buffer}");
            }
        }
        let session = Arc::new(EngineSession::default());
        assert_eq!(sent_by(&session, &[&whole], 1000).await, whole, "nothing to replace");
    }

    #[tokio::test]
    async fn connect_errors_of_custom_namespaces_are_replaced() {
        let [mut original, mut expected] = [text_frame("44{\"message\":\"not queued\"}"), Vec::new()];
        expected.extend(&original);
        for (namespace, message, code) in [("/a", "no", "forbidden"), ("/b", "Invalid namespace", "namespace")] {
            original.extend(text_frame(&format!("44{namespace},{{\"message\":\"{message}\"}}")));
            let data = format!("{{\"data\":{{\"code\":\"{code}\"}},\"message\":\"{message}\"}}");
            expected.extend(text_frame(&format!("44{namespace},{data}")));
        }
        for buffer in 1..=original.len() {
            for writes in [&[&original[..]][..], &[&original[..26], &original[26..]]] {
                assert_eq!(sent_by(&Arc::new(EngineSession::default()), writes, buffer).await, expected, "{buffer}");
            }
        }
    }

    #[tokio::test]
    async fn several_connect_errors_are_replaced_in_order() {
        let session = Arc::new(EngineSession::default());
        let names = ["a", "b", "c"];
        let [mut original, mut expected] = [Vec::new(), Vec::new()];
        for name in names {
            let message = session.connect_errors.queue(&Refusal::forbidden(name));
            original.extend(text_frame(&format!("44{{\"message\":\"{message}\"}}")));
            expected
                .extend(text_frame(&format!("44{{\"data\":{{\"code\":\"forbidden\"}},\"message\":\"{message}\"}}")));
        }
        original.extend(BARE_CLOSE);
        session.close_for(Cause::UserLimit);
        expected.extend(Cause::UserLimit.last_frames());
        assert_eq!(sent_by(&session, &[&original], 5).await, expected);
    }
}
