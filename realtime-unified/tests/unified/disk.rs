//! A service whose log is on disk, and its restart.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::support::{by_token, served, text_with, websocket};
use futures_util::StreamExt;
use realtime_unified::disk::DiskBackplane;
use realtime_unified::{
    AllowRooms, Drain, Event, NotificationService, SseConfig, SseProvider, Target, WsConfig, WsProvider,
};
use serde_json::Value;
use tokio::task::JoinHandle;

/// A service and its server.
struct Node {
    service: NotificationService,
    address: SocketAddr,
    server: JoinHandle<std::io::Result<()>>,
}

async fn started(directory: &Path) -> Node {
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .authenticator(by_token)
        .room_policy(AllowRooms)
        .backplane(DiskBackplane::open(directory).unwrap())
        .build()
        .await
        .unwrap();
    let (address, server) = served(service.router()).await;
    Node { service, address, server }
}

/// Waits until the directory can be opened again: until nothing of the service is left.
async fn stopped(node: Node, directory: &Path) {
    node.service.shutdown(Drain::now()).await;
    node.server.abort();
    drop(node);
    let closed = async {
        while DiskBackplane::open(directory).is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("the directory is free");
}

fn field(message: &str, path: &str) -> Value {
    serde_json::from_str::<Value>(message).unwrap().pointer(path).cloned().unwrap_or_default()
}

#[tokio::test]
async fn client_resumes_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let node = started(directory.path()).await;
    let service = &node.service;
    let mut ann = websocket(node.address, "/ws?token=ann").await;
    text_with(&mut ann, r#"{"type":"connected""#).await;
    service.join_room("ann", "board").await.unwrap();
    service.to_room("board", "posted", "1").await.unwrap();
    let seen = text_with(&mut ann, r#"{"type":"posted""#).await;
    let cursor = field(&seen, "/id").as_str().unwrap().to_owned();
    service.to_room("board", "posted", "2").await.unwrap();
    let event = Event::json("paid", &1).unwrap().with_idempotency_key("order 1");
    let first = service.send(Target::user("ann"), event.clone()).await.unwrap();
    stopped(node, directory.path()).await;
    drop(ann);

    let node = started(directory.path()).await;
    let service = &node.service;
    let mut ann = websocket(node.address, &format!("/ws?token=ann&lastEventId={cursor}")).await;
    let connected = text_with(&mut ann, r#"{"type":"connected""#).await;
    assert_eq!(field(&connected, "/payload/resumed"), true, "{connected}");
    let again = service.send(Target::user("ann"), event).await.unwrap();
    assert_eq!((again.id, again.repeated()), (first.id, true), "the key is known");
    service.to_room("board", "posted", "3").await.unwrap();
    let mut got = Vec::new();
    while got.len() < 3 {
        let message = ann.next().await.unwrap().unwrap().into_text().unwrap();
        got.push((field(&message, "/type"), field(&message, "/payload")));
    }
    let expected = [("posted", "\"2\""), ("paid", "1"), ("posted", "\"3\"")];
    let got: Vec<_> = got.iter().map(|(name, payload)| (name.as_str().unwrap(), payload.to_string())).collect();
    assert_eq!(got, expected.map(|(name, payload)| (name, payload.to_owned())));
}

#[tokio::test]
async fn user_stays_in_its_rooms_after_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let node = started(directory.path()).await;
    let service = &node.service;
    service.join_room("ann", "board").await.unwrap();
    service.join_room("ann", "left").await.unwrap();
    service.leave_room("ann", "left").await.unwrap();
    stopped(node, directory.path()).await;
    let node = started(directory.path()).await;
    let service = &node.service;
    assert_eq!(service.user_rooms("ann").await.unwrap(), ["board"]);
    let mut ann = websocket(node.address, "/ws?token=ann").await;
    text_with(&mut ann, r#"{"type":"connected""#).await;
    service.to_room("left", "posted", "not for ann").await.unwrap();
    service.to_room("board", "posted", "for ann").await.unwrap();
    assert_eq!(field(&text_with(&mut ann, r#"{"type":"posted""#).await, "/payload"), "for ann");
}
