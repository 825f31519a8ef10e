//! The window: its bounds, what has left it, and that nobody who is connected loses its place.

use std::time::Duration;

use crate::support::{CoreProvider, Guest, eventually, note, runtime};
use realtime_core::{MemoryBackplane, OutboxConfig, RealtimeBroadcast, RealtimeProvider, Target, WindowConfig};
use realtime_testkit::conformance::{Setup, Visitor};
use serde_json::json;

async fn with_window(window: WindowConfig) -> CoreProvider {
    let setup = Setup::default().with_window(window).with_outbox(OutboxConfig::default().with_frames(4));
    let provider = CoreProvider::full(setup);
    provider.attach(runtime()).await.unwrap();
    provider
}

#[tokio::test]
async fn the_window_is_bounded_by_records() {
    let provider = with_window(WindowConfig::default().with_records(10)).await;
    for n in 0..25 {
        provider.dispatcher.to_all(note(&n.to_string())).await.unwrap();
        assert!(provider.stats().window_records <= 10);
    }
    assert_eq!(provider.dispatcher.window().start().get(), 15);
}

#[tokio::test]
async fn the_window_is_bounded_by_bytes_and_keeps_the_newest_whatever_its_size() {
    let provider = with_window(WindowConfig::default().with_bytes(10_000)).await;
    for n in 0..30 {
        provider.dispatcher.to_all(note(&format!("{n}{}", "x".repeat(1_000)))).await.unwrap();
        assert!(provider.stats().window_bytes <= 10_000, "{}", provider.stats().window_bytes);
    }
    assert!(provider.stats().window_records >= 5, "{}", provider.stats().window_records);
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    let large = "y".repeat(100_000);
    provider.dispatcher.to_all(note(&large)).await.unwrap();
    assert_eq!(provider.stats().window_records, 1);
    assert!(guest.texts_until(&large).await.is_empty(), "an event over every bound arrives");
    provider.dispatcher.to_all(note("small")).await.unwrap();
    assert_eq!(provider.stats().window_records, 1);
    assert!(guest.texts_until("small").await.is_empty());
}

#[tokio::test]
async fn the_window_is_bounded_by_age() {
    let provider = with_window(WindowConfig::default().with_age(Duration::from_millis(300))).await;
    let guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    provider.dispatcher.to_all(note("old")).await.unwrap();
    assert_eq!(provider.stats().window_records, 1);
    eventually("it is too old", || provider.stats().window_records == 0).await;
    let cursor = guest.cursor.clone();
    let late = Guest::by_sink(&provider, Visitor::user("ann").resume(&cursor)).await;
    assert_eq!((&late.welcome["resumed"], &late.welcome["reason"]), (&json!(false), &json!("expired")));
}

#[tokio::test]
async fn an_idempotency_key_outlives_its_record_and_ends_with_the_windows_age() {
    let age = Duration::from_millis(400);
    let provider = with_window(WindowConfig::default().with_records(5).with_age(age)).await;
    let keyed = || note("keyed").with_idempotency_key("k");
    let started = std::time::Instant::now();
    let first = provider.dispatcher.to_all(keyed()).await.unwrap();
    for n in 0..10 {
        provider.dispatcher.to_all(note(&n.to_string())).await.unwrap();
    }
    assert!(provider.dispatcher.window().start() > first.position.unwrap(), "its record has left the window");
    let mut repeats = 0;
    let again = loop {
        let receipt = provider.dispatcher.to_all(keyed()).await.unwrap();
        if receipt.id != first.id {
            break receipt;
        }
        let first_place = (first.id, first.position, true);
        assert_eq!((receipt.id, receipt.position, receipt.repeated()), first_place, "the first one's place");
        repeats += 1;
        tokio::task::yield_now().await;
    };
    assert!(started.elapsed() >= age && repeats > 0);
    assert!(again.position > first.position && !again.repeated());
}

#[tokio::test]
async fn the_number_of_idempotency_keys_is_bounded() {
    let provider = CoreProvider::full(Setup::default());
    provider.attach(runtime().with_backplane(MemoryBackplane::default().with_keys(3))).await.unwrap();
    let keyed = |key: &str| note(key).with_idempotency_key(key.to_owned());
    let first = provider.dispatcher.to_all(keyed("k0")).await.unwrap();
    for n in 1..=3 {
        provider.dispatcher.to_all(keyed(&format!("k{n}"))).await.unwrap();
    }
    let third = provider.dispatcher.to_all(keyed("k3")).await.unwrap();
    assert!(third.position < Some(first.position.unwrap().next().next().next().next()), "remembered");
    assert_ne!(provider.dispatcher.to_all(keyed("k0")).await.unwrap().id, first.id, "the oldest is forgotten");
}

#[tokio::test]
async fn the_same_key_at_the_same_time_delivers_once() {
    let provider = with_window(WindowConfig::default()).await;
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    let sends = (0..20).map(|_| {
        let dispatcher = std::sync::Arc::clone(&provider.dispatcher);
        async move { dispatcher.to_all(note("keyed").with_idempotency_key("k")).await.unwrap() }
    });
    let receipts = futures_util::future::join_all(sends).await;
    assert!(receipts.iter().all(|receipt| (receipt.id, receipt.position) == (receipts[0].id, receipts[0].position)));
    assert_eq!(receipts.iter().filter(|receipt| !receipt.repeated()).count(), 1);
    provider.dispatcher.to_all(note("end")).await.unwrap();
    assert_eq!(guest.texts_until("end").await, ["keyed"]);
}

/// A client that catches up reads an old event last: it must be told a newer place than that event's.
#[tokio::test]
async fn who_has_caught_up_is_told_its_place_too() {
    let provider = with_window(WindowConfig::default().with_records(40)).await;
    let first = Guest::by_sink(&provider, Visitor::user("ann")).await;
    let cursor = first.cursor.clone();
    drop(first);
    provider.dispatcher.to_user("ann", note("old")).await.unwrap();
    for n in 0..38 {
        provider.dispatcher.to_user("bob", note(&n.to_string())).await.unwrap();
    }
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann").resume(&cursor)).await;
    assert_eq!(guest.welcome["resumed"], true);
    assert_eq!(guest.next().await.payload, "old");
    assert_eq!(guest.place(), 1);
    // Its place is more than a quarter of the window old.
    let told = guest.next().await;
    assert_eq!(told.name, "cursor");
    assert_eq!(guest.place(), 39);
}

/// A window that is full by bytes turns over long before its number of records is reached.
#[tokio::test]
async fn large_events_for_others_do_not_cost_a_quiet_client_its_place() {
    let provider = with_window(WindowConfig::default().with_bytes(200_000)).await;
    let mut quiet = Guest::by_sink(&provider, Visitor::user("quiet")).await;
    for n in 0..12 {
        provider.dispatcher.to_user("bob", note(&format!("{n}{}", "x".repeat(10_000)))).await.unwrap();
    }
    while quiet.place() < 7 {
        assert_eq!(quiet.next().await.name, "cursor");
    }
    for n in 0..12 {
        provider.dispatcher.to_user("bob", note(&format!("{n}{}", "x".repeat(10_000)))).await.unwrap();
    }
    assert!(provider.dispatcher.window().start().get() > 0, "the window has turned over");
    let back = Guest::by_sink(&provider, Visitor::user("quiet").resume(&quiet.cursor)).await;
    assert_eq!(back.welcome["resumed"], true);
}

/// The place of a quiet client is kept by age too, when nothing comes after what was for others.
#[tokio::test(start_paused = true)]
async fn who_is_quiet_on_a_log_that_falls_silent_is_told_its_place() {
    let age = Duration::from_secs(60);
    let provider = with_window(WindowConfig::default().with_age(age)).await;
    let mut quiet = Guest::by_sink(&provider, Visitor::user("quiet")).await;
    provider.dispatcher.to_user("bob", note("1")).await.unwrap();
    tokio::time::sleep(age * 3).await;
    assert_eq!(quiet.next().await.name, "cursor");
    assert_eq!(quiet.place(), 1);
    let back = Guest::by_sink(&provider, Visitor::user("quiet").resume(&quiet.cursor)).await;
    assert_eq!(back.welcome["resumed"], true);
}

/// Asks carry no cursor: a client that gets nothing else is told its place all the same.
#[tokio::test]
async fn who_is_only_asked_is_told_its_place_too() {
    use realtime_core::SocketIoBroadcast;
    let provider = with_window(WindowConfig::default().with_records(40)).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for n in 0..30 {
        let ask = provider.dispatcher.to_user_with_ack("ann", note(&n.to_string()), Duration::from_secs(10)).await;
        ask.unwrap();
    }
    loop {
        let received = guest.next().await;
        if received.name == "cursor" && guest.place() >= 20 {
            break;
        }
    }
}

#[tokio::test]
async fn an_event_is_encoded_once_for_all_connections_and_for_the_window() {
    let provider = with_window(WindowConfig::default()).await;
    let limit = 40;
    let mut guests = Vec::new();
    for n in 0..limit {
        guests.push(Guest::by_sink(&provider, Visitor::user(&format!("user {n}"))).await);
    }
    let encoded = std::sync::Arc::clone(&provider.dispatcher.codec().encoded);
    let before = encoded.load(std::sync::atomic::Ordering::Relaxed);
    let cursor = guests[0].cursor.clone();
    provider.dispatcher.to_all(note("1")).await.unwrap();
    for guest in &mut guests {
        assert!(guest.texts_until("1").await.is_empty());
    }
    assert_eq!(encoded.load(std::sync::atomic::Ordering::Relaxed), before + 1);
    let mut again = Guest::by_sink(&provider, Visitor::user("ann").resume(&cursor)).await;
    assert!(again.texts_until("1").await.is_empty());
    assert_eq!(encoded.load(std::sync::atomic::Ordering::Relaxed), before + 2, "only its welcome was encoded");
}

/// A connection that is far behind and one at the end read the same window side by side.
#[tokio::test]
async fn old_places_of_one_window_read_exactly_what_is_after_them() {
    let provider = with_window(WindowConfig::default().with_records(1_000)).await;
    let mut cursors = Vec::new();
    for n in 0..200 {
        let receipt = provider.dispatcher.send(Target::user("ann"), note(&n.to_string())).await.unwrap();
        cursors.push(provider.dispatcher.cursor(receipt.position.unwrap()).to_string());
        provider.dispatcher.send(Target::user("bob"), note("not for ann")).await.unwrap();
    }
    provider.dispatcher.to_all(note("end")).await.unwrap();
    for at in [0, 1, 57, 198, 199] {
        let mut guest = Guest::by_sink(&provider, Visitor::user("ann").resume(&cursors[at])).await;
        let expected: Vec<_> = (at + 1..200).map(|n| n.to_string()).collect();
        assert_eq!(guest.texts_until("end").await, expected);
    }
}
