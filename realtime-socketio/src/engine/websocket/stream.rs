use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::engine::opening::HandshakeData;
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

/// Stream under one websocket: reports when the channel is drained, pauses reading, sends
/// engineioxide a close frame on behalf of the client when the session is closed, puts the code
/// into the last close frame, and fails when a write stalls.
///
/// engineioxide's writer flushes only after it has found its channel empty, so that a finished
/// flush means that the channel was drained. It ignores write errors and waits for a blocked write
/// without limit, so a stalled write ends the reading half too.
pub(crate) struct SessionStream<S> {
    io: S,
    session: Arc<EngineSession>,
    limits: Limits,
    reader: FrameReader,
    /// Frames that engineioxide has read.
    scan: FrameScan,
    writer: FrameWriter,
    /// Set once engineioxide has read the close frame.
    sent_close: bool,
    stall: Stall,
    /// Set once the stream has failed.
    failed: bool,
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
            failed: false,
        }
    }

    /// Creates the stream of a websocket that opens a session.
    pub(crate) fn for_new_session(
        io: S,
        session: Arc<EngineSession>,
        limits: Limits,
        handshake: HandshakeData,
    ) -> Self {
        let mut stream = Self::new(io, session, limits);
        stream.writer = FrameWriter::for_new_session(handshake);
        stream.reader = FrameReader::for_new_session(limits.max_message);
        stream
    }

    /// Reads the close of the session: a close frame between two frames, otherwise EOF.
    fn read_close(&mut self, buf: &mut ReadBuf<'_>) {
        if !self.failed && !self.sent_close && self.scan.at_boundary() && buf.remaining() >= CLIENT_CLOSE.len() {
            self.sent_close = true;
            buf.put_slice(&CLIENT_CLOSE);
        }
    }

    /// Returns the fault for which engineioxide closes the websocket, if it does so for one. If
    /// neither side has closed the websocket, a frame or a packet could not be read, which
    /// engineioxide does not report.
    fn fault(scan: &FrameScan, session: &EngineSession) -> Option<Cause> {
        let is_explained = scan.has_closed() || session.is_closing() || session.is_transport_lost();
        session.cause().or((!is_explained).then_some(Cause::Malformed))
    }

    /// Continues to wait with a pending write, or fails the write once it has waited for too long.
    fn poll_stall<T>(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<T>> {
        ready!(self.stall.poll(&self.session, cx));
        self.fail();
        Poll::Ready(Err(timed_out()))
    }

    fn fail(&mut self) {
        self.failed = true;
        self.stall.disarm();
        self.session.close();
    }

    /// Notes the result of a write, a flush or a shutdown.
    fn finish_io<T>(&mut self, result: io::Result<T>) -> Poll<io::Result<T>> {
        let waited = self.stall.disarm();
        match &result {
            Ok(_) => {
                self.session.credit.note_read();
                if waited {
                    // A client that reads more than the buffers hold is alive.
                    self.session.note_alive();
                }
            }
            Err(error) => {
                // The listener's own write stall expired first; the system's time-outs have an OS
                // error code.
                let stalled = error.kind() == io::ErrorKind::TimedOut && error.raw_os_error().is_none();
                self.session.set_transport_lost();
                if stalled && !self.session.is_closing() {
                    self.session.close_for(Cause::WriteStall);
                }
                self.fail();
            }
        }
        Poll::Ready(result)
    }
}

impl<S: AsyncWrite + Unpin> SessionStream<S> {
    /// Writes pings that are due before a write or a flush. Fails once the stream has failed.
    fn poll_ping(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed {
            return Poll::Ready(Err(timed_out()));
        }
        match self.writer.poll_ping(&mut self.io, &self.session, cx) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(error)) => self.finish_io(Err(error)),
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
        // A pending write writes the pings by itself.
        if !this.stall.is_armed()
            && let Poll::Ready(Err(error)) = this.writer.poll_idle_ping(&mut this.io, &this.session, cx)
        {
            let _failed = self.finish_io::<()>(Err(error));
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
                this.session.set_transport_lost();
            }
            return Poll::Ready(read);
        }
        let message = self.scan.feed(&buf.filled()[before..]);
        if message >= frame_rewriter::min_refused_payload(self.limits.max_message as u64) {
            // Only the rewriter creates such a header; tungstenite rejects the message when it
            // reads it.
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
            Poll::Ready(Written::Discarded(bytes)) => Poll::Ready(Ok(bytes)),
            Poll::Ready(Written::Sent(result)) => self.finish_io(result),
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
                    self.session.measured.written();
                }
                self.finish_io(result)
            }
            Poll::Pending => self.poll_stall(cx),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.failed {
            return Poll::Ready(Err(timed_out()));
        }
        match Pin::new(&mut self.io).poll_shutdown(cx) {
            Poll::Ready(result) => self.finish_io(result),
            Poll::Pending => self.poll_stall(cx),
        }
    }
}

impl<S> Drop for SessionStream<S> {
    /// Closes the session, even one that engineioxide has not switched to this websocket, which it
    /// would keep permanently.
    fn drop(&mut self) {
        self.session.close();
    }
}

fn timed_out() -> io::Error {
    io::ErrorKind::TimedOut.into()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::engine::websocket::writer::BARE_CLOSE;
    use std::time::Duration;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
    use tokio::time::Instant;

    const LIMITS: Limits =
        Limits { max_message: 10, write_stall: Duration::from_secs(30), probe: Duration::from_secs(10) };

    /// Creates a stream that buffers 16 bytes before its writes wait.
    fn stream() -> (SessionStream<DuplexStream>, Arc<EngineSession>, DuplexStream) {
        stream_of(16)
    }

    fn stream_of(buffer: usize) -> (SessionStream<DuplexStream>, Arc<EngineSession>, DuplexStream) {
        let (io, peer) = duplex(buffer);
        let session = Arc::new(EngineSession::default());
        (SessionStream::new(io, Arc::clone(&session), LIMITS), session, peer)
    }

    #[tokio::test]
    async fn flush_marks_the_channel_as_drained() {
        let (mut stream, session, _peer) = stream();
        session.credit.spend(5);
        stream.write_all(b"12345").await.unwrap();
        assert!(!session.credit.is_idle());
        stream.flush().await.unwrap();
        assert!(session.credit.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn stalled_write_ends_the_reading_half_too() {
        let (stream, session, _peer) = stream();
        let (mut reader, mut writer) = split(stream);
        let start = Instant::now();
        let read = tokio::spawn(async move { reader.read(&mut [0; 64]).await });
        assert!(writer.write_all(&[0; 17]).await.is_err());
        assert_eq!(start.elapsed().as_secs(), 30);
        assert_eq!(session.cause(), Some(Cause::WriteStall));
        assert_eq!(read.await.unwrap().unwrap(), 0);
        assert!(writer.write_all(b"1").await.is_err(), "failed permanently");
    }

    #[tokio::test(start_paused = true)]
    async fn pending_write_of_closing_session_fails_after_a_second() {
        let (mut stream, session, _peer) = stream();
        let start = Instant::now();
        let write = tokio::spawn(async move { stream.write_all(&[0; 17]).await });
        tokio::time::sleep(Duration::from_secs(5)).await;
        session.close();
        assert!(write.await.unwrap().is_err());
        assert_eq!(start.elapsed().as_secs(), 6);
        assert_eq!(session.cause(), None);
    }

    #[tokio::test]
    async fn close_is_read_as_client_close_frame_between_frames() {
        // A binary frame: the start of a text is held back until its type is known.
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
    async fn oversized_message_is_closed_with_1009() {
        let (mut stream, session, mut peer) = stream();
        peer.write_all(&[0x82, 0x80 | 11, 0, 0, 0, 0]).await.unwrap();
        // The header of a frame that tungstenite rejects.
        assert_eq!(stream.read(&mut [0; 64]).await.unwrap(), 8);
        assert_eq!(session.cause(), Some(Cause::TooLarge));
        let last = Cause::TooLarge.last_frames();
        let mut got = vec![0; last.len()];
        let (written, read) = tokio::join!(stream.write_all(&BARE_CLOSE), peer.read_exact(&mut got));
        written.and(read).unwrap();
        assert_eq!(got, last);
    }

    /// Returns the bytes that the client gets of these writes, with a buffer of this size.
    async fn sent(writes: &[&[u8]], buffer: usize) -> Vec<u8> {
        sent_by(&Arc::new(EngineSession::default()), writes, buffer).await
    }

    /// Returns the bytes that the client of this session gets of these writes, with a buffer of
    /// this size.
    pub(crate) async fn sent_by(session: &Arc<EngineSession>, writes: &[&[u8]], buffer: usize) -> Vec<u8> {
        let (io, mut peer) = duplex(buffer);
        let mut stream = SessionStream::new(io, Arc::clone(session), LIMITS);
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
    async fn payload_that_looks_like_close_frame_is_unchanged() {
        let mut frame = vec![0x82, 16];
        frame.extend([7; 14]);
        frame.extend(BARE_CLOSE);
        for buffer in 1..=frame.len() {
            assert_eq!(sent(&[&frame], buffer).await, frame, "{buffer}");
            assert_eq!(sent(&[&frame[..16], &frame[16..]], buffer).await, frame, "{buffer}");
        }
    }

    #[tokio::test]
    async fn bare_close_frame_gets_code_at_any_split_of_writes() {
        let frames = [&[0x82, 2][..], &BARE_CLOSE, &[0x01, 1, b'1'], &[0x80, 0]].concat();
        let whole = [&frames[..], &BARE_CLOSE].concat();
        for buffer in 1..=whole.len() + 2 {
            for writes in [&[&whole[..]][..], &[&frames, &BARE_CLOSE]] {
                assert_eq!(
                    sent(writes, buffer).await,
                    [&frames[..], Cause::Malformed.last_frames()].concat(),
                    "{buffer}"
                );
            }
        }
    }

    #[tokio::test]
    async fn close_packet_is_dropped_but_not_similar_frames() {
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
        for buffer in 1..12 {
            for (frames, left) in &cases {
                let expected = [&left[..], Cause::Malformed.last_frames()].concat();
                assert_eq!(sent(&[frames, &BARE_CLOSE], buffer).await, expected, "{buffer}");
                assert_eq!(sent(&[&[&frames[..], &BARE_CLOSE].concat()], buffer).await, expected, "{buffer}");
            }
        }
    }

    #[tokio::test]
    async fn websocket_is_not_read_while_paused() {
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
    async fn websocket_yields_to_other_tasks_during_a_burst() {
        use futures_util::FutureExt;
        let burst = [&[0x81, 0x80 | 7, 0, 0, 0, 0][..], b"42[\"a\"]"].concat().repeat(100);
        let (mut stream, session, mut peer) = stream_of(burst.len());
        session.answer_main(true);
        peer.write_all(&burst).await.unwrap();
        // The packets of one read are admitted together; the next read waits.
        let mut buffer = vec![0; burst.len() / 10];
        let (mut got, mut yields) = (0, 0);
        while got < burst.len() && yields < 100 {
            match stream.read(&mut buffer).now_or_never() {
                Some(read) => got += read.unwrap(),
                None => yields += 1,
            }
        }
        assert!(got == burst.len() && (1..10).contains(&yields), "{got} bytes in {yields} yields");
    }

    #[tokio::test]
    async fn session_closes_when_its_stream_is_dropped() {
        let (stream, session, _peer) = stream();
        drop(stream);
        assert!(session.is_closing());
    }
}
