use std::sync::Arc;

use futures_util::future::join_all;
use realtime_core::spi::Cursor;
use realtime_core::{Event, OutboxConfig, Target, WindowConfig};

use crate::conformance::fixture::Fixture;
use crate::conformance::{ProviderUnderTest, Setup, Visitor};
use crate::eventually;

/// Events that are sent one after the other arrive in that order, without gap and duplicate.
pub async fn burst_keeps_its_order<P: ProviderUnderTest>() {
    const EVENTS: usize = 5_000;
    let fixture = Fixture::<P>::start(Setup::default()).await;
    let mut peer = fixture.connect(Visitor::user("ann")).await;
    let expected: Vec<String> = (0..EVENTS).map(|n| n.to_string()).collect();
    for label in &expected {
        fixture.note(Target::user("ann"), label).await;
    }
    let mark = fixture.mark().await;
    assert_eq!(peer.labels_until(&mark).await, expected);
    assert_complete(&fixture);
}

fn assert_complete<P: ProviderUnderTest>(fixture: &Fixture<P>) {
    let stats = fixture.provider.stats();
    assert_eq!((stats.lost, stats.dropped), (0, 0));
}

/// Events of concurrent publishers have one order, the log's, for every connection.
pub async fn burst_of_many_publishers_has_one_order<P: ProviderUnderTest>() {
    let fixture = Arc::new(Fixture::<P>::start(Setup::default()).await);
    let mut one = fixture.connect(Visitor::user("ann")).await;
    let mut two = fixture.connect(Visitor::user("bob")).await;
    let publishers = (0..8).map(|publisher| {
        let fixture = Arc::clone(&fixture);
        tokio::spawn(async move {
            let mut sent = Vec::new();
            for n in 0..100 {
                let label = format!("{publisher}-{n}");
                let receipt = fixture.note(Target::all(), &label).await;
                sent.push((receipt.position.expect("a position"), label));
            }
            sent
        })
    });
    let mut sent: Vec<_> =
        join_all(publishers).await.into_iter().flat_map(|sent| sent.expect("the publisher ends")).collect();
    sent.sort();
    assert!(sent.windows(2).all(|pair| pair[1].0 == pair[0].0.next()), "positions without a gap");
    let expected: Vec<String> = sent.into_iter().map(|(_, label)| label).collect();
    let mark = fixture.mark().await;
    assert_eq!(one.labels_until(&mark).await, expected);
    assert_eq!(two.labels_until(&mark).await, expected);
}

/// Returns an event of 32 KiB that begins with its number.
fn bulky(number: usize) -> Event {
    Event::json("bulk", &format!("{number:08}{}", "x".repeat(32 * 1024))).expect("text has a JSON form")
}

fn number_of(payload: &serde_json::Value) -> usize {
    payload.as_str().and_then(|text| text.get(..8)?.parse().ok()).expect("a numbered payload")
}

/// Sends to a client that does not read until its outbox overflows, and then `more` events; returns
/// the number of all events.
async fn fill<P: ProviderUnderTest>(fixture: &Fixture<P>, more: usize) -> usize {
    let mut sent = 0;
    let mut left = more;
    while left > 0 {
        fixture.broadcast().to_user("slow", bulky(sent)).await.expect("sent");
        sent += 1;
        left -= usize::from(fixture.provider.stats().overflows > 0);
        assert!(sent < 4_000, "expected an overflow after 128 MB for a client that does not read");
    }
    sent
}

/// A client that does not read overflows its outbox without affecting others, and later gets
/// everything, once and in order.
pub async fn overflowed_client_catches_up<P: ProviderUnderTest>() {
    let outbox = OutboxConfig::default().with_frames(4).with_bytes(96 * 1024);
    let fixture = Fixture::<P>::start(Setup::default().with_outbox(outbox)).await;
    let mut slow = fixture.connect(Visitor::user("slow")).await;
    let mut quick = fixture.connect(Visitor::user("quick")).await;
    let sent = fill(&fixture, 20).await;
    assert_eq!(fixture.provider.stats().behind, 1);
    assert!(fixture.labels(&mut quick).await.is_empty(), "no event for the other client");
    for number in 0..sent {
        let received = slow.next().await;
        assert_eq!((received.name.as_str(), number_of(&received.payload)), ("bulk", number));
    }
    assert_eq!(fixture.labels(&mut slow).await, ["mark 0"]);
    fixture.note(Target::user("slow"), "live again").await;
    assert_eq!(fixture.labels(&mut slow).await, ["live again"]);
    eventually("no connection is behind", || fixture.provider.stats().behind == 0).await;
    assert_complete(&fixture);
}

/// A client whose position has left the window gets `lost` in place of the gap, and continues after
/// it.
pub async fn lost_is_reported_in_band<P: ProviderUnderTest>() {
    let setup = Setup::default()
        .with_outbox(OutboxConfig::default().with_frames(4).with_bytes(96 * 1024))
        .with_window(WindowConfig::default().with_records(20));
    let fixture = Fixture::<P>::start(setup).await;
    let mut slow = fixture.connect(Visitor::user("slow")).await;
    let sent = fill(&fixture, 40).await;
    let mut next = 0;
    let mut losses = 0;
    while next < sent {
        let received = slow.next().await;
        if received.name == "lost" {
            let position = |field: &str| {
                let cursor = received.payload[field].as_str().and_then(|text| text.parse::<Cursor>().ok());
                cursor.unwrap_or_else(|| panic!("expected {field} in {}", received.payload)).position().get() as usize
            };
            // Position n carries the event with number n - 1.
            assert_eq!(position("from"), next, "no gap before the loss");
            assert!(position("until") > next, "{}", received.payload);
            assert_eq!(received.cursor.as_deref(), received.payload["until"].as_str());
            next = position("until");
            losses += 1;
        } else {
            assert_eq!((received.name.as_str(), number_of(&received.payload)), ("bulk", next));
            next += 1;
        }
    }
    assert_eq!(losses, fixture.provider.stats().lost, "every loss is counted and reported");
    assert!(losses > 0, "the window is smaller than what was sent");
    assert!(fixture.labels(&mut slow).await.is_empty());
}
