//! Connections of an earlier epoch: they are closed, and get no events of the new one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{CoreProvider, FaultyBackplane, LineCodec, eventually, foreign, note, parse, runtime};
use futures_util::future::join_all;
use realtime_core::spi::{Backplane, Cursor, Position, Registration, Take};
use realtime_core::{Drain, MemoryBackplane, OutboxConfig, RealtimeBroadcast, WindowConfig};
use realtime_testkit::conformance::{Received, Setup, Visitor};

/// Starts a node with a window of `records` records and outboxes of two frames, so that a client
/// that does not read falls behind immediately.
async fn started(records: usize) -> (FaultyBackplane, CoreProvider) {
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    let window = WindowConfig::default().with_records(records);
    let provider = CoreProvider::attached(
        Setup::default().with_window(window).with_outbox(OutboxConfig::default().with_frames(2)),
        runtime().with_backplane(backplane.clone()),
    )
    .await;
    (backplane, provider)
}

/// Takes all queued frames, up to the close if there is one.
fn take_all(registration: &Registration<LineCodec>) -> (Vec<Received>, Take) {
    let mut frames = Vec::new();
    loop {
        let take = registration.try_take(usize::MAX, &mut frames);
        if matches!(take, Take::Closed(_) | Take::Empty) {
            return (frames.iter().map(parse).collect(), take);
        }
    }
}

async fn send(provider: &CoreProvider, count: usize) {
    join_all((0..count).map(|n| provider.dispatcher.to_all(note(&n.to_string())))).await;
}

#[tokio::test(start_paused = true)]
async fn reader_behind_gets_nothing_of_new_epoch() {
    // Also for a connection that is already closing, which may read the rest of its own epoch.
    for drains in [false, true] {
        let (backplane, provider) = started(5).await;
        let ann = provider.register(Visitor::user("ann")).await;
        let cursor = take_all(&ann).0[0].cursor.clone().unwrap();
        send(&provider, 20).await;
        let old = provider.epoch();
        if drains {
            tokio::spawn({
                let provider = provider.clone();
                async move {
                    provider.dispatcher.drain(Drain::over(Duration::from_millis(1)).with_hold(Duration::ZERO)).await
                }
            });
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        backplane.roll_back(Position::new(12)).await;
        eventually("the node is in the new epoch", || provider.epoch() != old).await;
        let (received, take) = take_all(&ann);
        assert!(matches!(take, Take::Closed(_)));
        let names: Vec<_> = received.iter().map(|received| &*received.name).collect();
        assert_eq!(names, ["reconnect"], "drains: {drains}; {received:?}");
        if drains {
            continue;
        }
        eventually("the node is ready again", || provider.dispatcher.is_ready()).await;
        send(&provider, 20).await;
        let reconnected = provider.register(Visitor::user("ann").with_cursor(&cursor)).await;
        assert_eq!(take_all(&reconnected).0[0].payload["reason"], "epoch");
    }
}

/// The epoch changes while connections read the window; there are more readers than processors, so
/// that most of them are in the middle of a take.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_reader_gets_nothing_of_new_epoch() {
    let (backplane, provider) = started(5_000).await;
    for _ in 0..8 {
        let readers: Vec<_> = join_all((0..8).map(|_| provider.register(Visitor::user("ann")))).await;
        send(&provider, 5_000).await;
        let next = MemoryBackplane::new(20_000);
        let epoch = next.state().await.unwrap().epoch;
        for _ in 0..11_000 {
            next.append(epoch, foreign(), None).await.unwrap();
        }
        let old = provider.epoch();
        let reading = Arc::new(AtomicUsize::new(0));
        let readers = readers.into_iter().map(|connection| {
            let reading = Arc::clone(&reading);
            tokio::task::spawn_blocking(move || {
                let mut frames = Vec::new();
                // One record at a time.
                while !matches!(connection.try_take(1, &mut frames), Take::Closed(_)) {
                    reading.fetch_add(usize::from(frames.len() == 10), Ordering::Relaxed);
                }
                frames.iter().map(parse).collect::<Vec<_>>()
            })
        });
        let readers: Vec<_> = readers.collect();
        eventually("all are reading", || reading.load(Ordering::Relaxed) >= readers.len()).await;
        backplane.exchange(next);
        // The rejected append reveals the new epoch, unless the periodic check was faster.
        let sent = provider.dispatcher.to_all(note("x")).await;
        assert!(sent.is_err() || provider.epoch() != old, "{sent:?}");
        for reader in readers {
            let received = reader.await.unwrap();
            for cursor in received.iter().filter_map(|received| received.cursor.as_deref()) {
                assert_eq!(cursor.parse::<Cursor>().unwrap().epoch(), old, "{:?}", received.last());
            }
        }
        eventually("the node is ready again", || provider.epoch() != old && provider.dispatcher.is_ready()).await;
    }
}
