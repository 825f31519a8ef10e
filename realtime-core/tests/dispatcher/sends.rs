//! Sends that bypass the log, and the recipients of a room's events.

use std::sync::Arc;
use std::time::Duration;

use crate::support::{CoreProvider, Guest, in_time, note, runtime};
use futures_util::StreamExt;
use realtime_core::spi::Backplane;
use realtime_core::{
    ConnectionId, Error, MemoryBackplane, NodeId, OutboxConfig, RealtimeBroadcast, RealtimeProvider, RoomDelivery,
    Target,
};
use realtime_testkit::conformance::{Setup, Visitor};

async fn node(backplane: &MemoryBackplane, setup: Setup) -> CoreProvider {
    CoreProvider::attached(setup, runtime().with_backplane(backplane.clone())).await
}

fn small() -> Setup {
    Setup::default().with_outbox(OutboxConfig::default().with_frames(8))
}

/// A room event of the provider's own broadcast reaches everyone at the nodes with
/// `RoomDelivery::Everyone`, from any sending node; one over all providers reaches members only.
#[tokio::test(start_paused = true)]
async fn room_delivery_is_decided_by_the_receiving_node() {
    let backplane = MemoryBackplane::default();
    let mut to_everyone = Setup::default();
    to_everyone.room_delivery = RoomDelivery::Everyone;
    let nodes = [node(&backplane, to_everyone).await, node(&backplane, Setup::default()).await];
    let mut everyone = Guest::by_session(&nodes[0], Visitor::user("ann")).await;
    let mut members = Guest::by_session(&nodes[1], Visitor::user("ben")).await;
    for (sender, matched) in nodes.iter().zip([1, 0]) {
        let receipt = sender.dispatcher.to_room("room", note("own")).await.unwrap();
        assert_eq!(receipt.delivered.unwrap().matched, matched);
        let volatile = sender.dispatcher.to_room("room", note("volatile").as_volatile()).await.unwrap();
        assert_eq!(volatile.delivered.unwrap().matched, matched);
        let log = &sender.dispatcher.runtime().unwrap().log;
        let receipt = log.send(None, Target::room("room"), note("over all")).await.unwrap();
        assert_eq!(receipt.delivered.unwrap().matched, 0);
        sender.dispatcher.to_all(note("end")).await.unwrap();
        let mut received = everyone.texts_until("end").await;
        received.sort();
        assert_eq!(received, ["own", "volatile"]);
        assert!(members.texts_until("end").await.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn connection_event_is_published_only_if_not_local() {
    let backplane = MemoryBackplane::default();
    let one = node(&backplane, Setup::default()).await;
    let mut pipe = backplane.subscribe(NodeId::random()).await.unwrap();
    let mut local = Guest::by_session(&one, Visitor::user("ann")).await;
    one.dispatcher.send(Target::connection(local.id), note("here")).await.unwrap();
    assert_eq!(local.next().await.payload, "here");
    let elsewhere = ConnectionId::random();
    one.dispatcher.send(Target::connection(elsewhere), note("elsewhere")).await.unwrap();
    let message = in_time("a message", pipe.next()).await.unwrap();
    let record = message.decode().unwrap();
    assert_eq!(record.event().unwrap(), (&Target::connection(elsewhere), &note("elsewhere")));
}

#[tokio::test(start_paused = true)]
async fn send_to_one_connection_waits_until_it_reads() {
    let provider = CoreProvider::started(small()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let sending = tokio::spawn({
        let (dispatcher, id) = (Arc::clone(&provider.dispatcher), guest.id);
        async move {
            for n in 0..100 {
                dispatcher.send(Target::connection(id), note(&n.to_string())).await.unwrap();
            }
            dispatcher.send(Target::connection(id), note("end")).await.unwrap();
        }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!sending.is_finished(), "the client has not read");
    let texts = guest.texts_until("end").await;
    assert!(texts.iter().map(|text| text.parse::<usize>().unwrap()).eq(0..100), "{texts:?}");
    sending.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn volatile_send_to_one_connection_never_waits() {
    let provider = CoreProvider::started(small()).await;
    let mut guest = Guest::by_session(&provider, Visitor::user("ann")).await;
    let mut dropped = 0;
    for n in 0..100 {
        let send = provider.dispatcher.send(Target::connection(guest.id), note(&n.to_string()).as_volatile());
        dropped += in_time("a send", send).await.unwrap().delivered.unwrap().dropped;
    }
    assert!((80..100).contains(&dropped), "{dropped}");
    assert_eq!(guest.texts(&provider).await.len(), 100 - dropped, "drops do not close the connection");
}

#[tokio::test(start_paused = true)]
async fn room_event_reaches_everyone_only_if_configured() {
    for (delivery, is_for_all) in [(RoomDelivery::Everyone, true), (RoomDelivery::Members, false)] {
        let mut setup = Setup::default();
        setup.room_delivery = delivery;
        let provider = CoreProvider::started(setup).await;
        let mut member = Guest::by_session(&provider, Visitor::user("ann").with_tenant("acme").with_room("r")).await;
        let mut other = Guest::by_session(&provider, Visitor::user("bob").with_tenant("acme")).await;
        let mut stranger = Guest::by_session(&provider, Visitor::user("eve").with_tenant("globex")).await;
        let broadcast = provider.broadcast();
        broadcast.to_room("r", note("room")).await.unwrap();
        broadcast.send(Target::room_in("acme", "r"), note("of acme")).await.unwrap();
        broadcast.to_user("ann", note("user")).await.unwrap();
        broadcast.to_tenant("globex", note("tenant")).await.unwrap();
        broadcast.to_all(note("end")).await.unwrap();
        assert_eq!(member.texts_until("end").await, ["room", "of acme", "user"]);
        let expected: &[&str] = if is_for_all { &["room", "of acme"] } else { &[] };
        assert_eq!(other.texts_until("end").await, expected);
        let expected: &[&str] = if is_for_all { &["room", "tenant"] } else { &["tenant"] };
        assert_eq!(stranger.texts_until("end").await, expected);
    }
}

#[tokio::test(start_paused = true)]
async fn invalid_key_is_rejected_before_the_log() {
    let provider = CoreProvider::started(Setup::default()).await;
    let log = &provider.dispatcher.runtime().unwrap().log;
    for event in [note("1").with_idempotency_key(""), note("1").with_latest_key("a\nb")] {
        let own = provider.dispatcher.to_user("ann", event.clone()).await.unwrap_err();
        let over_all = log.send(None, Target::user("ann"), event).await.unwrap_err();
        assert!(
            matches!((&own, &over_all), (Error::InvalidName { .. }, Error::InvalidName { .. })),
            "{own}, {over_all}"
        );
    }
    let first = provider.dispatcher.to_user("ann", note("2")).await.unwrap();
    assert_eq!(first.position.unwrap().get(), 1);
}
