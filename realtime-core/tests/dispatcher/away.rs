//! Log outages: how often a node retries, and records that are missing afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{CoreProvider, FaultyBackplane, Guest, eventually, foreign, note};
use bytes::Bytes;
use futures_util::StreamExt;
use realtime_core::spi::{Backplane, Entry, Position, Record};
use realtime_core::{CloseReason, Error, EventId, MemoryBackplane, RealtimeBroadcast, Result};
use realtime_testkit::Forwarding;
use realtime_testkit::conformance::Visitor;
use tokio::time::sleep;

/// Returns a backplane that gives a node every record twice, and one that cannot be decoded at
/// `unreadable`, with the count of its checks for lost records.
fn counting(inner: FaultyBackplane, unreadable: Option<Position>) -> (impl Backplane, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let garble = move |entry: Entry| match entry.position {
        position if Some(position) == unreadable => Entry::new(entry.position, entry.id, Bytes::from_static(b"x")),
        _ => entry,
    };
    let twice = move |batch: Result<Vec<Entry>>| {
        batch.map(|entries| [entries.clone(), entries].concat().into_iter().map(garble).collect())
    };
    let backplane = Forwarding::new(inner).map_tail(move |tail| tail.map(twice).boxed()).before_renew(move |_| {
        // A node that retries without a pause would stop the paused clock.
        assert!(count.fetch_add(1, Ordering::Relaxed) < 10_000);
    });
    (backplane, asked)
}

#[tokio::test(start_paused = true)]
async fn unreachable_log_is_retried_with_backoff() {
    let inner = FaultyBackplane::new(MemoryBackplane::default());
    let (backplane, asked) = counting(inner.clone(), None);
    let provider = CoreProvider::on(backplane).await;
    let asked_in = async |time: Duration| {
        asked.store(0, Ordering::Relaxed);
        sleep(time).await;
        asked.load(Ordering::Relaxed)
    };
    for _ in 0..2 {
        inner.set_up(false);
        // After 50, 100, 200 and 400 ms, and then every two seconds.
        let first = asked_in(Duration::from_secs(1)).await;
        assert!((3..=5).contains(&first), "{first}");
        sleep(Duration::from_secs(10)).await;
        let later = asked_in(Duration::from_secs(60)).await;
        assert!((29..=31).contains(&later), "{later}");
        provider.regain_log(&inner).await;
        // The first record resets the backoff.
        provider.dispatcher.to_all(note("record")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn record_read_twice_is_delivered_once() {
    let inner = FaultyBackplane::new(MemoryBackplane::default());
    let (backplane, _) = counting(inner, None);
    let provider = CoreProvider::on(backplane).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for text in ["1", "2", "end"] {
        provider.dispatcher.to_all(note(text)).await.unwrap();
    }
    assert_eq!(guest.texts_until("end").await, ["1", "2"]);
    assert_eq!(provider.dispatcher.hub().applied(), Position::new(3));
}

/// Such as a record of a newer version.
#[tokio::test(start_paused = true)]
async fn undecodable_record_is_skipped_and_counted() {
    let inner = FaultyBackplane::new(MemoryBackplane::default());
    let (backplane, _) = counting(inner, Some(Position::new(2)));
    let provider = CoreProvider::on(backplane).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    provider.dispatcher.to_all(note("1")).await.unwrap();
    let unread = provider.dispatcher.to_all(note("unread")).await;
    assert!(matches!(unread, Err(Error::OutcomeUnknown { .. })), "{unread:?}");
    assert_eq!(guest.texts(&provider).await, ["1"]);
    assert_eq!(
        (provider.dispatcher.hub().applied(), provider.dispatcher.stats().skipped_records),
        (Position::new(3), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn reachable_log_is_checked_once_a_second() {
    let inner = FaultyBackplane::new(MemoryBackplane::default());
    let (backplane, asked) = counting(inner, None);
    let provider = CoreProvider::on(backplane).await;
    provider.dispatcher.to_all(note("record")).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    asked.store(0, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    let asked = asked.load(Ordering::Relaxed);
    assert!((59..=61).contains(&asked), "{asked}");
}

/// The log is rolled back while its tail fails, and then grows beyond the node's position.
#[tokio::test(start_paused = true)]
async fn records_of_another_log_are_not_read_after_error() {
    for kept in [0, 3, 9] {
        let backplane = FaultyBackplane::new(MemoryBackplane::default());
        let provider = CoreProvider::on(backplane.clone()).await;
        let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
        provider.send_numbers(0..10).await;
        assert_eq!(guest.texts_until("9").await.len(), 9);
        let records = backplane.range(Position::START, 10).await.unwrap();
        let epoch = backplane.state().await.unwrap().epoch;
        provider.lose_log(&backplane).await;
        backplane.roll_back(Position::new(kept)).await;
        backplane.set_up(true);
        for Entry { record, .. } in records {
            let record = record.decode().unwrap();
            let (target, event) = record.event().unwrap();
            let record = Record::of_event(EventId::random(), target.clone(), event.clone());
            backplane.append(epoch, Arc::new(record), None).await.unwrap();
        }
        let code = loop {
            match guest.next_or_close().await {
                Ok(received) if received.name == "reconnect" => {}
                Ok(received) => panic!("{kept} kept: {received:?}"),
                Err(ended) => break ended.code,
            }
        };
        assert_eq!(code, Some(CloseReason::RESTART.code()));
    }
}

/// The node misses more records than the log keeps.
#[tokio::test(start_paused = true)]
async fn client_behind_trimmed_log_is_disconnected_as_expired() {
    let backplane = FaultyBackplane::new(MemoryBackplane::new(5));
    let provider = CoreProvider::on(backplane.clone()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    provider.dispatcher.to_all(note("received")).await.unwrap();
    assert_eq!(guest.next().await.payload, "received");
    let cursor = guest.cursor.clone();
    provider.lose_log(&backplane).await;
    let (log, epoch) = (backplane.log(), cursor.parse::<realtime_core::spi::Cursor>().unwrap().epoch());
    for _ in 0..20 {
        log.append(epoch, foreign(), None).await.unwrap();
    }
    backplane.set_up(true);
    assert_eq!(guest.closed().await.code, Some(CloseReason::RESTART.code()));
    eventually("the node is ready again", || provider.dispatcher.is_ready()).await;
    assert_eq!(provider.dispatcher.hub().applied(), Position::new(21));
    assert_eq!(provider.dispatcher.window().start(), Position::new(16));
    let mut expired = Guest::by_session(&provider, Visitor::user("ann").with_cursor(&cursor)).await;
    assert_eq!((&expired.welcome["resumed"], &expired.welcome["reason"]), (&false.into(), &"expired".into()));
    assert!(expired.texts(&provider).await.is_empty());
    let resumed = Guest::by_session(&provider, Visitor::user("ann").with_cursor(&expired.cursor)).await;
    assert_eq!(resumed.welcome["resumed"], true, "later cursors are valid again");
}
