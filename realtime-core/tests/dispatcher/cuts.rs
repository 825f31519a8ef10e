//! Large events in which a slow line's connections end again and again: no client is kept in a loop by one.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{CoreProvider, LineCodec, note, parse, runtime};
use realtime_core::spi::{Position, Registration, SessionOutlet, Take};
use realtime_core::{Event, RealtimeBroadcast, RealtimeProvider, WindowConfig};
use realtime_testkit::conformance::{Received, Setup, Visitor};
use serde_json::json;

const LARGE: usize = 70_000;

async fn provider() -> CoreProvider {
    let provider = CoreProvider::full(Setup::default().with_window(WindowConfig::default().with_records(20)));
    provider.attach(runtime()).await.unwrap();
    provider
}

fn event(size: usize) -> Event {
    Event::json("large", &"x".repeat(size)).unwrap()
}

/// One connection: what it took, and the place it knew at its begin.
struct Line {
    registration: Registration<LineCodec>,
    taken: Vec<Received>,
    sizes: Vec<usize>,
}

impl Line {
    async fn open(provider: &CoreProvider, visitor: Visitor) -> Self {
        let mut line = Self::enter(provider, visitor).await;
        line.take();
        line
    }

    /// It has taken nothing yet.
    async fn enter(provider: &CoreProvider, visitor: Visitor) -> Self {
        let admitted = provider.admit(visitor).await.unwrap();
        let registration = provider.dispatcher.register(admitted, Arc::new(SessionOutlet::new()));
        Self { registration, taken: Vec::new(), sizes: Vec::new() }
    }

    /// Takes all that waits, a little at a time.
    fn take(&mut self) {
        self.take_by(1);
    }

    /// Takes all that waits, so many bytes at a time.
    fn take_by(&mut self, budget: usize) {
        let mut frames = Vec::new();
        while self.registration.try_take(budget, &mut frames) != Take::Empty {}
        self.sizes.extend(frames.iter().map(bytes::Bytes::len));
        self.taken.extend(frames.iter().map(parse));
    }

    fn names(&self) -> Vec<&str> {
        self.taken.iter().map(|received| received.name.as_str()).collect()
    }

    /// It ends with this frame, of which a part has gone out.
    fn end_in(self, name: &str) {
        let number = self.taken.iter().position(|received| received.name == name).unwrap();
        self.registration.cut_within(number as u64);
    }
}

/// Ann's connection, gone on with from this place.
async fn back(provider: &CoreProvider, place: &str) -> Line {
    Line::open(provider, Visitor::user("ann").resume(place)).await
}

/// A place of ann's with a large event and a small one behind it.
async fn missed(provider: &CoreProvider, size: usize) -> String {
    let line = Line::open(provider, Visitor::user("ann")).await;
    let place = line.taken[0].cursor.clone().unwrap();
    drop(line);
    provider.dispatcher.to_all(note("before")).await.unwrap();
    provider.dispatcher.to_all(event(size)).await.unwrap();
    provider.dispatcher.to_all(note("behind")).await.unwrap();
    place
}

const ALL: [&str; 4] = ["connected", "note", "large", "note"];

#[tokio::test(start_paused = true)]
async fn event_interrupted_three_times_is_skipped_and_reported() {
    let provider = provider().await;
    let place = missed(&provider, LARGE).await;
    let mut size = 0;
    for _ in 0..3 {
        let line = back(&provider, &place).await;
        assert_eq!(line.names(), ALL);
        size = line.sizes[2];
        line.end_in("large");
    }
    let mut line = back(&provider, &place).await;
    assert_eq!(line.names(), ["connected", "note", "lost", "note"]);
    let lost = &line.taken[2];
    assert_eq!((&lost.payload["position"], &lost.payload["size"]), (&json!(2), &json!(size)));
    assert!(lost.payload["from"].is_string());
    assert_eq!(Some(lost.payload["until"].as_str().unwrap()), lost.cursor.as_deref());
    assert_eq!(provider.stats().lost, 1);
    // It is told once: who goes on from there hears of what is behind it only.
    let until = lost.cursor.clone().unwrap();
    provider.dispatcher.to_all(note("later")).await.unwrap();
    line.take();
    assert_eq!(line.names()[4..], ["note"]);
    drop(line);
    let line = back(&provider, &until).await;
    assert_eq!(line.names(), ["connected", "note", "note"]);
}

#[tokio::test(start_paused = true)]
async fn skipped_event_is_reported_in_order_in_a_single_take() {
    let provider = provider().await;
    let place = missed(&provider, LARGE).await;
    for _ in 0..3 {
        back(&provider, &place).await.end_in("large");
    }
    let mut line = Line::enter(&provider, Visitor::user("ann").resume(&place)).await;
    line.take_by(usize::MAX);
    assert_eq!(line.names(), ["connected", "note", "lost", "note"]);
}

/// The first event behind what was lost is passed over: both are told.
#[tokio::test(start_paused = true)]
async fn skipped_event_is_reported_after_window_loss() {
    let provider = provider().await;
    let mut slow = Line::enter(&provider, Visitor::user("ann")).await;
    for _ in 1..=6 {
        provider.dispatcher.to_all(note("before")).await.unwrap();
    }
    let place = provider.dispatcher.cursor(Position::new(6)).to_string();
    provider.dispatcher.to_all(event(LARGE)).await.unwrap();
    for _ in 0..3 {
        back(&provider, &place).await.end_in("large");
    }
    // A window of 20 records from the second one on: who has lost its place goes on after the sixth.
    for _ in 8..=21 {
        provider.dispatcher.to_all(note("behind")).await.unwrap();
    }
    slow.take_by(usize::MAX);
    assert_eq!(slow.names()[..3], ["connected", "lost", "lost"]);
    assert_eq!(slow.taken[1].cursor.as_deref(), Some(&*place));
    assert_eq!(slow.taken[2].payload["position"], 7);
    assert!(slow.names()[3..] == ["note"; 14] && provider.stats().lost == 2);
}

#[tokio::test(start_paused = true)]
async fn interruptions_of_other_frames_skip_nothing() {
    let provider = provider().await;
    let place = missed(&provider, LARGE).await;
    for _ in 0..5 {
        for number in [1, 3, 4] {
            back(&provider, &place).await.registration.cut_within(number);
        }
        drop(back(&provider, &place).await);
    }
    assert_eq!(back(&provider, &place).await.names(), ALL);
}

#[tokio::test(start_paused = true)]
async fn smaller_event_is_never_skipped() {
    let provider = provider().await;
    let place = missed(&provider, 60_000).await;
    for _ in 0..5 {
        back(&provider, &place).await.end_in("large");
    }
    assert_eq!(back(&provider, &place).await.names(), ALL);
}

#[tokio::test(start_paused = true)]
async fn interruptions_of_other_users_do_not_count() {
    let provider = provider().await;
    let place = missed(&provider, LARGE).await;
    let anonymous = || Visitor::anonymous().resume(&place);
    let other = || Visitor::user("ann").tenant("acme").resume(&place);
    for _ in 0..3 {
        Line::open(&provider, anonymous()).await.end_in("large");
        Line::open(&provider, other()).await.end_in("large");
    }
    assert_eq!(back(&provider, &place).await.names(), ALL);
    assert_eq!(Line::open(&provider, anonymous()).await.names(), ALL, "nobody's in particular");
    assert_eq!(Line::open(&provider, other()).await.names(), ["connected", "note", "lost", "note"]);
}

#[tokio::test(start_paused = true)]
async fn live_interruption_counts_until_event_leaves_the_window() {
    let provider = provider().await;
    let mut place = String::new();
    for round in 0..3 {
        let mut line = if round == 0 {
            let line = Line::open(&provider, Visitor::user("ann")).await;
            place = line.taken[0].cursor.clone().unwrap();
            provider.dispatcher.to_all(event(LARGE)).await.unwrap();
            line
        } else {
            back(&provider, &place).await
        };
        line.take();
        line.end_in("large");
    }
    assert_eq!(back(&provider, &place).await.names(), ["connected", "lost"]);
    // Out of the window, it is lost like everything else.
    tokio::time::sleep(Duration::from_secs(600)).await;
    let line = back(&provider, &place).await;
    assert!(!line.taken.iter().any(|received| received.payload.get("size").is_some()), "{:?}", line.names());
}
