//! Writes that are limited to a rate, on an in-memory pipe with a paused clock.

use std::{
    future::poll_fn,
    io::{ErrorKind, IoSlice},
    num::NonZeroU32,
    pin::Pin,
    sync::Arc,
    task::Context,
    time::Duration,
};

use crate::support::{self, CountingWaker, finished};
use realtime_http::{Guard, GuardedStream, WireConfig};
use tokio::{
    io::{AsyncReadExt as _, AsyncWrite as _, AsyncWriteExt as _, DuplexStream},
    time::{Instant, advance, sleep},
};

const STALL: Duration = Duration::from_millis(500);
const SECOND: Duration = Duration::from_secs(1);
/// Timers count whole milliseconds.
const MOMENT: Duration = Duration::from_millis(2);

/// Returns a guarded stream, and the far end of its pipe, which holds `room` bytes unread.
fn pipe(room: usize) -> (Guard, GuardedStream<DuplexStream>, DuplexStream) {
    let guard = Guard::new(&WireConfig::default().with_write_stall(STALL));
    let (stream, far) = support::pipe(&guard, room);
    (guard, stream, far)
}

fn rate(bytes_per_second: u32) -> Option<NonZeroU32> {
    NonZeroU32::new(bytes_per_second)
}

#[tokio::test(start_paused = true)]
async fn bytes_pass_at_the_rate_and_in_order() {
    let (_guard, mut stream, mut far) = pipe(1 << 20);
    stream.wire().set_write_rate(rate(1000));
    let sent: Vec<u8> = (0..10_000u32).map(|n| n.to_le_bytes()[0]).collect();
    let start = Instant::now();

    finished(stream.write_all(&sent)).await.unwrap();

    // The bytes of a tenth of a second pass immediately.
    let expected = 10 * SECOND - Duration::from_millis(100);
    assert!((expected..expected + MOMENT).contains(&start.elapsed()), "{:?}", start.elapsed());
    let mut got = vec![0; sent.len()];
    far.read_exact(&mut got).await.unwrap();
    assert!(got == sent, "the bytes changed");
}

#[tokio::test(start_paused = true)]
async fn unused_rate_is_kept_for_a_tenth_of_a_second() {
    let (_guard, mut stream, _far) = pipe(1 << 20);
    stream.wire().set_write_rate(rate(1000));
    stream.write_all(&[0; 100]).await.unwrap();
    sleep(100 * SECOND).await;
    let start = Instant::now();

    stream.write_all(&[0; 100]).await.unwrap();
    assert!(start.elapsed() < MOMENT, "{:?}", start.elapsed());
    finished(stream.write_all(&[0; 1000])).await.unwrap();

    assert!((SECOND..SECOND + MOMENT).contains(&start.elapsed()), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn vectored_writes_are_limited_too() {
    let (_guard, mut stream, _far) = pipe(1 << 20);
    stream.wire().set_write_rate(rate(1000));
    let parts = [IoSlice::new(&[]), IoSlice::new(&[1; 1500]), IoSlice::new(&[2; 1500])];
    let start = Instant::now();
    let mut written = 0;

    while written < 3000 {
        written += finished(stream.write_vectored(&parts)).await.unwrap();
    }

    assert!(start.elapsed() >= 2 * SECOND, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn changed_rate_applies_to_a_waiting_write() {
    let (_guard, mut stream, mut far) = pipe(1 << 20);
    let wire = Arc::clone(stream.wire());
    wire.set_write_rate(rate(1));
    let start = Instant::now();
    let writing = tokio::spawn(async move {
        stream.write_all(&[0; 1001]).await.unwrap();
        stream
    });
    far.read_u8().await.unwrap();

    wire.set_write_rate(rate(100));
    far.read_exact(&mut [0; 500]).await.unwrap();
    let faster = start.elapsed();
    // The write may still have to wait one second for the previous rate.
    assert!((4 * SECOND..6 * SECOND + MOMENT).contains(&faster), "{faster:?}");

    wire.set_write_rate(None);
    finished(writing).await.unwrap();
    assert!(start.elapsed() < faster + MOMENT, "{:?} after {faster:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_the_rate_is_no_stall() {
    let (guard, mut stream, _far) = pipe(1 << 20);
    // Each byte waits longer than the write stall.
    stream.wire().set_write_rate(rate(1));

    finished(stream.write_all(&[0; 100])).await.unwrap();

    assert_eq!(guard.stalls(), 0);
}

#[tokio::test(start_paused = true)]
async fn peer_that_reads_nothing_still_stalls_the_write() {
    let (guard, mut stream, _far) = pipe(50);
    stream.wire().set_write_rate(rate(100));
    let start = Instant::now();

    let error = finished(stream.write_all(&[0; 1000])).await.unwrap_err();

    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert_eq!(guard.stalls(), 1);
    assert!(start.elapsed() < SECOND + STALL, "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn kill_wakes_a_write_that_waits_for_the_rate() {
    let (guard, mut stream, mut far) = pipe(1 << 20);
    let wire = Arc::clone(stream.wire());
    wire.set_write_rate(rate(1));
    let writing = tokio::spawn(async move { stream.write_all(&[0; 100]).await.unwrap_err().kind() });
    far.read_u8().await.unwrap();
    let start = Instant::now();

    wire.kill();

    assert_eq!(finished(writing).await.unwrap(), ErrorKind::ConnectionAborted);
    assert!(start.elapsed() < MOMENT, "{:?}", start.elapsed());
    assert_eq!(guard.stalls(), 0);
}

#[tokio::test(start_paused = true)]
async fn completed_write_keeps_no_waker() {
    let (_guard, mut stream, far) = pipe(1 << 20);
    stream.wire().set_write_rate(rate(100));
    let (count, waker) = CountingWaker::new();
    let mut cx = Context::from_waker(&waker);
    assert!(Pin::new(&mut stream).poll_write(&mut cx, &[0; 10]).is_ready());
    assert!(Pin::new(&mut stream).poll_write(&mut cx, &[0; 10]).is_pending());

    advance(SECOND).await;
    poll_fn(|cx| Pin::new(&mut stream).poll_write(cx, &[0; 10])).await.unwrap();

    drop(waker);
    assert!(count.count() > 0, "the timer wakes the writer");
    assert_eq!(Arc::strong_count(&count), 1, "a wire must not keep the memory of its finished tasks");
    drop(far);
}
