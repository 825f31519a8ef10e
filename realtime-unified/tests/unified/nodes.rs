//! Services that share a log and a directory: nodes, and a process that only publishes.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{Shared, by_token, sse_client, ws_client};
use realtime_unified::stats::{OnlineCount, OnlineIn};
use realtime_unified::{
    AckStatus, AllowRooms, CloseReason, Error, Event, NotificationService, SseConfig, SseProvider, Target, WsConfig,
    WsProvider,
};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

async fn node(shared: &Shared, name: &str) -> (NotificationService, SocketAddr) {
    let node = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .authenticator(by_token)
        .room_policy(AllowRooms);
    shared.start(name, node).await
}

#[tokio::test]
async fn publisher_sends_over_one_provider_or_all() {
    let shared = Shared::default();
    let (_service, address) = node(&shared, "a").await;
    let (mut ws, mut sse) = (ws_client(address, "/ws?token=ann").await, sse_client(address, "/sse?token=ann").await);
    let publisher = shared.publisher().await;
    let receipt = publisher.to_user("ann", "first", &1).await.unwrap();
    assert_eq!((receipt.position.map(|at| at.get()), receipt.delivered), (Some(1), None));
    publisher.broadcast_to_user("ws", "ann", "second", &2).await.unwrap();
    publisher.broadcast_to_user("socketio", "ann", "not here", &3).await.unwrap();
    publisher.join_room("ann", "team").await.unwrap();
    publisher.to_room("team", "third", &3).await.unwrap();
    let keyed = || Event::json("fourth", &4).unwrap().with_idempotency_key("4");
    assert!(!publisher.send(Target::user("ann"), keyed()).await.unwrap().repeated());
    assert!(publisher.send(Target::user("ann"), keyed()).await.unwrap().repeated());
    publisher.send(Target::user("ann"), Event::json("fifth", &5).unwrap().as_volatile()).await.unwrap();
    // No SSE provider can carry it, which the publisher does not know.
    publisher.send(Target::user("ann"), Event::binary("bytes", "b").unwrap()).await.unwrap();
    publisher.leave_room("ann", "team").await.unwrap();
    publisher.to_room("team", "not for ann", &0).await.unwrap();
    publisher.to_all("last", &6).await.unwrap();
    let expected =
        [("ws", &["first", "second", "third", "fourth", "last"][..]), ("sse", &["first", "third", "fourth", "last"])];
    for (transport, expected) in expected {
        let mut names = Vec::new();
        while names.last().is_none_or(|last| last != "last") {
            let name =
                if transport == "ws" { ws.next_event().await.unwrap().event } else { sse.next().await.unwrap().event };
            // An event that skips the log has no place among the others.
            if !["connected", "fifth", "bytes"].contains(&&*name) {
                names.push(name);
            }
        }
        assert_eq!(names, expected, "{transport}");
    }
}

#[tokio::test]
async fn publisher_asks_and_closes_at_all_nodes() {
    let shared = Shared::default();
    let ((_one, first), (_two, second)) = (node(&shared, "a").await, node(&shared, "b").await);
    let clients = [ws_client(first, "/ws?token=ann").await, ws_client(second, "/ws?token=ann").await];
    for client in clients {
        let mut client = client.answer_asks(|ask| Some(json!([ask.payload, "yes"])));
        tokio::spawn(async move { while client.next_event().await.is_ok() {} });
    }
    let publisher = shared.publisher().await;
    let acks = publisher.ask("ann", Event::json("dinner?", "pizza").unwrap(), LONG).await.unwrap();
    let replies = acks.all().await;
    assert_eq!(replies.len(), 2);
    for reply in replies {
        let answer = (reply.status, reply.provider, reply.json::<Value>().unwrap());
        assert_eq!(answer, (AckStatus::Answered, "ws", json!(["pizza", "yes"])));
    }
    assert_eq!(publisher.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 2);
    assert_eq!(publisher.nodes().await.unwrap().len(), 2, "a publisher is no node");
}

#[tokio::test]
async fn publisher_refuses_what_it_cannot_know() {
    let shared = Shared::default();
    let publisher = shared.publisher().await;
    let unsupported = |error| matches!(error, Err(Error::Unsupported { .. }));
    assert!(unsupported(publisher.user_rooms("ann").await.map(drop)));
    assert!(unsupported(publisher.online_users(&OnlineIn::Room("r".to_owned()), None, 1).await.map(drop)));
    assert!(unsupported(
        publisher.broadcast(&["sse"], Target::all(), Event::binary("b", "b").unwrap()).await.map(drop)
    ));
    assert!(matches!(publisher.broadcast_to_all("other", "e", &1).await, Err(Error::UnknownProvider { .. })));
    let builder = NotificationService::publisher(shared.backplane.clone());
    let built = builder.provider(WsProvider::new(WsConfig::default())).build().await;
    assert!(matches!(built, Err(Error::Config(_))));
}

#[tokio::test]
async fn service_knows_nodes_users_and_health() {
    let shared = Shared::default();
    let ((one, first), (two, second)) = (node(&shared, "a").await, node(&shared, "b").await);
    let _clients = [ws_client(first, "/ws?token=ann").await, ws_client(second, "/ws?token=bob&channel=lobby").await];
    let mut names: Vec<_> = one.nodes().await.unwrap().into_iter().map(|node| node.name.unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["a", "b"]);
    while one.online_count(&OnlineIn::Everywhere).await.unwrap() != OnlineCount::new(2, 2) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let lobby = OnlineIn::Room("lobby".to_owned());
    let users = two.online_users(&lobby, None, 10).await.unwrap();
    assert_eq!(users.iter().map(|user| &*user.user).collect::<Vec<_>>(), ["bob"]);
    let online = one.online("bob").await.unwrap();
    assert_eq!(Some(online[0].node), two.health().map(|health| health.node.id));
    let health = one.health().unwrap();
    assert!(health.ready && health.error.is_none(), "{health:?}");
}
