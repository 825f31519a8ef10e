use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::engine::opening::Greeting;
use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::engine::settings::Limits;
use crate::engine::websocket::reader::FrameReader;
use crate::engine::websocket::stall::Stall;
use crate::engine::websocket::writer::{FrameWriter, Written};
use crate::packet::frame_rewriter;
use crate::packet::frame_scan::FrameScan;

/// Close frame as a client sends it: masked, without a code (RFC 6455 §5.5.1).
const CLIENT_CLOSE: [u8; 6] = [0x88, 0x80, 0, 0, 0, 0];

/// Stream under one websocket: reports when the channel is drained, pauses reading, sends engineioxide a close frame on behalf of
/// the client when the session is to end, puts the code into the last close frame, and fails when a write stalls.
///
/// engineioxide's writer flushes only after it has found its channel empty, so that a finished flush means that the channel was
/// drained. It ignores write errors and waits for a blocked write without limit: so a stalled write ends the reading side too.
pub(crate) struct SessionStream<S> {
    io: S,
    session: Arc<EngineSession>,
    limits: Limits,
    reader: FrameReader,
    /// Frames that engineioxide has read.
    scan: FrameScan,
    writer: FrameWriter,
    sent_close: bool,
    stall: Stall,
    dead: bool,
}

impl<S> SessionStream<S> {
    pub(crate) fn new(io: S, session: Arc<EngineSession>, limits: Limits) -> Self {
        Self {
            io,
            session,
            limits,
            reader: FrameReader::new(limits.max_message),
            scan: FrameScan::default(),
            writer: FrameWriter::default(),
            sent_close: false,
            stall: Stall::new(limits.write_stall),
            dead: false,
        }
    }

    /// Creates the stream of a websocket that opens a session.
    pub(crate) fn of_new_session(io: S, session: Arc<EngineSession>, limits: Limits, greeting: Greeting) -> Self {
        let mut stream = Self::new(io, session, limits);
        stream.writer = FrameWriter::of_new_session(greeting);
        stream.reader = FrameReader::of_new_session(limits.max_message);
        stream
    }

    /// Reads the end of the session: a close frame between two frames, else the end of the stream.
    fn read_close(&mut self, buf: &mut ReadBuf<'_>) {
        if !self.dead && !self.sent_close && self.scan.at_boundary() && buf.remaining() >= CLIENT_CLOSE.len() {
            self.sent_close = true;
            buf.put_slice(&CLIENT_CLOSE);
        }
    }

    /// Returns why engineioxide closes the websocket, if for a fault. If no side has closed it, a frame or a packet could not be read,
    /// which engineioxide does not report.
    fn fault(scan: &FrameScan, session: &EngineSession) -> Option<Cause> {
        let said = scan.has_closed() || session.is_closing() || session.is_lost();
        session.cause().or((!said).then_some(Cause::Malformed))
    }

    /// Waits on with a pending write, or fails it once it has waited for too long.
    fn poll_stall<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.stall.poll(&self.session, cx));
        self.die();
        Poll::Ready(Err(dead()))
    }

    fn die(&mut self) {
        self.dead = true;
        self.stall.disarm();
        self.session.close();
    }

    fn settle<T>(&mut self, result: io::Result<T>) -> Poll<io::Result<T>> {
        let waited = self.stall.disarm();
        match &result {
            Ok(_) => {
                self.session.credit.step();
                if waited {
                    // A client that takes more than the buffers hold is alive.
                    self.session.note_alive();
                }
            }
            Err(error) => {
                // A guard below this one was quicker; the system's own time-outs have a number.
                let stalled = error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none();
                self.session.note_lost();
                if stalled && !self.session.is_closing() {
                    self.session.close_for(Cause::WriteStall);
                }
                self.die();
            }
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> SessionStream<S> {
    /// Writes pings that are due before a write or a flush. Fails once the stream has failed.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dead {
            return Poll::Ready(Err(dead()));
        }
        match self.writer.poll_ping(&mut self.io, &self.session, cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => self.settle(Err(error)),
            Poll::Pending => self.poll_stall(cx),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for SessionStream<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let open = self.session.poll_stream_open(cx);
        if open == Poll::Ready(true) {
            self.read_close(buf);
            return Poll::Ready(Ok(()));
        }
        let this = &mut *self;
        // A pending write does it by itself.
        if !this.stall.is_armed()
            && let Poll::Ready(Err(error)) = this.writer.poll_idle_ping(&mut this.io, &this.session, cx)
        {
            let _dead = self.settle::<()>(Err(error));
            return Poll::Ready(Ok(()));
        }
        ready!(open);
        let before = buf.filled().len();
        let read = this.reader.poll_read(&mut this.io, &this.session, cx, buf);
        this.session.set_blocked(this.reader.is_blocked());
        let read = ready!(read);
        if read.is_err() || buf.filled().len() == before {
            if this.session.cause() == Some(Cause::Flood) {
                this.read_close(buf);
            } else {
                this.session.note_lost();
            }
            return Poll::Ready(read);
        }
        let message = self.scan.feed(&buf.filled()[before..]);
        if message >= frame_rewriter::refused_by(self.limits.max_message as u64) {
            // The rewriter has made it so large; tungstenite refuses the message when it reads this frame's header.
            self.session.close_for(Cause::TooLarge);
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for SessionStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_ping(cx))?;
        let Self { writer, io, session, scan, .. } = &mut *self;
        match writer.poll_write(io, session, cx, buf, || Self::fault(scan, session)) {
            Poll::Ready(Written::Kept(bytes)) => Poll::Ready(Ok(bytes)),
            Poll::Ready(Written::Wire(result)) => self.settle(result),
            Poll::Pending => self.poll_stall(cx),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ping(cx))?;
        match Pin::new(&mut self.io).poll_flush(cx) {
            Poll::Ready(result) => {
                if result.is_ok() {
                    self.writer.flushed();
                    self.session.credit.drained();
                }
                self.settle(result)
            }
            Poll::Pending => self.poll_stall(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.dead {
            return Poll::Ready(Err(dead()));
        }
        match Pin::new(&mut self.io).poll_shutdown(cx) {
            Poll::Ready(result) => self.settle(result),
            Poll::Pending => self.poll_stall(cx),
        }
    }
}

impl<S> Drop for SessionStream<S> {
    /// Ends the session, even one that engineioxide has not switched to this websocket, which it would keep for ever.
    fn drop(&mut self) {
        self.session.close();
    }
}

fn dead() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::websocket::writer::BARE_CLOSE;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
    use tokio::time::Instant;

    const LIMITS: Limits =
        Limits { max_message: 10, write_stall: Duration::from_secs(30), probe: Duration::from_secs(10) };

    /// A stream that takes 16 bytes before its writes wait.
    fn stream() -> (SessionStream<DuplexStream>, Arc<EngineSession>, DuplexStream) {
        stream_of(16)
    }

    fn stream_of(room: usize) -> (SessionStream<DuplexStream>, Arc<EngineSession>, DuplexStream) {
        let (io, peer) = duplex(room);
        let session = Arc::new(EngineSession::default());
        (SessionStream::new(io, Arc::clone(&session), LIMITS), session, peer)
    }

    #[tokio::test]
    async fn a_flush_says_that_all_has_left_the_channel() {
        let (mut stream, session, _peer) = stream();
        session.credit.spend(5);
        stream.write_all(b"12345").await.unwrap();
        assert!(!session.credit.is_idle());
        stream.flush().await.unwrap();
        assert!(session.credit.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn a_stalled_write_ends_the_reader_too() {
        let (stream, session, _peer) = stream();
        let (mut reader, mut writer) = split(stream);
        let begun = Instant::now();
        let read = tokio::spawn(async move { reader.read(&mut [0; 64]).await });
        assert!(writer.write_all(&[0; 17]).await.is_err());
        assert_eq!(begun.elapsed().as_secs(), 30);
        assert_eq!(session.cause(), Some(Cause::WriteStall));
        assert_eq!(read.await.unwrap().unwrap(), 0);
        assert!(writer.write_all(b"1").await.is_err(), "dead for good");
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_that_ends_does_not_wait_long() {
        let (mut stream, session, _peer) = stream();
        let begun = Instant::now();
        let write = tokio::spawn(async move { stream.write_all(&[0; 17]).await });
        tokio::time::sleep(Duration::from_secs(5)).await;
        session.close();
        assert!(write.await.unwrap().is_err());
        assert_eq!(begun.elapsed().as_secs(), 6);
        assert_eq!(session.cause(), None);
    }

    #[tokio::test]
    async fn a_close_reads_as_the_clients_goodbye_between_frames_only() {
        // Binary: the begin of a text is held back until it tells what it is.
        let frame = [0x82, 0x81, 0, 0, 0, 0, b'2'];
        for (sent, closes) in [(&frame[..], true), (&frame[..6], false)] {
            let (mut stream, session, mut peer) = stream();
            peer.write_all(sent).await.unwrap();
            let mut buffer = [0; 64];
            assert_eq!(stream.read(&mut buffer).await.unwrap(), sent.len());
            session.close();
            let read = stream.read(&mut buffer).await.unwrap();
            assert_eq!(&buffer[..read], if closes { &CLIENT_CLOSE[..] } else { &[] });
            assert_eq!(stream.read(&mut buffer).await.unwrap(), 0);
        }
    }

    #[tokio::test]
    async fn a_message_too_large_is_told_by_its_code() {
        let (mut stream, session, mut peer) = stream();
        peer.write_all(&[0x82, 0x80 | 11, 0, 0, 0, 0]).await.unwrap();
        // The header of a frame that tungstenite refuses.
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 8);
        assert_eq!(session.cause(), Some(Cause::TooLarge));
        let told = Cause::TooLarge.last_frames();
        let mut got = vec![0; told.len()];
        let (written, read) = tokio::join!(stream.write_all(&BARE_CLOSE), peer.read_exact(&mut got));
        written.and(read).unwrap();
        assert_eq!(got, told);
    }

    /// What the client gets of these writes when the wire takes so many bytes at a time.
    async fn sent(writes: &[&[u8]], room: usize) -> Vec<u8> {
        let (mut stream, _session, mut peer) = stream_of(room);
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

    const CLOSE_PACKET: [u8; 3] = [0x81, 1, b'1'];

    #[tokio::test]
    async fn a_payload_that_looks_like_a_close_frame_is_left_as_it_is() {
        let mut frame = vec![0x82, 16];
        frame.extend([7; 14]);
        frame.extend(BARE_CLOSE);
        for room in 1..=frame.len() {
            assert_eq!(sent(&[&frame], room).await, frame, "{room}");
            assert_eq!(sent(&[&frame[..16], &frame[16..]], room).await, frame, "{room}");
        }
    }

    #[tokio::test]
    async fn a_bare_close_frame_gets_its_code_wherever_writes_are_cut() {
        let frames = [&[0x82, 2][..], &BARE_CLOSE, &[0x01, 1, b'1'], &[0x80, 0]].concat();
        let whole = [&frames[..], &BARE_CLOSE].concat();
        for room in 1..=whole.len() + 2 {
            for writes in [&[&whole[..]][..], &[&frames, &BARE_CLOSE]] {
                assert_eq!(sent(writes, room).await, [&frames[..], Cause::Malformed.last_frames()].concat(), "{room}");
            }
        }
    }

    #[tokio::test]
    async fn the_close_packet_is_kept_off_the_wire_and_nothing_that_looks_like_it() {
        let long = [&[0x82, 3][..], &CLOSE_PACKET].concat();
        let two = [0x81, 2, b'4', b'1'];
        let other = [0x81, 1, b'6'];
        let cases = [
            (CLOSE_PACKET.to_vec(), vec![]),
            (long.clone(), long.clone()),
            (two.to_vec(), two.to_vec()),
            ([&CLOSE_PACKET[..], &other].concat(), other.to_vec()),
            ([&other[..], &CLOSE_PACKET].concat(), other.to_vec()),
            ([&long[..], &CLOSE_PACKET, &two].concat(), [&long[..], &two].concat()),
        ];
        for room in 1..12 {
            for (frames, left) in &cases {
                let expected = [&left[..], Cause::Malformed.last_frames()].concat();
                assert_eq!(sent(&[frames, &BARE_CLOSE], room).await, expected, "{room}");
                assert_eq!(sent(&[&[&frames[..], &BARE_CLOSE].concat()], room).await, expected, "{room}");
            }
        }
    }

    #[tokio::test]
    async fn nothing_is_read_while_paused() {
        let (mut stream, session, mut peer) = stream();
        session.pause();
        peer.write_all(&[0x82, 0x80, 0, 0, 0, 0]).await.unwrap();
        let mut buffer = [0; 6];
        {
            use futures_util::FutureExt;
            assert!(stream.read(&mut buffer).now_or_never().is_none());
        }
        session.resume();
        assert_eq!(stream.read(&mut buffer).await.unwrap(), 6);
    }

    #[tokio::test]
    async fn others_have_their_turn_while_a_burst_is_read() {
        use futures_util::FutureExt;
        let burst = [&[0x81, 0x80 | 7, 0, 0, 0, 0][..], b"42[\"a\"]"].concat().repeat(100);
        let (mut stream, session, mut peer) = stream_of(burst.len());
        session.answer_main(true);
        peer.write_all(&burst).await.unwrap();
        // What comes with one read is looked at together; the next read waits.
        let mut buffer = vec![0; burst.len() / 10];
        let (mut got, mut turns) = (0, 0);
        while got < burst.len() && turns < 100 {
            match stream.read(&mut buffer).now_or_never() {
                Some(read) => got += read.unwrap(),
                None => turns += 1,
            }
        }
        assert!(got == burst.len() && (1..10).contains(&turns), "{got} bytes in {turns} turns");
    }

    #[tokio::test]
    async fn the_session_ends_with_its_stream() {
        let (stream, session, _peer) = stream();
        drop(stream);
        assert!(session.is_closing());
    }
}
