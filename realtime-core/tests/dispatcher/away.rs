//! How often a log that is away is asked for, and what it no longer has when it is back.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::support::{CoreProvider, FaultyBackplane, Guest, eventually, foreign, note, runtime};
use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;
use futures_util::StreamExt;
use realtime_core::spi::{
    AppendError, Appended, Backplane, Entry, Epoch, LogState, Position, Record, RepeatKey, Stored, Tail,
};
use realtime_core::{CloseReason, Error, EventId, MemoryBackplane, RealtimeBroadcast, RealtimeProvider, Result};
use realtime_testkit::conformance::{Setup, Visitor};
use tokio::time::sleep;

/// Counts how often a node asks for the log's state, and gives it every record twice, but one that nobody can read.
#[derive(Clone)]
struct Counting {
    inner: FaultyBackplane,
    asked: Arc<AtomicUsize>,
    unreadable: Option<Position>,
}

#[async_trait]
impl Backplane for Counting {
    async fn append(
        &self,
        epoch: Epoch,
        record: Arc<Record>,
        key: Option<RepeatKey>,
    ) -> std::result::Result<Appended, AppendError> {
        self.inner.append(epoch, record, key).await
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        self.inner.range(after, most).await
    }

    fn tail(&self, after: Position) -> Tail {
        let unreadable = self.unreadable;
        let garble = move |entry: Entry| match entry.position {
            position if Some(position) == unreadable => Entry::new(entry.position, entry.id, Bytes::from_static(b"x")),
            _ => entry,
        };
        let twice = move |batch: Result<Vec<Entry>>| {
            batch.map(|entries| [entries.clone(), entries].concat().into_iter().map(garble).collect())
        };
        self.inner.tail(after).map(twice).boxed()
    }

    async fn state(&self) -> Result<LogState> {
        self.inner.state().await
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        // A node that asks without a pause would stop the paused clock.
        assert!(self.asked.fetch_add(1, Ordering::Relaxed) < 10_000);
        self.inner.renew(seen, position, id).await
    }

    async fn publish(&self, record: Arc<Record>) -> Result<()> {
        self.inner.publish(record).await
    }

    async fn subscribe(&self) -> Result<BoxStream<'static, Stored>> {
        self.inner.subscribe().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_away_is_asked_for_less_and_less_often() {
    let inner = FaultyBackplane::new(MemoryBackplane::default());
    let backplane = Counting { inner: inner.clone(), asked: Arc::default(), unreadable: None };
    let provider = CoreProvider::full(Setup::default());
    provider.attach(runtime().with_backplane(backplane.clone())).await.unwrap();
    let asked_in = async |time: Duration| {
        backplane.asked.store(0, Ordering::Relaxed);
        sleep(time).await;
        backplane.asked.load(Ordering::Relaxed)
    };
    for _ in 0..2 {
        inner.set_up(false);
        // After 50, 100, 200 and 400 ms, and then every two seconds.
        let first = asked_in(Duration::from_secs(1)).await;
        assert!((3..=5).contains(&first), "{first}");
        sleep(Duration::from_secs(10)).await;
        let later = asked_in(Duration::from_secs(60)).await;
        assert!((29..=31).contains(&later), "{later}");
        inner.set_up(true);
        eventually("it is back", || provider.dispatcher.is_ready()).await;
        // From the first record on an error is a new one.
        provider.dispatcher.to_all(note("record")).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_record_that_is_read_twice_is_delivered_once() {
    let inner = FaultyBackplane::new(MemoryBackplane::default());
    let backplane = Counting { inner, asked: Arc::default(), unreadable: None };
    let provider = CoreProvider::full(Setup::default());
    provider.attach(runtime().with_backplane(backplane)).await.unwrap();
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for text in ["1", "2", "end"] {
        provider.dispatcher.to_all(note(text)).await.unwrap();
    }
    assert_eq!(guest.texts_until("end").await, ["1", "2"]);
    assert_eq!(provider.dispatcher.hub().applied(), Position::new(3));
}

/// As one of a newer build would be.
#[tokio::test(start_paused = true)]
async fn a_record_that_nobody_can_read_is_skipped_and_counted() {
    let inner = FaultyBackplane::new(MemoryBackplane::default());
    let backplane = Counting { inner: inner.clone(), asked: Arc::default(), unreadable: Some(Position::new(2)) };
    let provider = CoreProvider::full(Setup::default());
    provider.attach(runtime().with_backplane(backplane)).await.unwrap();
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    provider.dispatcher.to_all(note("1")).await.unwrap();
    let unread = provider.dispatcher.to_all(note("unread")).await;
    assert!(matches!(unread, Err(Error::OutcomeUnknown { .. })), "{unread:?}");
    provider.dispatcher.to_all(note("end")).await.unwrap();
    assert_eq!(guest.texts_until("end").await, ["1"]);
    assert_eq!(
        (provider.dispatcher.hub().applied(), provider.dispatcher.stats().skipped_records),
        (Position::new(3), 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_there_is_looked_at_once_a_second() {
    let inner = FaultyBackplane::new(MemoryBackplane::default());
    let backplane = Counting { inner, asked: Arc::default(), unreadable: None };
    let provider = CoreProvider::full(Setup::default());
    provider.attach(runtime().with_backplane(backplane.clone())).await.unwrap();
    provider.dispatcher.to_all(note("record")).await.unwrap();
    sleep(Duration::from_secs(2)).await;
    backplane.asked.store(0, Ordering::Relaxed);
    sleep(Duration::from_secs(60)).await;
    let asked = backplane.asked.load(Ordering::Relaxed);
    assert!((59..=61).contains(&asked), "{asked}");
}

/// The log is rolled back while its tail fails, and goes on beyond the place that the node has.
#[tokio::test(start_paused = true)]
async fn nothing_of_another_log_is_read_after_an_error() {
    for kept in [0, 3, 9] {
        let backplane = FaultyBackplane::new(MemoryBackplane::default());
        let provider = CoreProvider::full(Setup::default());
        provider.attach(runtime().with_backplane(backplane.clone())).await.unwrap();
        let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
        for n in 0..10 {
            provider.dispatcher.to_all(note(&n.to_string())).await.unwrap();
        }
        assert_eq!(guest.texts_until("9").await.len(), 9);
        let records = backplane.range(Position::START, 10).await.unwrap();
        let epoch = backplane.state().await.unwrap().epoch;
        backplane.set_up(false);
        eventually("it is noticed", || !provider.dispatcher.is_ready()).await;
        backplane.roll_back(Position::new(kept)).await;
        backplane.set_up(true);
        for Entry { record, .. } in records {
            let record = record.decode().unwrap();
            let (target, event) = record.event().unwrap();
            let record = Record::of_event(EventId::random(), target.clone(), event.clone());
            backplane.append(epoch, Arc::new(record), None).await.unwrap();
        }
        let told = loop {
            match guest.client_next().await {
                Ok(received) if received.name == "reconnect" => {}
                Ok(received) => panic!("{kept} kept: {received:?}"),
                Err(ended) => break ended.code,
            }
        };
        assert_eq!(told, Some(CloseReason::RESTART.code()));
    }
}

/// More was logged while the node was away than the log keeps.
#[tokio::test(start_paused = true)]
async fn who_missed_what_the_log_has_dropped_is_sent_away_and_told() {
    let backplane = FaultyBackplane::new(MemoryBackplane::new(5));
    let provider = CoreProvider::full(Setup::default());
    provider.attach(runtime().with_backplane(backplane.clone())).await.unwrap();
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    provider.dispatcher.to_all(note("had")).await.unwrap();
    assert_eq!(guest.next().await.payload, "had");
    let place = guest.cursor.clone();
    backplane.set_up(false);
    eventually("it is noticed", || !provider.dispatcher.is_ready()).await;
    let (log, epoch) = (backplane.log(), place.parse::<realtime_core::spi::Cursor>().unwrap().epoch());
    for _ in 0..20 {
        log.append(epoch, foreign(), None).await.unwrap();
    }
    backplane.set_up(true);
    assert_eq!(guest.ended().await.code, Some(CloseReason::RESTART.code()));
    eventually("it is back", || provider.dispatcher.is_ready()).await;
    assert_eq!(provider.dispatcher.hub().applied(), Position::new(21));
    assert_eq!(provider.dispatcher.window().start(), Position::new(16));
    let mut back = Guest::by_session(&provider, Visitor::user("ann").resume(&place)).await;
    assert_eq!((&back.welcome["resumed"], &back.welcome["reason"]), (&false.into(), &"expired".into()));
    provider.dispatcher.to_all(note("end")).await.unwrap();
    assert!(back.texts_until("end").await.is_empty());
    let resumed = Guest::by_session(&provider, Visitor::user("ann").resume(&back.cursor)).await;
    assert_eq!(resumed.welcome["resumed"], true, "what comes after it has places again");
}
