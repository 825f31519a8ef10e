//! Series of which only the newest event matters to a client that catches up, and the stats of each
//! connection.

use crate::support::{CoreProvider, Guest, eventually, note};
use realtime_core::{
    ConnectionStats, Event, OutboxConfig, RealtimeBroadcast, RealtimeProvider, RoomMembership, Target,
};
use realtime_testkit::conformance::{Setup, Visitor};

async fn provider() -> CoreProvider {
    CoreProvider::started(Setup::default().with_outbox(OutboxConfig::default().with_frames(4))).await
}

fn price(of: &str, text: &str) -> Event {
    note(text).with_latest_key(of)
}

/// Returns the stats of the user's only connection.
async fn stats_of(provider: &CoreProvider, user: &str) -> ConnectionStats {
    let mut stats = provider.connections(&Target::user(user));
    assert_eq!(stats.len(), 1);
    stats.remove(0)
}

#[tokio::test]
async fn live_connection_gets_every_event_of_a_series() {
    let provider = provider().await;
    let mut guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    for n in 0..10 {
        let text = n.to_string();
        provider.dispatcher.to_user("ann", price("a", &text)).await.unwrap();
        assert!(guest.texts_until(&text).await.is_empty(), "none is missing before {n}");
    }
    assert_eq!(provider.stats().superseded, 0);
}

#[tokio::test]
async fn resumed_client_gets_newest_event_of_each_key_in_order() {
    let provider = provider().await;
    let cursor = Guest::left(&provider, Visitor::user("ann")).await;
    for n in 0..5 {
        provider.dispatcher.to_user("ann", price("a", &format!("a{n}"))).await.unwrap();
        provider.dispatcher.to_user("ann", note(&format!("plain {n}"))).await.unwrap();
        provider.dispatcher.to_user("ann", price("b", &format!("b{n}"))).await.unwrap();
    }
    let mut resumed = Guest::by_sink(&provider, Visitor::user("ann").with_cursor(&cursor)).await;
    provider.dispatcher.to_all(note("end")).await.unwrap();
    let expected = ["plain 0", "plain 1", "plain 2", "plain 3", "a4", "plain 4", "b4"];
    assert_eq!(resumed.texts_until("end").await, expected);
    let stats = stats_of(&provider, "ann").await;
    assert_eq!((stats.superseded, stats.lost, stats.resumed, stats.behind), (8, 0, true, false));
    assert_eq!(provider.stats().superseded, 8);
}

#[tokio::test]
async fn newer_event_for_others_does_not_supersede() {
    let provider = provider().await;
    let cursor = Guest::left(&provider, Visitor::user("ann").with_tenant("acme")).await;
    let send = async |target: Target, text: &str| {
        provider.dispatcher.send(target, price("k", text)).await.unwrap();
    };
    send(Target::user("ann"), "to ann").await;
    send(Target::user("bob"), "to bob").await;
    send(Target::tenant("acme"), "to acme").await;
    send(Target::tenant("other"), "to other").await;
    send(Target::all().except_user("ann"), "to all but ann").await;
    send(Target::all(), "to all").await;
    send(Target::all().except_user("ann"), "to all but ann again").await;
    let mut resumed = Guest::by_sink(&provider, Visitor::user("ann").with_tenant("acme").with_cursor(&cursor)).await;
    send(Target::all(), "end").await;
    let texts = resumed.texts_until("end").await;
    // The last event may have been sent before the client had read so far.
    assert!(texts == ["to ann", "to acme", "to all"] || texts == ["to ann", "to acme"], "{texts:?}");
}

#[tokio::test]
async fn newer_event_after_leaving_the_room_does_not_supersede() {
    let provider = provider().await;
    let guest = Guest::by_sink(&provider, Visitor::user("ann")).await;
    provider.dispatcher.join_room("ann", "r").await.unwrap();
    let cursor = guest.cursor.clone();
    drop(guest);
    provider.dispatcher.to_room("r", price("k", "1")).await.unwrap();
    provider.dispatcher.to_room("r", price("k", "2")).await.unwrap();
    provider.dispatcher.leave_room("ann", "r").await.unwrap();
    provider.dispatcher.to_room("r", price("k", "3")).await.unwrap();
    let mut resumed = Guest::by_sink(&provider, Visitor::user("ann").with_cursor(&cursor)).await;
    assert_eq!(resumed.texts(&provider).await, ["2"]);
}

#[tokio::test]
async fn stats_show_that_a_connection_is_behind() {
    let provider = provider().await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let mut other = Guest::by_session(&provider, Visitor::user("bob")).await;
    for n in 0..50 {
        provider.dispatcher.to_user("ann", note(&n.to_string())).await.unwrap();
        // Lets the session take the events one by one instead of all together.
        tokio::task::yield_now().await;
    }
    provider.dispatcher.to_all(note("mark")).await.unwrap();
    assert!(other.texts_until("mark").await.is_empty());
    let stats = stats_of(&provider, "ann").await;
    assert!(stats.behind && stats.lag > 0 && stats.lag <= 51, "{stats:?}");
    assert!(stats.overflows <= 1, "{stats:?}");
    provider.dispatcher.to_user("ann", note("typing").as_volatile()).await.unwrap();
    provider.dispatcher.to_user("ann", note("typing").as_volatile()).await.unwrap();
    assert_eq!(stats_of(&provider, "ann").await.dropped, 1, "the other one is in the volatile lane");
    let live = stats_of(&provider, "bob").await;
    assert_eq!((live.behind, live.lag, live.queued_events, live.waiting_ms), (false, 0, 0, 0));
    assert_eq!((live.events_out, live.dropped, live.overflows), (2, 0, 0), "the connected event and the mark");
    assert!(guest.texts_until("mark").await.len() >= 50);
    eventually("the connection is live", || provider.connections(&Target::user("ann"))[0].lag == 0).await;
    let stats = stats_of(&provider, "ann").await;
    assert_eq!((stats.behind, stats.queued_events, stats.cursor), (false, 0, guest.cursor.clone()));
    assert_eq!(provider.connections(&Target::all()).len(), 2);
    assert!(provider.connections(&Target::tenant("acme")).is_empty());
}
