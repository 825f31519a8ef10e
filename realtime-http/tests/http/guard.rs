//! The guarded stream on an in-memory pipe with a paused clock, and on TCP.

use std::{
    future::poll_fn,
    io::{self, ErrorKind, IoSlice},
    pin::{Pin, pin},
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use crate::support::{self, CountingWaker, PEER, finished};
use realtime_http::{Guard, GuardedStream, Wire, WireConfig};
#[cfg(target_os = "linux")]
use realtime_testkit::{blackhole, connect_with_small_buffer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex, split},
    net::TcpStream,
    time::{Instant, sleep, timeout},
};

const STALL: Duration = Duration::from_secs(30);
const MOMENT: Duration = Duration::from_millis(1);
/// The bytes that the pipe holds before a write waits.
const PIPE: usize = 64;

fn pipe() -> (Guard, GuardedStream<DuplexStream>, DuplexStream) {
    let guard = Guard::new(&WireConfig::default().with_write_stall(STALL));
    let (stream, far) = support::pipe(&guard, PIPE);
    (guard, stream, far)
}

#[tokio::test(start_paused = true)]
async fn stalled_write_closes_writer_and_waiting_reader() {
    let (guard, stream, mut far) = pipe();
    let wire = Arc::clone(stream.wire());
    let (mut reader, mut writer) = split(stream);
    let reading = tokio::spawn(async move {
        let error = reader.read_u8().await.unwrap_err();
        (error.kind(), Instant::now(), reader)
    });
    let start = Instant::now();

    let error = finished(writer.write_all(&[0; 2 * PIPE])).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!((STALL..STALL + 2 * MOMENT).contains(&start.elapsed()), "{:?}", start.elapsed());
    let (kind, woken, mut reader) = finished(reading).await.unwrap();
    assert_eq!(kind, ErrorKind::TimedOut);
    assert!(woken - start < STALL + 2 * MOMENT);
    assert!(wire.stalled());
    assert_eq!(guard.stalls(), 1);

    // Capacity and data arrive too late.
    far.read_exact(&mut [0; PIPE]).await.unwrap();
    far.write_all(b"late").await.unwrap();
    assert_eq!(writer.write(b"x").await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(writer.flush().await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(writer.shutdown().await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(reader.read_u8().await.unwrap_err().kind(), ErrorKind::TimedOut);
    assert_eq!(guard.stalls(), 1, "one connection counts once");
}

#[tokio::test(start_paused = true)]
async fn stall_is_noticed_without_another_poll_of_the_write() {
    let (_guard, mut stream, _far) = pipe();
    let start = Instant::now();
    poll_fn(|cx| {
        assert!(Pin::new(&mut stream).poll_write(cx, &[0; PIPE]).is_ready());
        assert!(Pin::new(&mut stream).poll_write(cx, b"x").is_pending());
        Poll::Ready(())
    })
    .await;

    let error = finished(stream.read_u8()).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() < STALL + 2 * MOMENT);
}

#[tokio::test(start_paused = true)]
async fn steady_progress_keeps_the_stream_open_until_it_stops() {
    let (guard, mut stream, mut far) = pipe();
    let start = Instant::now();
    let writing = tokio::spawn(async move {
        loop {
            if let Err(error) = stream.write_all(&[0; 100]).await {
                return (error.kind(), Instant::now());
            }
        }
    });

    // One byte at a time, just in time.
    for _ in 0..20 {
        sleep(STALL - MOMENT).await;
        far.read_u8().await.unwrap();
        assert_eq!(guard.stalls(), 0);
    }
    let last = Instant::now();

    let (kind, reset) = finished(writing).await.unwrap();
    assert_eq!(kind, ErrorKind::TimedOut);
    assert!(last - start >= 19 * STALL);
    assert!((STALL..STALL + 2 * MOMENT).contains(&(reset - last)), "{:?}", reset - last);
}

#[tokio::test(start_paused = true)]
async fn empty_flush_is_no_progress() {
    let (_guard, mut stream, _far) = pipe();
    let start = Instant::now();
    stream.write_all(&[0; PIPE]).await.unwrap();

    let error = finished(async {
        loop {
            match timeout(Duration::from_secs(1), stream.write(b"x")).await {
                Ok(written) => break written.unwrap_err(),
                Err(_) => stream.flush().await.unwrap(),
            }
        }
    })
    .await;

    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(start.elapsed() < STALL + Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn idle_stream_stays_open() {
    let (guard, mut stream, mut far) = pipe();
    stream.write_all(&[0; PIPE]).await.unwrap();

    let idle = timeout(100 * STALL, stream.read_u8()).await;

    assert!(idle.is_err(), "expected no byte");
    far.write_u8(7).await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), 7);
    assert_eq!(guard.stalls(), 0);
}

#[tokio::test(start_paused = true)]
async fn second_stall_after_a_recovered_one_is_noticed() {
    let (guard, mut stream, mut far) = pipe();
    stream.write_all(&[0; PIPE]).await.unwrap();
    assert!(timeout(STALL / 2, stream.write(b"x")).await.is_err());
    far.read_exact(&mut [0; PIPE]).await.unwrap();
    stream.write_all(&[0; PIPE]).await.unwrap();
    // The watchdog of the first stall finds progress and ends.
    sleep(3 * STALL).await;
    assert_eq!(guard.stalls(), 0);
    let start = Instant::now();

    let error = finished(stream.write(b"x")).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!((STALL..STALL + 2 * MOMENT).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn kill_wakes_both_sides() {
    let (guard, stream, _far) = pipe();
    let wire = Arc::clone(stream.wire());
    let (mut reader, mut writer) = split(stream);
    let reading = tokio::spawn(async move { reader.read_u8().await.unwrap_err().kind() });
    let writing = tokio::spawn(async move { writer.write_all(&[0; 2 * PIPE]).await.unwrap_err().kind() });
    sleep(MOMENT).await;

    wire.kill();

    assert_eq!(finished(reading).await.unwrap(), ErrorKind::ConnectionAborted);
    assert_eq!(finished(writing).await.unwrap(), ErrorKind::ConnectionAborted);
    assert!(!wire.stalled());
    assert_eq!(guard.stalls(), 0);
    assert!(wire.closed());
}

#[tokio::test(start_paused = true)]
async fn paused_reads_wait_until_resumed() {
    let (_guard, mut stream, mut far) = pipe();
    let wire = Arc::clone(stream.wire());
    wire.pause_reads(true);
    far.write_all(b"ab").await.unwrap();
    assert!(timeout(STALL, stream.read_u8()).await.is_err(), "expected no read while paused");

    let reading = tokio::spawn(async move {
        let first = stream.read_u8().await.unwrap();
        (first, stream)
    });
    sleep(MOMENT).await;
    assert!(!reading.is_finished());
    wire.pause_reads(false);
    let (first, mut stream) = finished(reading).await.unwrap();
    assert_eq!(first, b'a');

    wire.pause_reads(true);
    let reading = tokio::spawn(async move { stream.read_u8().await.unwrap_err().kind() });
    sleep(MOMENT).await;
    wire.kill();
    assert_eq!(finished(reading).await.unwrap(), ErrorKind::ConnectionAborted, "a paused reader gets the error");
}

#[tokio::test]
async fn every_flush_wakes_the_registered_waker() {
    let (_guard, mut stream, _far) = pipe();
    let wire = Arc::clone(stream.wire());
    let (count, waker) = CountingWaker::new();
    stream.flush().await.unwrap();

    wire.on_drained(waker.clone());
    assert_eq!(count.count(), 0, "earlier flushes do not count");
    stream.write_all(b"x").await.unwrap();
    assert_eq!(count.count(), 0, "a write is not a flush");
    stream.flush().await.unwrap();
    stream.flush().await.unwrap();
    assert_eq!(count.count(), 2);

    wire.on_drained(None);
    stream.flush().await.unwrap();
    assert_eq!(count.count(), 2);

    wire.on_drained(waker.clone());
    drop(stream);
    assert_eq!(count.count(), 3, "the close wakes it");
    assert_eq!(Arc::strong_count(&count), 2, "the wire has dropped the waker");
    wire.on_drained(waker);
    assert_eq!(count.count(), 4, "a late waker is woken immediately");
}

#[tokio::test(start_paused = true)]
async fn closed_wire_keeps_no_waker() {
    let (_guard, mut stream, far) = pipe();
    let wire = Arc::clone(stream.wire());
    let (count, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    let mut buffer = [0; 1];
    let mut read = tokio::io::ReadBuf::new(&mut buffer);
    assert!(Pin::new(&mut stream).poll_read(&mut cx, &mut read).is_pending());
    assert!(Pin::new(&mut stream).poll_write(&mut cx, &[0; PIPE]).is_ready());
    assert!(Pin::new(&mut stream).poll_write(&mut cx, b"x").is_pending());

    drop(stream);
    // The pipe keeps wakers of its own.
    drop(far);

    assert!(wire.closed());
    drop(waker);
    assert_eq!(Arc::strong_count(&count), 1, "a wire must not keep the memory of its finished tasks");
}

#[tokio::test]
async fn vectored_writes_pass_through() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let near = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let peer = near.peer_addr().unwrap();
    let mut stream = Guard::new(&WireConfig::default()).wrap(near, peer);
    assert!(stream.is_write_vectored());

    let written = stream.write_vectored(&[IoSlice::new(b"one "), IoSlice::new(b"write")]).await.unwrap();

    assert_eq!(written, 9);
    let mut got = [0; 9];
    far.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"one write");
    assert_eq!(stream.wire().peer(), peer);
}

/// A stream whose flush waits, as that of a buffering layer can.
struct SlowFlush(DuplexStream);

impl AsyncRead for SlowFlush {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut tokio::io::ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for SlowFlush {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Pending
    }
}

impl realtime_http::ByteStream for SlowFlush {}

#[tokio::test(start_paused = true)]
async fn stalled_flush_is_an_error() {
    let guard = Guard::new(&WireConfig::default().with_write_stall(STALL));
    let (near, _far) = duplex(PIPE);
    let mut stream = guard.wrap(SlowFlush(near), PEER);
    let start = Instant::now();

    let error = finished(stream.flush()).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!((STALL..STALL + 2 * MOMENT).contains(&start.elapsed()));
}

#[tokio::test(start_paused = true)]
async fn infinite_write_stall_never_fires() {
    let guard = Guard::new(&WireConfig::default().with_write_stall(Duration::MAX));
    let (mut stream, _far) = support::pipe(&guard, PIPE);
    let mut writing = pin!(stream.write_all(&[0; 2 * PIPE]));

    assert!(timeout(Duration::from_secs(1_000_000), writing.as_mut()).await.is_err());
    assert_eq!(guard.stalls(), 0);
}

/// The memory of each idle connection, in addition to its socket and hyper.
#[cfg(target_pointer_width = "64")]
#[test]
fn guard_is_small() {
    assert!(size_of::<Wire>() <= 136, "{}", size_of::<Wire>());
    let over = size_of::<GuardedStream<TcpStream>>() - size_of::<TcpStream>();
    assert!(over <= 48, "{over}");
}

/// Returns a guarded connection, and the peer's end of it, whose host buffers few bytes.
#[cfg(target_os = "linux")]
async fn tcp() -> (GuardedStream, TcpStream) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = connect_with_small_buffer(listener.local_addr().unwrap()).await;
    let (stream, address) = listener.accept().await.unwrap();
    (Guard::new(&WireConfig::default()).wrap(stream, address), peer)
}

/// Waits until the peer's host has acknowledged exactly this many bytes.
#[cfg(target_os = "linux")]
async fn acknowledged(wire: &Wire, bytes: u32) {
    while wire.acknowledged() != bytes {
        sleep(MOMENT).await;
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn acknowledged_bytes_are_known_after_the_stream_is_dropped() {
    for reset in [true, false] {
        let (mut stream, mut peer) = tcp().await;
        let wire = Arc::clone(stream.wire());
        stream.write_all(&[7; 100_000]).await.unwrap();
        peer.read_exact(&mut [0; 30_000]).await.unwrap();
        if reset {
            drop(peer);
            assert_eq!(finished(stream.read_u8()).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
        } else {
            wire.kill();
            assert!(stream.read_u8().await.is_err());
        }
        let before = wire.acknowledged();
        assert!((30_000..90_000).contains(&before), "{before}");
        drop(stream);
        assert_eq!((wire.written(), wire.acknowledged()), (100_000, before));
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn acknowledged_bytes_stay_after_an_unanswered_close() {
    let (mut stream, mut peer) = tcp().await;
    let wire = Arc::clone(stream.wire());
    stream.write_all(&[7; 20_000]).await.unwrap();
    peer.read_exact(&mut [0; 20_000]).await.unwrap();
    finished(acknowledged(&wire, 20_000)).await;
    blackhole(&peer);
    stream.shutdown().await.unwrap();
    assert_eq!(wire.acknowledged(), 20_000, "the FIN is no byte");
    wire.kill();
    drop(stream);
    assert_eq!(wire.acknowledged(), 20_000);
}

/// The kernel continues to send, and its progress is no longer known.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn bytes_left_at_an_orderly_close_count_as_acknowledged() {
    let (mut stream, mut peer) = tcp().await;
    let wire = Arc::clone(stream.wire());
    stream.write_all(&[7; 100_000]).await.unwrap();
    stream.shutdown().await.unwrap();
    // Before the socket is closed, and after.
    assert_eq!(wire.acknowledged(), 100_000);
    drop(stream);
    assert_eq!(wire.acknowledged(), 100_000);
    assert_eq!(finished(peer.read_to_end(&mut Vec::new())).await.unwrap(), 100_000);
}
