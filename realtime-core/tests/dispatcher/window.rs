//! The window: its bounds, records that have left it, and bare cursors, which keep the positions of
//! connected clients valid.

use std::time::Duration;

use crate::support::{CoreProvider, Guest, eventually, note};
use realtime_core::{MemoryBackplane, OutboxConfig, RealtimeBroadcast, RealtimeProvider, Target, WindowConfig};
use realtime_testkit::conformance::{Setup, Visitor};
use serde_json::json;

async fn with_window(window: WindowConfig) -> CoreProvider {
    let setup = Setup::default().with_window(window).with_outbox(OutboxConfig::default().with_frames(4));
    CoreProvider::started(setup).await
}

#[tokio::test]
async fn window_is_bounded_by_records() {
    let provider = with_window(WindowConfig::default().with_records(10)).await;
    for n in 0..25 {
        provider.dispatcher.to_all(note(&n.to_string())).await.unwrap();
        assert!(provider.stats().window_records <= 10);
    }
    assert_eq!(provider.dispatcher.window().start().get(), 15);
}

#[tokio::test]
async fn window_is_bounded_by_bytes_but_keeps_the_newest_record() {
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
async fn window_is_bounded_by_age() {
    let provider = with_window(WindowConfig::default().with_age(Duration::from_millis(300))).await;
    let guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    provider.dispatcher.to_all(note("old")).await.unwrap();
    assert_eq!(provider.stats().window_records, 1);
    eventually("the record is too old", || provider.stats().window_records == 0).await;
    let cursor = guest.cursor.clone();
    let late = Guest::by_sink(&provider, Visitor::user("ann").with_cursor(&cursor)).await;
    assert_eq!((&late.welcome["resumed"], &late.welcome["reason"]), (&json!(false), &json!("expired")));
}

#[tokio::test]
async fn idempotency_key_outlives_its_record_until_the_windows_age() {
    let age = Duration::from_millis(400);
    let provider = with_window(WindowConfig::default().with_records(5).with_age(age)).await;
    let keyed = || note("keyed").with_idempotency_key("k");
    let started = std::time::Instant::now();
    let first = provider.dispatcher.to_all(keyed()).await.unwrap();
    provider.send_numbers(0..10).await;
    assert!(provider.dispatcher.window().start() > first.position.unwrap(), "the record has left the window");
    let mut repeats = 0;
    let again = loop {
        let receipt = provider.dispatcher.to_all(keyed()).await.unwrap();
        if receipt.id != first.id {
            break receipt;
        }
        let expected = (first.id, first.position, true);
        assert_eq!((receipt.id, receipt.position, receipt.repeated()), expected, "the first record's position");
        repeats += 1;
        tokio::task::yield_now().await;
    };
    assert!(started.elapsed() >= age && repeats > 0);
    assert!(again.position > first.position && !again.repeated());
}

#[tokio::test]
async fn idempotency_keys_are_bounded_in_number() {
    let provider = CoreProvider::on(MemoryBackplane::default().with_keys(3)).await;
    let keyed = |key: &str| note(key).with_idempotency_key(key);
    let first = provider.dispatcher.to_all(keyed("k0")).await.unwrap();
    for n in 1..=3 {
        provider.dispatcher.to_all(keyed(&format!("k{n}"))).await.unwrap();
    }
    let third = provider.dispatcher.to_all(keyed("k3")).await.unwrap();
    assert!(third.position < Some(first.position.unwrap().next().next().next().next()), "remembered");
    assert_ne!(provider.dispatcher.to_all(keyed("k0")).await.unwrap().id, first.id, "the oldest is forgotten");
}

#[tokio::test]
async fn concurrent_sends_with_one_key_deliver_once() {
    let provider = with_window(WindowConfig::default()).await;
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    let sends = (0..20).map(|_| {
        let dispatcher = std::sync::Arc::clone(&provider.dispatcher);
        async move { dispatcher.to_all(note("keyed").with_idempotency_key("k")).await.unwrap() }
    });
    let receipts = futures_util::future::join_all(sends).await;
    assert!(receipts.iter().all(|receipt| (receipt.id, receipt.position) == (receipts[0].id, receipts[0].position)));
    assert_eq!(receipts.iter().filter(|receipt| !receipt.repeated()).count(), 1);
    assert_eq!(guest.texts(&provider).await, ["keyed"]);
}

/// A client that catches up reads an old event last, and needs a newer cursor than that event's.
#[tokio::test]
async fn caught_up_client_gets_bare_cursor() {
    let provider = with_window(WindowConfig::default().with_records(40)).await;
    let cursor = Guest::left(&provider, Visitor::user("ann")).await;
    provider.dispatcher.to_user("ann", note("old")).await.unwrap();
    for n in 0..38 {
        provider.dispatcher.to_user("bob", note(&n.to_string())).await.unwrap();
    }
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann").with_cursor(&cursor)).await;
    assert_eq!(guest.welcome["resumed"], true);
    assert_eq!(guest.next().await.payload, "old");
    assert_eq!(guest.position(), 1);
    // The position is more than a quarter of the window old.
    assert_eq!(guest.next().await.name, "cursor");
    assert_eq!(guest.position(), 39);
}

/// A window that is full by bytes drops records long before its number of records is reached.
#[tokio::test]
async fn quiet_client_keeps_its_position_among_large_events() {
    let provider = with_window(WindowConfig::default().with_bytes(200_000)).await;
    let mut quiet = Guest::by_sink(&provider, Visitor::user("quiet")).await;
    for n in 0..12 {
        provider.dispatcher.to_user("bob", note(&format!("{n}{}", "x".repeat(10_000)))).await.unwrap();
    }
    while quiet.position() < 7 {
        assert_eq!(quiet.next().await.name, "cursor");
    }
    for n in 0..12 {
        provider.dispatcher.to_user("bob", note(&format!("{n}{}", "x".repeat(10_000)))).await.unwrap();
    }
    assert!(provider.dispatcher.window().start().get() > 0, "the window has dropped records");
    let resumed = Guest::by_sink(&provider, Visitor::user("quiet").with_cursor(&quiet.cursor)).await;
    assert_eq!(resumed.welcome["resumed"], true);
}

/// A quiet client gets a newer cursor by age too, without another record after those for others.
#[tokio::test(start_paused = true)]
async fn quiet_client_gets_bare_cursor_on_silent_log() {
    let age = Duration::from_secs(60);
    let provider = with_window(WindowConfig::default().with_age(age)).await;
    let mut quiet = Guest::by_sink(&provider, Visitor::user("quiet")).await;
    provider.dispatcher.to_user("bob", note("1")).await.unwrap();
    tokio::time::sleep(age * 3).await;
    assert_eq!(quiet.next().await.name, "cursor");
    assert_eq!(quiet.position(), 1);
    let resumed = Guest::by_sink(&provider, Visitor::user("quiet").with_cursor(&quiet.cursor)).await;
    assert_eq!(resumed.welcome["resumed"], true);
}

/// Asks carry no cursor: a client that gets nothing else still needs one.
#[tokio::test]
async fn client_that_only_gets_asks_gets_bare_cursor() {
    use realtime_core::SocketIoBroadcast;
    let provider = with_window(WindowConfig::default().with_records(40)).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    for n in 0..30 {
        let ask = provider.dispatcher.to_user_with_ack("ann", note(&n.to_string()), Duration::from_secs(10)).await;
        ask.unwrap();
    }
    loop {
        let received = guest.next().await;
        if received.name == "cursor" && guest.position() >= 20 {
            break;
        }
    }
}

#[tokio::test]
async fn event_is_encoded_once_for_connections_and_window() {
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
    let mut again = Guest::by_sink(&provider, Visitor::user("ann").with_cursor(&cursor)).await;
    assert!(again.texts_until("1").await.is_empty());
    assert_eq!(encoded.load(std::sync::atomic::Ordering::Relaxed), before + 2, "only the connected event was encoded");
}

/// Connections that are far behind and nearly live read the same window.
#[tokio::test]
async fn old_cursors_read_exactly_the_later_events() {
    let provider = with_window(WindowConfig::default().with_records(1_000)).await;
    let mut cursors = Vec::new();
    for n in 0..200 {
        let receipt = provider.dispatcher.send(Target::user("ann"), note(&n.to_string())).await.unwrap();
        cursors.push(provider.dispatcher.cursor(receipt.position.unwrap()).to_string());
        provider.dispatcher.send(Target::user("bob"), note("not for ann")).await.unwrap();
    }
    provider.dispatcher.to_all(note("end")).await.unwrap();
    for at in [0, 1, 57, 198, 199] {
        let mut guest = Guest::by_sink(&provider, Visitor::user("ann").with_cursor(&cursors[at])).await;
        let expected: Vec<_> = (at + 1..200).map(|n| n.to_string()).collect();
        assert_eq!(guest.texts_until("end").await, expected);
    }
}
