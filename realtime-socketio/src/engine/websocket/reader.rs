use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::engine::session::EngineSession;
use crate::engine::session::namespaces::Verdict;
use crate::engine::settings::YIELD_AFTER;
use crate::packet::entry;
use crate::packet::frame_rewriter::FrameRewriter;
use crate::packet::head::Head;
use crate::packet::packet_scan::{Found, PacketScan};

/// Reading half of a websocket: connects the session to the entry namespace, rewrites packets that
/// socketioxide cannot read, and has each packet admitted, delayed or rejected before engineioxide
/// reads it.
#[derive(Default)]
pub(crate) struct FrameReader {
    entry: EntryStage,
    rewriter: FrameRewriter,
    scan: PacketScan,
    /// Bytes that engineioxide has not read yet: at most one read from the wire, and the bytes that
    /// were held back to be rewritten.
    held: Vec<u8>,
    /// Number of these bytes that are admitted.
    admitted: usize,
    /// Number of these bytes that were scanned.
    scanned: usize,
    /// Condition that is awaited before the next bytes are scanned.
    blocked_on: Option<Blocked>,
    /// Number of packets since the task last yielded.
    packets: usize,
}

/// Condition that the reader waits for.
enum Blocked {
    /// The admission of the packet with this head.
    Packet(Head),
    /// The rate of the client.
    Rate,
}

/// Stage of the connection to the entry namespace.
#[derive(Default)]
enum EntryStage {
    #[default]
    Done,
    NotSent,
    Sent,
}

impl FrameReader {
    /// Creates the reader of an upgraded websocket, for messages of up to `max_message` bytes.
    pub(crate) fn new(max_message: usize) -> Self {
        Self { rewriter: FrameRewriter::new(max_message), ..Self::default() }
    }

    /// Creates the reader of a websocket that opens a session.
    pub(crate) fn for_new_session(max_message: usize) -> Self {
        Self { entry: EntryStage::NotSent, ..Self::new(max_message) }
    }

    /// Returns whether a packet waits for its admission, so that nothing is read.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked_on.is_some()
    }

    /// Reads admitted bytes. Ready without a byte at the end of the stream, or when the session is
    /// closing.
    pub(crate) fn poll_read<S: AsyncRead + Unpin>(
        &mut self,
        io: &mut S,
        session: &EngineSession,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if ready!(self.poll_entry(session, buf)) {
            return Poll::Ready(Ok(()));
        }
        if self.packets >= YIELD_AFTER {
            self.packets = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if self.admitted > 0 {
                self.copy_admitted(buf);
                return Poll::Ready(Ok(()));
            }
            if let Some(blocked) = self.blocked_on.take() {
                if !ready!(self.poll_blocked(session, blocked)) {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            let before = buf.filled().len();
            ready!(Pin::new(&mut *io).poll_read(cx, buf))?;
            if buf.filled().len() == before {
                return Poll::Ready(Ok(()));
            }
            session.note_received();
            if self.process_read(session, buf, before) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Copies admitted bytes to the buffer.
    fn copy_admitted(&mut self, buf: &mut ReadBuf<'_>) {
        let taken = self.admitted.min(buf.remaining());
        buf.put_slice(&self.held[..taken]);
        self.admitted -= taken;
        self.scanned -= taken;
        // Most of the time nothing is held, and then no memory is kept either.
        self.held = self.held.split_off(taken);
    }

    /// Waits until the blocked packet is admitted, or the client is within its rate, and scans the
    /// bytes behind it. Ready with false when the session is closed.
    fn poll_blocked(&mut self, session: &EngineSession, blocked: Blocked) -> Poll<bool> {
        let verdict = match &blocked {
            Blocked::Packet(head) => session.admit(head),
            Blocked::Rate if session.is_over_rate() => Verdict::Wait,
            Blocked::Rate => Verdict::Admit,
        };
        match verdict {
            Verdict::Admit => {}
            Verdict::Reject => {
                session.reject_flood();
                return Poll::Ready(false);
            }
            // The session wakes its readers when this may have changed.
            Verdict::Wait => {
                self.blocked_on = Some(blocked);
                return Poll::Pending;
            }
        }
        let held = std::mem::take(&mut self.held);
        if self.scan_packets(session, &held).is_none() {
            return Poll::Ready(false);
        }
        self.held = held;
        Poll::Ready(true)
    }

    /// Scans the bytes in the buffer behind its first `before` bytes, and leaves only those that
    /// are admitted. Returns false if the read has to be continued.
    fn process_read(&mut self, session: &EngineSession, buf: &mut ReadBuf<'_>, before: usize) -> bool {
        let read = &buf.filled()[before..];
        self.scanned = 0;
        if let Some(rewritten) = self.rewriter.feed(read) {
            buf.set_filled(before);
            if self.scan_packets(session, &rewritten).is_none() {
                return true;
            }
            self.held = rewritten;
            return false;
        }
        if self.scan_packets(session, read).is_some() && self.admitted == read.len() {
            (self.admitted, self.scanned) = (0, 0);
            return true;
        }
        let admitted = std::mem::take(&mut self.admitted);
        self.held = read[admitted..].to_vec();
        self.scanned -= admitted;
        buf.set_filled(before + admitted);
        admitted > 0 || session.is_closing()
    }

    /// Writes the packet that connects to the entry namespace, and waits for the connection. Ready
    /// with true when the packet was written.
    fn poll_entry(&mut self, session: &EngineSession, buf: &mut ReadBuf<'_>) -> Poll<bool> {
        match self.entry {
            EntryStage::Done => Poll::Ready(false),
            EntryStage::NotSent if buf.remaining() < entry::ENTER_FRAME.len() => {
                // Never the case with engineioxide's buffer; its own `connect_timeout` would count.
                self.entry = EntryStage::Done;
                Poll::Ready(false)
            }
            EntryStage::NotSent => {
                self.entry = EntryStage::Sent;
                buf.put_slice(&entry::ENTER_FRAME);
                Poll::Ready(true)
            }
            // The session wakes its readers when it is connected.
            EntryStage::Sent if !session.entry.is_connected() => Poll::Pending,
            EntryStage::Sent => {
                self.entry = EntryStage::Done;
                Poll::Ready(false)
            }
        }
    }

    /// Scans these bytes up to a packet that has to wait, and admits those before its message, so
    /// that the session can end between two messages. Returns none when the session is closed.
    fn scan_packets(&mut self, session: &EngineSession, bytes: &[u8]) -> Option<()> {
        loop {
            if self.scan.is_between() {
                self.admitted = self.scanned;
            }
            if self.scanned == bytes.len() && self.scan.is_done() {
                self.admitted = bytes.len();
                return Some(());
            }
            let (taken, found) = self.scan.next(&bytes[self.scanned..]);
            self.scanned += taken;
            let verdict = match &found {
                None => Verdict::Admit,
                Some(Found::Frame(len)) => session.admit_bytes(*len, self.scan.alone()),
                Some(Found::Packet(head)) => {
                    self.packets += 1;
                    session.admit(head)
                }
            };
            match (verdict, found) {
                (Verdict::Admit, _) => {}
                (Verdict::Wait, Some(Found::Packet(head))) => {
                    self.blocked_on = Some(Blocked::Packet(head));
                    return Some(());
                }
                (Verdict::Wait, Some(Found::Frame(_))) => {
                    self.blocked_on = Some(Blocked::Rate);
                    return Some(());
                }
                _ => {
                    session.reject_flood();
                    return None;
                }
            }
        }
    }
}
