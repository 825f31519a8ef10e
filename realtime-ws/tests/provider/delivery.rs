//! Asks of the server, closes, and clients that stop reading, beyond the conformance suite.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::support::Server;
use futures_util::{SinkExt, StreamExt};
use realtime_core::{
    AckStatus, CloseReason, Event, Handlers, Identity, RealtimeProvider, Reply, SocketIoBroadcast, Target,
};
use realtime_testkit::in_time;
use realtime_ws::{WsConfig, WsProvider};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

fn provider_with(config: WsConfig) -> WsProvider {
    WsProvider::new(config).on("echo", async |_, value: Value| Reply(value))
}

async fn server_with(config: WsConfig) -> Server {
    Server::start(provider_with(config)).await
}

#[tokio::test]
async fn unreadable_answer_is_an_outcome_of_its_own() {
    let server = server_with(WsConfig::default()).await;
    let mut client = server.client("ann").await;
    let io = server.provider.socket_io().unwrap();
    let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
    for (payload, outcome) in
        [(r#""\ud83d""#, (AckStatus::Answered, json!("\u{fffd}"))), (&deep, (AckStatus::Unreadable, Value::Null))]
    {
        let question = Event::json("question", &"?").unwrap();
        let acks = io.to_user_with_ack("ann", question, Duration::from_secs(20)).await.unwrap();
        let ask = client.json().await;
        client.text(&format!(r#"{{"type":"ack","ack":{},"payload":{payload}}}"#, ask["ack"])).await;
        let reply = in_time("the acks", acks.all()).await.remove(0);
        assert_eq!((reply.status, reply.json::<Value>().unwrap()), outcome);
    }
    assert_eq!(client.error().await.0, "too_deep");
}

#[tokio::test]
async fn answer_does_not_wait_for_the_handler_that_asked() {
    let io: Arc<OnceLock<Arc<dyn SocketIoBroadcast>>> = Arc::default();
    let provider = provider_with(WsConfig::default()).on("ask me", {
        let io = Arc::clone(&io);
        move |_, _: Value| {
            let io = Arc::clone(io.get().unwrap());
            async move {
                let acks = io.to_user_with_ack("ann", Event::json("question", &"?")?, Duration::from_secs(20)).await?;
                Ok::<_, realtime_core::Error>(Reply(acks.all().await[0].payload.json::<Value>().ok()))
            }
        }
    });
    let server = Server::start(provider).await;
    io.set(server.provider.socket_io().unwrap()).ok().unwrap();
    let mut client = server.client("ann").await;
    client.send(&json!({"type": "ask me", "ack": 1})).await;
    let ask = client.json().await;
    client.send(&json!({"type": "ack", "ack": ask["ack"], "payload": "forty-two"})).await;
    assert_eq!(client.json().await, json!({"type": "ack", "ack": 1, "payload": "forty-two"}));
}

#[tokio::test]
async fn handler_can_close_its_connection() {
    let provider = provider_with(WsConfig::default())
        .on("bye", async |cx: realtime_core::Context, _: Value| cx.close(CloseReason::POLICY));
    let server = Server::start(provider).await;
    let mut client = server.client("ann").await;
    client.send(&json!({"type": "bye"})).await;
    assert_eq!(client.closed().await, (1008, "policy violation".to_owned()));
}

#[tokio::test]
async fn stalled_reader_is_closed_without_affecting_others() {
    let stall = Duration::from_millis(400);
    let server = server_with(WsConfig::default().with_write_stall(stall)).await;
    let mut healthy = server.client("healthy").await;
    let stalled = server.client("stalled").await;
    let large = "x".repeat(256 * 1024);
    // More than the buffers of both sides hold.
    for _ in 0..60 {
        server.send(Target::user("stalled"), "large", &large).await;
        server.check(&mut healthy).await;
    }
    let begun = std::time::Instant::now();
    assert_eq!(server.hooks.close_of("stalled").await, CloseReason::WRITE_STALL);
    assert!(begun.elapsed() < 5 * stall, "{:?}", begun.elapsed());
    let stats = server.stats();
    assert_eq!((stats.stalled, stats.connections), (1, 1));
    server.check(&mut healthy).await;
    drop(stalled);
}

#[tokio::test]
async fn kicked_client_that_does_not_read_is_closed_after_a_timeout() {
    let config = WsConfig::default().with_close_timeout(Duration::from_millis(200));
    let server = server_with(config).await;
    let silent = server.client("silent").await;
    let large = "x".repeat(256 * 1024);
    for _ in 0..60 {
        server.send(Target::user("silent"), "large", &large).await;
    }
    server.provider.close(Target::user("silent"), CloseReason::KICKED).await.unwrap();
    assert_eq!(server.hooks.close_of("silent").await, CloseReason::KICKED);
    server.connections(0).await;
    drop(silent);
}

#[tokio::test]
async fn client_that_answers_pings_stays_connected() {
    let config = WsConfig::default().with_heartbeat(Duration::from_millis(20));
    let server = server_with(config).await;
    let mut client = server.client("ann").await;
    let mut pings = 0;
    while pings < 5 {
        match in_time("a ping", client.socket.next()).await.unwrap().unwrap() {
            Message::Ping(payload) => {
                assert!(payload.is_empty());
                pings += 1;
            }
            other => panic!("expected a ping, got {other:?}"),
        }
    }
    assert_eq!(server.stats().connections, 1);
}

#[tokio::test]
async fn client_that_does_not_answer_pings_is_closed() {
    let config = WsConfig::default()
        .with_heartbeat(Duration::from_millis(20))
        .with_pong_timeout(Duration::from_millis(50))
        .with_close_timeout(Duration::from_millis(200));
    let server = server_with(config).await;
    let mut raw = server.raw("dead").await;
    assert_eq!(server.hooks.close_of("dead").await, CloseReason::HEARTBEAT);
    assert_eq!(raw.frame().await.0, 0x81, "the welcome");
    assert_eq!(raw.frame().await, (0x89, vec![]));
    assert_eq!(raw.closed().await, 4002);
    assert_eq!(server.stats().connections, 0);
}

#[tokio::test]
async fn sink_gets_the_same_envelopes_as_a_client() {
    let server = server_with(WsConfig::default()).await;
    let (sender, mut receiver) = tokio::sync::mpsc::channel::<bytes::Bytes>(16);
    let sink = futures_util::sink::unfold(sender, |sender, bytes| async move {
        sender.send(bytes).await.map_err(drop)?;
        Ok::<_, ()>(sender)
    });
    let link = server.provider.connect(Identity::user("ann"), Box::pin(sink).sink_map_err(drop)).unwrap();
    server.send(Target::user("ann"), "e", &"x".repeat(70_000)).await;
    let welcome: Value = serde_json::from_slice(&in_time("an envelope", receiver.recv()).await.unwrap()).unwrap();
    assert_eq!((&welcome["type"], &welcome["payload"]["connectionId"]), (&json!("connected"), &json!(link.id())));
    let event: Value = serde_json::from_slice(&in_time("an envelope", receiver.recv()).await.unwrap()).unwrap();
    assert_eq!(event["payload"].as_str().unwrap().len(), 70_000);
    assert_eq!(server.stats().connections, 1);
    link.close();
    server.connections(0).await;
}
