use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

use crate::engine::session::EngineSession;
use crate::engine::session::namespaces::Verdict;
use crate::engine::settings::TURN;
use crate::packet::entry;
use crate::packet::frame_rewriter::FrameRewriter;
use crate::packet::head::Head;
use crate::packet::packet_scan::{Found, PacketScan};

/// Reading side of a websocket: connects the session to the entry namespace, rewrites what socketioxide cannot read, and has each
/// packet admitted, delayed or refused before engineioxide reads it.
#[derive(Default)]
pub(crate) struct FrameReader {
    entry: Entry,
    rewriter: FrameRewriter,
    scan: PacketScan,
    /// Bytes that engineioxide has not read yet: at most one read from the wire, and what was held back to be rewritten.
    held: Vec<u8>,
    /// Number of these bytes that are admitted, and that were scanned.
    admitted: usize,
    scanned: usize,
    /// Head of the packet that waits.
    waits: Option<Head>,
    /// Packets since the task last yielded.
    packets: usize,
}

#[derive(Default)]
enum Entry {
    Begins,
    #[default]
    Over,
    Waits,
}

impl FrameReader {
    /// Creates the reader of an upgraded websocket, for messages up to so many bytes.
    pub(crate) fn new(max_message: usize) -> Self {
        Self { rewriter: FrameRewriter::new(max_message), ..Self::default() }
    }

    /// Creates the reader of a websocket that opens a session.
    pub(crate) fn of_new_session(max_message: usize) -> Self {
        Self { entry: Entry::Begins, ..Self::new(max_message) }
    }

    /// Returns whether a packet waits, and nothing is read meanwhile.
    pub(crate) fn is_blocked(&self) -> bool {
        self.waits.is_some()
    }

    /// Reads what is admitted. Ready without a byte at the end of the stream, or when the session is ending.
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
        if self.packets >= TURN {
            self.packets = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        loop {
            if self.admitted > 0 {
                self.hand_on(buf);
                return Poll::Ready(Ok(()));
            }
            if let Some(head) = self.waits.take() {
                if !ready!(self.poll_waiting(session, head)) {
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
            if self.take_read(session, buf, before) {
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Copies admitted bytes to the buffer.
    fn hand_on(&mut self, buf: &mut ReadBuf<'_>) {
        let taken = self.admitted.min(buf.remaining());
        buf.put_slice(&self.held[..taken]);
        self.admitted -= taken;
        self.scanned -= taken;
        // Most of the time nothing is held, and then no memory either.
        self.held = self.held.split_off(taken);
    }

    /// Waits until the packet that waits is admitted, and scans what comes after it. Ready with false when the session ends.
    fn poll_waiting(&mut self, session: &EngineSession, head: Head) -> Poll<bool> {
        match session.admit(&head) {
            Verdict::Pass => {}
            Verdict::Refuse => {
                session.refuse();
                return Poll::Ready(false);
            }
            Verdict::Wait => {
                self.waits = Some(head);
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

    /// Scans what was read into the buffer behind its first `before` bytes, and leaves only what is admitted there. Returns false if the
    /// read has to go on.
    fn take_read(&mut self, session: &EngineSession, buf: &mut ReadBuf<'_>, before: usize) -> bool {
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

    /// Writes the packet that connects to the entry namespace, and waits for the connection. Ready with true when the packet was written.
    fn poll_entry(&mut self, session: &EngineSession, buf: &mut ReadBuf<'_>) -> Poll<bool> {
        match self.entry {
            Entry::Over => Poll::Ready(false),
            Entry::Begins if buf.remaining() < entry::ENTER_FRAME.len() => {
                // Never, with the buffer that engineioxide has; then its own time for a connection counts.
                self.entry = Entry::Over;
                Poll::Ready(false)
            }
            Entry::Begins => {
                self.entry = Entry::Waits;
                buf.put_slice(&entry::ENTER_FRAME);
                Poll::Ready(true)
            }
            // The session's readers are woken.
            Entry::Waits if !session.is_entered() => Poll::Pending,
            Entry::Waits => {
                self.entry = Entry::Over;
                Poll::Ready(false)
            }
        }
    }

    /// Scans these bytes up to a packet that has to wait, and admits what comes before its message, so that the session can end
    /// between two messages. Returns none when the session ends.
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
                None => Verdict::Pass,
                Some(Found::Frame(len)) => session.namespaces.admit_bytes(*len),
                Some(Found::Packet(head)) => {
                    self.packets += 1;
                    session.admit(head)
                }
            };
            match (verdict, found) {
                (Verdict::Pass, _) => {}
                (Verdict::Wait, Some(Found::Packet(head))) => {
                    self.waits = Some(head);
                    return Some(());
                }
                _ => {
                    session.refuse();
                    return None;
                }
            }
        }
    }
}
