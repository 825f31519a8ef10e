//! Clients that do not read.

use std::net::SocketAddr;
use std::time::Duration;

use super::client::{Client, Opening, TRANSPORTS};
use super::{by_tenant, explain, over, send};
use crate::support::start;
use realtime_unified::config::WindowConfig;
use realtime_unified::explanation::{DropReason, Fate};
use realtime_unified::{
    AllowRooms, Event, EventId, NotificationService, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, Target,
    WsConfig, WsProvider,
};

/// A service with a window of this many records.
async fn started(records: usize) -> (NotificationService, SocketAddr) {
    let window = WindowConfig::default().with_records(records);
    let builder = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default().with_window(window)))
        .provider(WsProvider::new(WsConfig::default().with_window(window)))
        .provider(SocketIoProvider::new(SocketIoConfig::default().with_window(window)))
        .authenticator(by_tenant)
        .room_policy(AllowRooms);
    start(builder).await
}

/// Sends large events until one of them waits for a client that does not read; returns it.
async fn send_until_queued(service: &NotificationService, transport: &str) -> EventId {
    let text = "x".repeat(500_000);
    for _ in 0..100 {
        let event = send(service, &text).await;
        if !is_written_soon(service, event, transport).await {
            return event;
        }
    }
    panic!("50 MB went to a client that does not read");
}

/// Returns whether a client that does not read is given an event: its session takes what the socket
/// accepts, which may be a moment later.
async fn is_written_soon(service: &NotificationService, event: EventId, transport: &str) -> bool {
    for _ in 0..40 {
        match over(&explain(service, event).await, transport).fate {
            Fate::Written => return true,
            Fate::Queued => tokio::time::sleep(Duration::from_millis(5)).await,
            ref fate => panic!("{fate:?}"),
        }
    }
    false
}

#[tokio::test]
async fn event_waits_and_is_lost_when_it_leaves_the_window() {
    for transport in TRANSPORTS {
        let (service, address) = started(16).await;
        let mut client = Client::open(address, transport, "ann", Opening::default()).await;
        let event = send_until_queued(&service, transport).await;
        for _ in 0..40 {
            send(&service, "small").await;
        }
        client.next_of("lost").await;
        let explanation = explain(&service, event).await;
        let known = over(&explanation, transport);
        let position = explanation.published.as_ref().unwrap().position;
        match known.fate {
            Fate::Dropped { why: DropReason::Lost { from, until } } => {
                assert!(from < position && position <= until && known.lost.contains(&(from, until)), "{explanation}");
            }
            _ => panic!("{explanation}"),
        }
    }
}

#[tokio::test]
async fn older_events_of_a_series_are_superseded() {
    for transport in TRANSPORTS {
        let (service, address) = started(10_000).await;
        let mut client = Client::open(address, transport, "ann", Opening::default()).await;
        send_until_queued(&service, transport).await;
        let mut prices = Vec::new();
        for price in 0..3 {
            let event = Event::json("price", &price).unwrap().with_latest_key("gold");
            prices.push(service.send(Target::user("ann"), event).await.unwrap().id);
        }
        service.to_user("ann", "end", &()).await.unwrap();
        client.next_of("end").await;
        let expected = [Fate::Superseded, Fate::Superseded, Fate::Written];
        for (event, fate) in prices.into_iter().zip(expected) {
            let explanation = explain(&service, event).await;
            assert_eq!(over(&explanation, transport).fate, fate, "{explanation}");
        }
    }
}
