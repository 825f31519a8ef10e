//! Writing side of a websocket. Some of what engineioxide writes is replaced: the opening packet by this crate's own, the entry
//! namespace's answer and Engine.IO's close packet by nothing, the answer to a refused CONNECT by one with data, and the close frame
//! by one with a code. Pings are written between two frames.

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::AsyncWrite;

use crate::engine::opening::{Greeting, Opening};
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

/// Engine.IO's close packet, which engineioxide writes for faults. On a websocket the close frame says more, npm's server never
/// sends the packet there, and python-engineio does not reconnect after it (`_receive_packet`).
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
    /// Scan of the written frames, and of the packets in them.
    sent: FrameScan,
    sent_packets: PacketScan,
    progress: ProgressScan,
    /// Contents of the opening packet, until that is written; for a session that was opened on the websocket.
    greeting: Option<Greeting>,
    /// Replacement of the next bytes that was written in part.
    replacement: Option<Replacement>,
    /// Ping that was started, until it is flushed.
    ping: Option<Ping>,
}

/// Frames that are written instead of engineioxide's.
struct Replacement {
    frames: Cow<'static, [u8]>,
    /// Number of these bytes that were written.
    taken: usize,
    /// Number of bytes that they replace.
    of: usize,
}

struct Ping {
    frame: &'static [u8],
    /// Number of bytes that were written.
    taken: usize,
}

/// Treatment of the next bytes, with their number.
enum Part {
    Dropped(usize),
    Replaced(Replacement),
    Hidden(usize),
    Plain(usize),
}

/// Result of a write.
pub(crate) enum Written {
    /// So many bytes were discarded.
    Kept(usize),
    /// So many bytes, or their replacement, were written.
    Wire(io::Result<usize>),
}

impl FrameWriter {
    /// Creates the writer of a websocket that opens a session.
    pub(crate) fn of_new_session(greeting: Greeting) -> Self {
        Self { greeting: Some(greeting), ..Self::default() }
    }

    /// Writes the first part of these bytes, or its replacement. `fault` returns why engineioxide closes the websocket.
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
            Part::Dropped(bytes) => return Poll::Ready(Written::Kept(bytes)),
            Part::Replaced(replacement) => ready!(self.poll_replacement(io, session, cx, replacement, buf)),
            Part::Hidden(bytes) => {
                session.stop_hiding();
                return Poll::Ready(Written::Kept(bytes));
            }
            Part::Plain(bytes) => {
                let written = ready!(Pin::new(io).poll_write(cx, &buf[..bytes]));
                if let Ok(written) = written {
                    self.note(session, &buf[..written]);
                }
                written
            }
        };
        Poll::Ready(Written::Wire(written))
    }

    fn next_part(&mut self, session: &EngineSession, buf: &[u8], fault: impl FnOnce() -> Option<Cause>) -> Part {
        // engineioxide writes the opening packet first, and by itself.
        if let Some(greeting) = self.greeting.take() {
            return match Opening::frame(buf, &greeting) {
                Some((frame, of)) => Part::Replaced(Replacement::new(frame, of)),
                // Never. Nothing written is the end of the stream.
                None => Part::Plain(0),
            };
        }
        let mut plain = buf.len();
        let at_boundary = self.sent.at_boundary();
        let hides = session.is_hiding();
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
                let (frames, of) =
                    session.connect_errors.replace_in_frames(&buf[..plain], |refusal| session.report(refusal));
                return Part::Replaced(Replacement::new(frames, of));
            }
            Some(before) => plain = begin + before,
            None => {}
        }
        match find_close_packet(&buf[begin..plain.max(begin)]) {
            Some(0) if begin == 0 => return Part::Dropped(CLOSE_PACKET.len()),
            Some(before) => plain = plain.min(begin + before),
            None => {}
        }
        match self.before_close(&buf[..plain]) {
            Some(0) => match fault() {
                Some(fault) => Part::Replaced(Replacement::new(fault.last_frames(), BARE_CLOSE.len())),
                None => Part::Plain(plain),
            },
            Some(before) => Part::Plain(before),
            None => Part::Plain(plain),
        }
    }

    /// Returns the position of the bare close frame, if these bytes end with one: nothing comes after it.
    ///
    /// Its two bytes can also be the end of a payload, so the frames before are scanned.
    fn before_close(&self, buf: &[u8]) -> Option<usize> {
        let before = buf.strip_suffix(&BARE_CLOSE)?;
        let mut ahead = self.sent.clone();
        ahead.feed(before);
        ahead.at_boundary().then_some(before.len())
    }

    /// Writes a replacement of the first bytes of this buffer, which count as written once it is written as a whole.
    fn poll_replacement<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        session: &EngineSession,
        cx: &mut Context<'_>,
        mut replacement: Replacement,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        while replacement.taken < replacement.frames.len() {
            match Pin::new(&mut *io).poll_write(cx, &replacement.frames[replacement.taken..]) {
                Poll::Ready(Ok(written)) if written > 0 => replacement.taken += written,
                Poll::Ready(result) => return Poll::Ready(result),
                Poll::Pending => {
                    self.replacement = Some(replacement);
                    return Poll::Pending;
                }
            }
        }
        let of = replacement.of.min(buf.len());
        self.note(session, &buf[..of]);
        Poll::Ready(Ok(of))
    }

    /// Notes bytes that were written.
    fn note(&mut self, session: &EngineSession, mut bytes: &[u8]) {
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

    /// Writes the pings that are due between two frames, of the liveness check and of the heartbeat, or the rest of one.
    pub(crate) fn poll_ping<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        session: &EngineSession,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while let Some(ping) = self.ping.as_mut().filter(|ping| ping.taken < ping.frame.len()) {
                match ready!(Pin::new(&mut *io).poll_write(cx, &ping.frame[ping.taken..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => ping.taken += written,
                }
            }
            match self.due_ping(session) {
                Some(frame) => self.ping = Some(Ping { frame, taken: 0 }),
                None => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Writes and flushes the pings that are due. Called by the reading side, as engineioxide may not write for a long time.
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
            // Another one may have come due meanwhile.
            self.flushed();
        }
    }

    /// Notes a flush.
    pub(crate) fn flushed(&mut self) {
        self.ping = None;
    }

    fn due_ping(&self, session: &EngineSession) -> Option<&'static [u8]> {
        let is_between = self.replacement.is_none() && self.greeting.is_none() && self.sent.at_boundary();
        if !is_between || self.sent.has_closed() {
            None
        } else if session.liveness.takes_request() {
            Some(&PING)
        } else if session.liveness.takes_ping() {
            session.sent(&Head::Ping);
            Some(&HEARTBEAT_PING)
        } else {
            None
        }
    }
}

impl Replacement {
    fn new(frames: impl Into<Cow<'static, [u8]>>, of: usize) -> Self {
        Self { frames: frames.into(), taken: 0, of }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::settings::Limits;
    use crate::engine::websocket::stream::SessionStream;
    use crate::packet::frame::text_frame;
    use realtime_core::Refusal;
    use std::sync::Arc;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    /// What the client of this session gets of these writes when the wire takes so many bytes at a time.
    async fn sent(session: &Arc<EngineSession>, writes: &[&[u8]], room: usize) -> Vec<u8> {
        let (io, mut peer) = duplex(room);
        let limits = Limits { max_message: 10, write_stall: Duration::MAX, probe: Duration::MAX };
        let mut stream = SessionStream::new(io, Arc::clone(session), limits);
        let mut got = Vec::new();
        let write = async move {
            for bytes in writes {
                stream.write_all(bytes).await.unwrap();
            }
        };
        let (_, read) = tokio::join!(write, peer.read_to_end(&mut got));
        read.unwrap();
        got
    }

    #[tokio::test]
    async fn an_answer_is_exchanged_wherever_writes_are_cut() {
        let theirs = text_frame("44{\"message\":\"forbidden: a\"}");
        let ours = text_frame("44{\"data\":{\"code\":\"forbidden\"},\"message\":\"forbidden: a\"}");
        let before = [text_frame("44/own,{}"), text_frame(&"x".repeat(200))].concat();
        let (whole, expected) = ([&before[..], &theirs, &before].concat(), [&before[..], &ours, &before].concat());
        let rest = &whole[before.len()..];
        for room in 1..=whole.len() {
            for writes in [&[&whole[..]][..], &[&before, rest]] {
                let session = Arc::new(EngineSession::default());
                session.connect_errors.deny(&Refusal::forbidden("a"));
                assert_eq!(sent(&session, writes, room).await, expected, "{room}");
            }
        }
        let session = Arc::new(EngineSession::default());
        assert_eq!(sent(&session, &[&whole], 1000).await, whole, "nothing to exchange");
    }

    #[tokio::test]
    async fn answers_of_own_namespaces_are_exchanged_wherever_they_stand() {
        let [mut theirs, mut ours] = [text_frame("44{\"message\":\"not ours\"}"), Vec::new()];
        ours.extend(&theirs);
        for (namespace, message, code) in [("/a", "no", "forbidden"), ("/b", "Invalid namespace", "namespace")] {
            theirs.extend(text_frame(&format!("44{namespace},{{\"message\":\"{message}\"}}")));
            let data = format!("{{\"data\":{{\"code\":\"{code}\"}},\"message\":\"{message}\"}}");
            ours.extend(text_frame(&format!("44{namespace},{data}")));
        }
        for room in 1..=theirs.len() {
            for writes in [&[&theirs[..]][..], &[&theirs[..26], &theirs[26..]]] {
                assert_eq!(sent(&Arc::new(EngineSession::default()), writes, room).await, ours, "{room}");
            }
        }
    }

    #[tokio::test]
    async fn several_answers_are_exchanged_in_their_order_up_to_the_close_frame() {
        let session = Arc::new(EngineSession::default());
        let names = ["a", "b", "c"];
        let [mut theirs, mut ours] = [Vec::new(), Vec::new()];
        for name in names {
            let message = session.connect_errors.deny(&Refusal::forbidden(name));
            theirs.extend(text_frame(&format!("44{{\"message\":\"{message}\"}}")));
            ours.extend(text_frame(&format!("44{{\"data\":{{\"code\":\"forbidden\"}},\"message\":\"{message}\"}}")));
        }
        theirs.extend(BARE_CLOSE);
        session.close_for(Cause::UserLimit);
        ours.extend(Cause::UserLimit.last_frames());
        assert_eq!(sent(&session, &[&theirs], 5).await, ours);
    }
}
