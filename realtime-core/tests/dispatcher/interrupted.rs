//! Large events within which the connections of a slow client repeatedly fail: after three times
//! such an event is skipped, so that no client is caught in a loop.

use std::time::Duration;

use crate::support::{CoreProvider, LineCodec, note, parse};
use realtime_core::spi::{Position, Registration, Take};
use realtime_core::{Event, RealtimeBroadcast, RealtimeProvider, WindowConfig};
use realtime_testkit::conformance::{Received, Setup, Visitor};
use serde_json::json;

const LARGE: usize = 70_000;

async fn provider() -> CoreProvider {
    CoreProvider::started(Setup::default().with_window(WindowConfig::default().with_records(20))).await
}

fn event(size: usize) -> Event {
    Event::json("large", &"x".repeat(size)).unwrap()
}

/// A connection, with the events that it took and their sizes.
struct Connection {
    registration: Registration<LineCodec>,
    taken: Vec<Received>,
    sizes: Vec<usize>,
}

impl Connection {
    /// Registers a connection and takes what is queued.
    async fn open(provider: &CoreProvider, visitor: Visitor) -> Self {
        let mut connection = Self::register(provider, visitor).await;
        connection.take();
        connection
    }

    /// Registers a connection that has taken nothing yet.
    async fn register(provider: &CoreProvider, visitor: Visitor) -> Self {
        let registration = provider.register(visitor).await;
        Self { registration, taken: Vec::new(), sizes: Vec::new() }
    }

    /// Takes all queued frames, one at a time.
    fn take(&mut self) {
        self.take_by(1);
    }

    /// Takes all queued frames, at most `budget` bytes at a time.
    fn take_by(&mut self, budget: usize) {
        let mut frames = Vec::new();
        while self.registration.try_take(budget, &mut frames) != Take::Empty {}
        self.sizes.extend(frames.iter().map(bytes::Bytes::len));
        self.taken.extend(frames.iter().map(parse));
    }

    fn names(&self) -> Vec<&str> {
        self.taken.iter().map(|received| received.name.as_str()).collect()
    }

    /// Ends the connection within the frame `name`, of which a part was written.
    fn interrupt_in(self, name: &str) {
        let number = self.taken.iter().position(|received| received.name == name).unwrap();
        self.registration.interrupted_within(number as u64);
    }
}

/// Resumes ann's connection from this cursor.
async fn resume(provider: &CoreProvider, cursor: &str) -> Connection {
    Connection::open(provider, Visitor::user("ann").with_cursor(cursor)).await
}

/// Returns a cursor of ann, before a small event, one of `size` bytes, and another small one.
async fn missed(provider: &CoreProvider, size: usize) -> String {
    let connection = Connection::open(provider, Visitor::user("ann")).await;
    let cursor = connection.taken[0].cursor.clone().unwrap();
    drop(connection);
    provider.dispatcher.to_all(note("before")).await.unwrap();
    provider.dispatcher.to_all(event(size)).await.unwrap();
    provider.dispatcher.to_all(note("after")).await.unwrap();
    cursor
}

const ALL: [&str; 4] = ["connected", "note", "large", "note"];

#[tokio::test(start_paused = true)]
async fn event_interrupted_three_times_is_skipped_and_reported() {
    let provider = provider().await;
    let cursor = missed(&provider, LARGE).await;
    let mut size = 0;
    for _ in 0..3 {
        let connection = resume(&provider, &cursor).await;
        assert_eq!(connection.names(), ALL);
        size = connection.sizes[2];
        connection.interrupt_in("large");
    }
    let mut connection = resume(&provider, &cursor).await;
    assert_eq!(connection.names(), ["connected", "note", "lost", "note"]);
    let lost = &connection.taken[2];
    assert_eq!((&lost.payload["position"], &lost.payload["size"]), (&json!(2), &json!(size)));
    assert!(lost.payload["from"].is_string());
    assert_eq!(Some(lost.payload["until"].as_str().unwrap()), lost.cursor.as_deref());
    assert_eq!(provider.stats().lost, 1);
    // Reported once: a client that resumes from `until` gets only later events.
    let until = lost.cursor.clone().unwrap();
    provider.dispatcher.to_all(note("later")).await.unwrap();
    connection.take();
    assert_eq!(connection.names()[4..], ["note"]);
    drop(connection);
    let connection = resume(&provider, &until).await;
    assert_eq!(connection.names(), ["connected", "note", "note"]);
}

#[tokio::test(start_paused = true)]
async fn skipped_event_is_reported_in_order_in_a_single_take() {
    let provider = provider().await;
    let cursor = missed(&provider, LARGE).await;
    for _ in 0..3 {
        resume(&provider, &cursor).await.interrupt_in("large");
    }
    let mut connection = Connection::register(&provider, Visitor::user("ann").with_cursor(&cursor)).await;
    connection.take_by(usize::MAX);
    assert_eq!(connection.names(), ["connected", "note", "lost", "note"]);
}

/// The first event after the lost ones is skipped: the client gets a `lost` event for each.
#[tokio::test(start_paused = true)]
async fn skipped_event_is_reported_after_window_loss() {
    let provider = provider().await;
    let mut slow = Connection::register(&provider, Visitor::user("ann")).await;
    for _ in 1..=6 {
        provider.dispatcher.to_all(note("before")).await.unwrap();
    }
    let cursor = provider.dispatcher.cursor(Position::new(6)).to_string();
    provider.dispatcher.to_all(event(LARGE)).await.unwrap();
    for _ in 0..3 {
        resume(&provider, &cursor).await.interrupt_in("large");
    }
    // The window holds 20 records from the second one on; a client that lost its position continues
    // after the sixth.
    for _ in 8..=21 {
        provider.dispatcher.to_all(note("after")).await.unwrap();
    }
    slow.take_by(usize::MAX);
    assert_eq!(slow.names()[..3], ["connected", "lost", "lost"]);
    assert_eq!(slow.taken[1].cursor.as_deref(), Some(&*cursor));
    assert_eq!(slow.taken[2].payload["position"], 7);
    assert!(slow.names()[3..] == ["note"; 14] && provider.stats().lost == 2);
}

#[tokio::test(start_paused = true)]
async fn interruptions_of_other_frames_skip_nothing() {
    let provider = provider().await;
    let cursor = missed(&provider, LARGE).await;
    for _ in 0..5 {
        for number in [1, 3, 4] {
            resume(&provider, &cursor).await.registration.interrupted_within(number);
        }
        drop(resume(&provider, &cursor).await);
    }
    assert_eq!(resume(&provider, &cursor).await.names(), ALL);
}

#[tokio::test(start_paused = true)]
async fn smaller_event_is_never_skipped() {
    let provider = provider().await;
    let cursor = missed(&provider, 60_000).await;
    for _ in 0..5 {
        resume(&provider, &cursor).await.interrupt_in("large");
    }
    assert_eq!(resume(&provider, &cursor).await.names(), ALL);
}

#[tokio::test(start_paused = true)]
async fn interruptions_of_other_users_do_not_count() {
    let provider = provider().await;
    let cursor = missed(&provider, LARGE).await;
    let anonymous = || Visitor::anonymous().with_cursor(&cursor);
    let other = || Visitor::user("ann").with_tenant("acme").with_cursor(&cursor);
    for _ in 0..3 {
        Connection::open(&provider, anonymous()).await.interrupt_in("large");
        Connection::open(&provider, other()).await.interrupt_in("large");
    }
    assert_eq!(resume(&provider, &cursor).await.names(), ALL);
    assert_eq!(Connection::open(&provider, anonymous()).await.names(), ALL, "anonymous clients are not counted");
    assert_eq!(Connection::open(&provider, other()).await.names(), ["connected", "note", "lost", "note"]);
}

#[tokio::test(start_paused = true)]
async fn live_interruption_counts_until_event_leaves_the_window() {
    let provider = provider().await;
    let mut cursor = String::new();
    for round in 0..3 {
        let mut connection = if round == 0 {
            let connection = Connection::open(&provider, Visitor::user("ann")).await;
            cursor = connection.taken[0].cursor.clone().unwrap();
            provider.dispatcher.to_all(event(LARGE)).await.unwrap();
            connection
        } else {
            resume(&provider, &cursor).await
        };
        connection.take();
        connection.interrupt_in("large");
    }
    assert_eq!(resume(&provider, &cursor).await.names(), ["connected", "lost"]);
    // Outside of the window the event is lost like any other.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let connection = resume(&provider, &cursor).await;
    assert!(
        !connection.taken.iter().any(|received| received.payload.get("size").is_some()),
        "{:?}",
        connection.names()
    );
}
