use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use realtime_http::Wire;
use realtime_http::spi::Spans;
use tokio::io::AsyncWrite;

use crate::codec::WsFrame;

/// The output of one connection: everything that waits is sent in one write, without being copied.
#[derive(Debug, Default)]
pub(crate) struct Writer {
    /// The rest of a piece that was written in part; nothing may be written before it.
    head: Bytes,
    /// Whole control frames, which are sent before the next message.
    control: Vec<u8>,
    /// Messages; those before `next` have been sent.
    frames: Vec<WsFrame>,
    next: usize,
    unflushed: bool,
    /// The number of bytes that the connection has accepted so far.
    sent: u64,
    /// The number of messages that the connection has accepted as a whole.
    whole: u64,
    /// The positions of the large ones among them, and of the one being sent.
    large: Spans,
    /// The number of messages whose rest is the head, or is in the head.
    in_head: u64,
}

/// The largest number of pieces in one write.
const MAX_PIECES: usize = 64;
/// The capacity for messages that an idle connection keeps.
const IDLE_FRAMES: usize = 16;
/// The largest number of bytes that are joined: larger messages are sent by themselves, so that it
/// is known of each whether it has been sent.
const MAX_JOINED: usize = 64 * 1024;
/// The bytes of unsent control frames above which no more may be caused by reading.
const MAX_CONTROL: usize = 1024;

impl Writer {
    /// Returns the queue of messages; they are added only when everything before has been written.
    pub(crate) fn frames(&mut self) -> &mut Vec<WsFrame> {
        &mut self.frames
    }

    /// Returns the queue of whole control frames.
    pub(crate) fn control(&mut self) -> &mut Vec<u8> {
        &mut self.control
    }

    /// Returns whether the client leaves so many control frames unread that it should get no more.
    pub(crate) fn is_clogged(&self) -> bool {
        self.control.len() > MAX_CONTROL
    }

    /// Drops the messages of which nothing has been sent.
    pub(crate) fn discard(&mut self) {
        self.frames = Vec::new();
        self.next = 0;
    }

    /// Returns the number of bytes that the connection has accepted so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns the number of the large message of which a part has arrived and not all, now that
    /// the TCP connection is closed. Without a `wire`, everything that was accepted counts as
    /// arrived.
    pub(crate) fn partial(&self, wire: Option<&Wire>) -> Option<u64> {
        if self.large.is_empty() {
            return None;
        }
        self.partial_behind(wire.map_or(0, |wire| wire.written().wrapping_sub(wire.acknowledged())))
    }

    /// Returns the same when the last `unacknowledged` bytes have not arrived.
    fn partial_behind(&self, unacknowledged: u32) -> Option<u64> {
        self.large.within((self.sent as u32).wrapping_sub(unacknowledged))
    }

    /// Returns whether everything is written and flushed.
    pub(crate) fn is_flushed(&self) -> bool {
        !self.unflushed && self.is_written()
    }

    /// Writes; ready when everything is written and flushed.
    pub(crate) fn poll_write<S: AsyncWrite + Unpin>(
        &mut self,
        io: &mut S,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.is_written() {
            let written = ready!(self.poll_pieces(io, cx))?;
            if written == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.unflushed = true;
            self.sent += written as u64;
            self.advance(written);
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Returns whether the connection has accepted everything.
    pub(crate) fn is_written(&self) -> bool {
        self.head.is_empty() && self.control.is_empty() && self.next == self.frames.len()
    }

    fn poll_pieces<S: AsyncWrite + Unpin>(&mut self, io: &mut S, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        // The common case: one message to an idle connection.
        if self.head.is_empty()
            && self.control.is_empty()
            && let [frame] = &self.frames[self.next..]
        {
            return Pin::new(io).poll_write(cx, frame.bytes());
        }
        let joins = !io.is_write_vectored();
        if joins {
            self.join();
        }
        let mut pieces = [IoSlice::new(&[]); MAX_PIECES];
        let waiting = self.frames[self.next..].iter().map(|frame| &frame.bytes()[..]);
        let all = [&self.head[..], &self.control[..]].into_iter().chain(waiting).filter(|piece| !piece.is_empty());
        let mut count = 0;
        for (slot, piece) in pieces.iter_mut().zip(all) {
            *slot = IoSlice::new(piece);
            count += 1;
        }
        match &pieces[..count] {
            [piece, ..] if joins => Pin::new(io).poll_write(cx, piece),
            [piece] => Pin::new(io).poll_write(cx, piece),
            pieces => Pin::new(io).poll_write_vectored(cx, pieces),
        }
    }

    /// Joins everything into one piece, for streams that would send many pieces one by one (TLS).
    fn join(&mut self) {
        let frames = self.frames.len() - self.next;
        if frames + usize::from(!self.head.is_empty()) + usize::from(!self.control.is_empty()) < 2 {
            return;
        }
        let waiting: usize = self.frames[self.next..].iter().map(|frame| frame.bytes().len()).sum();
        if self.head.len() + self.control.len() + waiting > MAX_JOINED {
            return;
        }
        self.in_head += frames as u64;
        let mut whole = self.head.to_vec();
        whole.append(&mut self.control);
        for frame in &self.frames[self.next..] {
            whole.extend_from_slice(frame.bytes());
        }
        self.head = whole.into();
        self.clear();
    }

    fn advance(&mut self, mut written: usize) {
        if !self.head.is_empty() {
            let of_head = written.min(self.head.len());
            self.head = self.head.split_off(of_head);
            written -= of_head;
            if !self.head.is_empty() {
                return;
            }
            self.whole += std::mem::take(&mut self.in_head);
        }
        // A piece that was written in part becomes the head.
        if written < self.control.len() {
            if written > 0 {
                self.head = Bytes::from(std::mem::take(&mut self.control)).split_off(written);
            }
            return;
        }
        if !self.control.is_empty() {
            written -= self.control.len();
            self.control = Vec::new();
        }
        for frame in &self.frames[self.next..] {
            let size = frame.bytes().len();
            if written > 0 {
                let begin = self.sent - written as u64;
                self.large.push(self.whole, begin as u32, (begin + size as u64) as u32);
            }
            if written < size {
                if written > 0 {
                    self.head = frame.bytes().slice(written..);
                    self.in_head = 1;
                    self.next += 1;
                }
                return;
            }
            written -= size;
            self.next += 1;
            self.whole += 1;
        }
        self.clear();
    }

    /// Drops the messages, now that all are sent or in the head.
    fn clear(&mut self) {
        self.frames.clear();
        self.next = 0;
        if self.frames.capacity() > IDLE_FRAMES {
            self.frames = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// A stream that accepts `allowed` bytes, then blocks.
    struct Pipe {
        taken: Vec<u8>,
        allowed: usize,
        vectored: bool,
        writes: usize,
    }

    impl AsyncWrite for Pipe {
        fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            self.as_mut().poll_write_vectored(cx, &[IoSlice::new(buf)])
        }

        fn poll_write_vectored(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
            bufs: &[IoSlice<'_>],
        ) -> Poll<io::Result<usize>> {
            let all: Vec<u8> = bufs.iter().flat_map(|buf| buf.iter().copied()).collect();
            let length = all.len().min(self.allowed);
            if length == 0 {
                return Poll::Pending;
            }
            self.writes += 1;
            self.allowed -= length;
            self.taken.extend_from_slice(&all[..length]);
            Poll::Ready(Ok(length))
        }

        fn is_write_vectored(&self) -> bool {
            self.vectored
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn texts(names: &[&str]) -> Vec<WsFrame> {
        names.iter().map(|name| WsFrame::raw_text(name)).collect()
    }

    #[test]
    fn waiting_frames_are_sent_in_one_write() {
        for vectored in [true, false] {
            let mut pipe = Pipe { taken: Vec::new(), allowed: usize::MAX, vectored, writes: 0 };
            let mut writer = Writer::default();
            writer.frames().extend(texts(&["a", "b", "c"]));
            writer.control().extend_from_slice(b"\x89\0");
            let mut cx = Context::from_waker(Waker::noop());
            assert!(writer.poll_write(&mut pipe, &mut cx).is_ready());
            assert_eq!(pipe.taken, b"\x89\0\x81\x01a\x81\x01b\x81\x01c");
            assert_eq!((pipe.writes, writer.sent()), (1, 11));
        }
    }

    #[test]
    fn more_pieces_than_fit_one_write_stay_in_order() {
        let mut pipe = Pipe { taken: Vec::new(), allowed: usize::MAX, vectored: true, writes: 0 };
        let mut writer = Writer::default();
        let expected: Vec<u8> = (0..200u8).flat_map(|i| [0x82, 1, i]).collect();
        writer.frames().extend((0..200u8).map(|i| WsFrame::raw_binary(&[i])));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(writer.poll_write(&mut pipe, &mut cx).is_ready());
        assert_eq!(pipe.taken, expected);
        assert_eq!(pipe.writes, 4);
    }

    #[test]
    fn control_frames_come_between_messages_after_partial_writes() {
        let messages = texts(&["first", "second", "third"]);
        let whole: usize = messages.iter().map(|frame| frame.bytes().len()).sum();
        for length in 0..=whole {
            for vectored in [true, false] {
                let mut pipe = Pipe { taken: Vec::new(), allowed: length, vectored, writes: 0 };
                let mut writer = Writer::default();
                writer.frames().extend(messages.iter().cloned());
                let mut cx = Context::from_waker(Waker::noop());
                let before = writer.poll_write(&mut pipe, &mut cx);
                assert_eq!(before.is_ready(), length == whole);
                let ends = messages.iter().scan(0, |end, frame| {
                    *end += frame.bytes().len();
                    Some(*end)
                });
                let out = ends.clone().filter(|end| *end <= length).count() as u64;
                let begun = length > 0 && ends.clone().all(|end| end != length);
                // Joined messages are sent together.
                let expected = if vectored || length == whole { (out, begun) } else { (0, true) };
                assert_eq!((writer.whole, writer.in_head > 0), expected, "{length} bytes, {vectored}");
                writer.control().extend_from_slice(b"\x89\0");
                while writer.poll_write(&mut pipe, &mut cx).is_pending() {
                    pipe.allowed = 1;
                }
                let mut rest = &pipe.taken[..];
                let mut seen = Vec::new();
                while let [kind, length, ..] = rest {
                    let (frame, after) = rest.split_at(2 + *length as usize);
                    seen.push((*kind, String::from_utf8(frame[2..].to_vec()).unwrap()));
                    rest = after;
                }
                let data: Vec<_> = seen.iter().filter(|(kind, _)| *kind == 0x81).map(|(_, text)| &text[..]).collect();
                assert_eq!(data, ["first", "second", "third"], "{length} bytes");
                assert_eq!(seen.len(), 4, "{length} bytes");
            }
        }
    }

    #[test]
    fn large_messages_are_not_joined() {
        let large = "x".repeat(MAX_JOINED);
        let mut pipe = Pipe { taken: Vec::new(), allowed: 100, vectored: false, writes: 0 };
        let mut writer = Writer::default();
        writer.frames().extend(texts(&["first", &large, "third"]));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(writer.poll_write(&mut pipe, &mut cx).is_pending());
        assert_eq!((writer.whole, writer.in_head > 0, writer.partial(None)), (1, true, Some(1)));
        // Of the accepted bytes, the peer has received none of the large message, or one.
        assert_eq!((writer.partial_behind(100 - 7), writer.partial_behind(100 - 7 - 1)), (None, Some(1)));
        pipe.allowed = usize::MAX;
        assert!(writer.poll_write(&mut pipe, &mut cx).is_ready());
        assert_eq!((writer.whole, pipe.taken.ends_with(b"x\x81\x05third")), (3, true));
        assert_eq!(
            [0, 7, 8, large.len() as u32 + 7 + 9, large.len() as u32 + 7 + 10].map(|left| writer.partial_behind(left)),
            [None, None, Some(1), Some(1), None]
        );
    }

    #[test]
    fn discard_keeps_the_rest_of_a_partial_message() {
        let mut pipe = Pipe { taken: Vec::new(), allowed: 3, vectored: true, writes: 0 };
        let mut writer = Writer::default();
        writer.frames().extend(texts(&["first", "second"]));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(writer.poll_write(&mut pipe, &mut cx).is_pending());
        writer.discard();
        writer.control().extend_from_slice(b"\x88\0");
        pipe.allowed = 100;
        assert!(writer.poll_write(&mut pipe, &mut cx).is_ready());
        assert_eq!(pipe.taken, b"\x81\x05first\x88\0");
    }
}
