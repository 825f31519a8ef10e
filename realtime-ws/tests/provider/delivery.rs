//! Events and asks of the server: in order, without loss, to the connections of their target.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crate::support::{Client, Server};
use futures_util::{SinkExt, StreamExt};
use realtime_core::{
    AckStatus, CloseReason, Drain, Event, Handlers, Identity, OutboxConfig, RealtimeProvider, Reply, SocketIoBroadcast,
    Target, WindowConfig,
};
use realtime_testkit::{eventually, in_time};
use realtime_ws::{WsConfig, WsProvider};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

fn provider_with(config: WsConfig) -> WsProvider {
    WsProvider::new(config).on("echo", async |_, value: Value| Reply(value))
}

async fn server_with(config: WsConfig) -> Server {
    Server::start(provider_with(config)).await
}

/// Reads `count` events, which must be the numbers from 0 on, each with a cursor of its own.
async fn numbers(client: &mut Client, count: usize) {
    let mut last = String::new();
    for i in 0..count {
        let event = client.json().await;
        assert_eq!((&event["type"], &event["payload"]["n"]), (&json!("number"), &json!(i)), "{event}");
        let id = event["id"].as_str().unwrap().to_owned();
        assert_ne!(id, last);
        last = id;
    }
}

#[tokio::test]
async fn each_target_reaches_only_its_connections() {
    let server = server_with(WsConfig::default()).await;
    let mut ann = server.client_at("/ws?user=ann&tenant=acme&channel=news").await;
    let mut bob = server.client_at("/ws?user=bob&tenant=acme").await;
    let mut eve = server.client_at("/ws?user=eve&tenant=other&channel=news").await;
    let ann_id = ann.id().parse().unwrap();
    server.send(Target::user("ann"), "e", &"user").await;
    server.send(Target::tenant("acme"), "e", &"tenant").await;
    server.send(Target::room("news"), "e", &"room").await;
    server.send(Target::room_in("acme", "news"), "e", &"room in").await;
    server.send(Target::connection(ann_id), "e", &"connection").await;
    server.send(Target::all().except_user("bob"), "e", &"except").await;
    server.send(Target::all(), "e", &"all").await;
    let mut got = Vec::new();
    for (client, count) in [(&mut ann, 7), (&mut bob, 2), (&mut eve, 3)] {
        let mut payloads = Vec::new();
        for _ in 0..count {
            payloads.push(client.json().await["payload"].as_str().unwrap().to_owned());
        }
        payloads.sort_unstable();
        got.push(payloads.join(", "));
    }
    assert_eq!(got, ["all, connection, except, room, room in, tenant, user", "all, tenant", "all, except, room"]);
}

#[tokio::test]
async fn burst_of_five_thousand_events_arrives_in_order() {
    let server = server_with(WsConfig::default()).await;
    let mut client = server.client("ann").await;
    let publisher = async {
        for n in 0..5_000 {
            server.send(Target::user("ann"), "number", &json!({"n": n})).await;
        }
    };
    tokio::join!(publisher, numbers(&mut client, 5_000));
    assert_eq!(server.stats().dropped, 0);
}

#[tokio::test]
async fn client_that_falls_behind_catches_up_in_order() {
    let outbox = OutboxConfig::default().with_frames(16);
    let server = server_with(WsConfig::default().with_outbox(outbox)).await;
    let mut healthy = server.client("healthy").await;
    let mut client = server.client("ann").await;
    // More than the buffers of both sides hold, so that the client falls behind.
    let padding = "x".repeat(4_000);
    for n in 0..5_000 {
        server.send(Target::user("ann"), "number", &json!({"n": n, "padding": padding})).await;
    }
    let stats = server.stats();
    assert!(stats.overflows > 0 && stats.behind == 1, "{stats:?}");
    server.check(&mut healthy).await;
    // In steps, as a slow client reads.
    numbers(&mut client, 1_000).await;
    server.check(&mut healthy).await;
    let mut rest = client;
    for n in 1_000..5_000 {
        assert_eq!(rest.json().await["payload"]["n"], n);
    }
    assert_eq!((server.stats().dropped, server.stats().lost), (0, 0));
    eventually("no connection is behind", || server.stats().behind == 0).await;
}

#[tokio::test]
async fn reader_slower_than_the_window_gets_lost() {
    let config = WsConfig::default()
        .with_outbox(OutboxConfig::default().with_frames(16))
        .with_window(WindowConfig::default().with_records(50));
    let server = server_with(config).await;
    let mut client = server.client("ann").await;
    let padding = "x".repeat(8_000);
    for n in 0..3_000 {
        server.send(Target::user("ann"), "number", &json!({"n": n, "padding": padding})).await;
    }
    let mut expected = 0;
    let mut lost = 0;
    while expected < 3_000 {
        let event = client.json().await;
        if event["type"] == "lost" {
            lost += 1;
            assert_eq!(event["id"], event["payload"]["until"]);
            continue;
        }
        let n = event["payload"]["n"].as_u64().unwrap();
        assert!(n == expected || (lost > 0 && n > expected), "{n} after {expected}");
        expected = n + 1;
    }
    assert!(lost > 0);
    assert_eq!(server.stats().lost, lost);
}

#[tokio::test]
async fn client_resumes_from_its_cursor() {
    let server = server_with(WsConfig::default()).await;
    let mut first = server.client_at("/ws?user=ann&channel=news").await;
    server.send(Target::user("ann"), "number", &json!({"n": 0})).await;
    let cursor = first.json().await["id"].as_str().unwrap().to_owned();
    drop(first);
    server.hooks.close_of("ann").await;
    server.send(Target::user("ann"), "number", &json!({"n": 1})).await;
    server.send(Target::user("bob"), "number", &json!({"n": -1})).await;
    server.send(Target::room("news"), "number", &json!({"n": 2})).await;
    let mut again = server.client_at(&format!("/ws?user=ann&channel=news&lastEventId={cursor}")).await;
    assert_eq!(again.welcome["payload"]["resumed"], true);
    assert_eq!(again.welcome["payload"]["reason"], "resumed");
    server.send(Target::user("ann"), "number", &json!({"n": 3})).await;
    for n in 1..=3 {
        assert_eq!(again.json().await["payload"]["n"], n);
    }
    for wrong in ["nonsense", "AAAA", &cursor[1..]] {
        let client = server.client_at(&format!("/ws?user=ann&lastEventId={wrong}")).await;
        assert_eq!(client.welcome["payload"]["resumed"], false);
        assert_eq!(client.welcome["payload"]["reason"], "invalid", "{wrong}");
    }
}

#[tokio::test]
async fn quiet_client_gets_a_cursor_to_resume_from() {
    let config = WsConfig::default().with_window(WindowConfig::default().with_records(40));
    let server = server_with(config).await;
    let mut quiet = server.client("quiet").await;
    for n in 0..20 {
        server.send(Target::user("ann"), "number", &json!({"n": n})).await;
    }
    let cursor = quiet.envelope().await;
    assert_eq!(cursor["type"], "cursor");
    assert_eq!(cursor.as_object().unwrap().len(), 2);
    for n in 20..50 {
        server.send(Target::user("ann"), "number", &json!({"n": n})).await;
    }
    // The cursor of the welcome has expired, this one has not.
    let id = cursor["id"].as_str().unwrap();
    let again = server.client_at(&format!("/ws?user=quiet&lastEventId={id}")).await;
    assert_eq!(again.welcome["payload"]["resumed"], true);
    let welcome = quiet.welcome["id"].as_str().unwrap();
    let lost = server.client_at(&format!("/ws?user=quiet&lastEventId={welcome}")).await;
    assert_eq!(lost.welcome["payload"]["reason"], "expired");
}

#[tokio::test]
async fn large_events_and_any_text_arrive_unchanged() {
    let server = server_with(WsConfig::default()).await;
    let mut client = server.client("ann").await;
    let texts =
        ["", "\n", "\r\n", "\0", "\"\\", "ä😀\u{2028}", &"x".repeat(125), &"y".repeat(70_000), &"z\n".repeat(1 << 20)];
    for text in texts {
        server.send(Target::user("ann"), "text", &text).await;
        assert_eq!(client.json().await["payload"], *text);
    }
}

/// Reads a question and answers it.
async fn answer(client: &mut Client, payload: Value) {
    let ask = client.json().await;
    assert_eq!((&ask["type"], &ask["payload"]), (&json!("question"), &json!("?")));
    assert!(ask.get("id").is_none());
    client.send(&json!({"type": "ack", "ack": ask["ack"], "payload": payload})).await;
}

#[tokio::test]
async fn ask_reports_the_outcome_of_each_connection() {
    let server = server_with(WsConfig::default()).await;
    let mut answering = server.client("ann").await;
    let mut leaving = server.client("ann").await;
    let mut silent = server.client("ann").await;
    let ids = [answering.id(), leaving.id(), silent.id()];
    let question = Event::json("question", &"?").unwrap();
    let io = server.provider.socket_io().unwrap();
    // One client answers, one disconnects, and the ask waits for the third until its timeout.
    let (acks, ()) = tokio::join!(
        async { io.to_user_with_ack("ann", question, Duration::from_millis(1500)).await.unwrap().all().await },
        async {
            answer(&mut answering, json!({"yes": [1]})).await;
            leaving.json().await;
            leaving.socket.close(None).await.unwrap();
            silent.json().await;
        }
    );
    let outcome = |id: &String| acks.iter().find(|ack| ack.connection.to_string() == *id).unwrap();
    assert_eq!(acks.len(), 3);
    assert_eq!(outcome(&ids[0]).status, AckStatus::Answered);
    assert_eq!(outcome(&ids[0]).json::<Value>().unwrap(), json!({"yes": [1]}));
    assert!(outcome(&ids[0]).elapsed < Duration::from_millis(1500));
    assert_eq!(outcome(&ids[1]).status, AckStatus::Gone);
    assert_eq!(outcome(&ids[2]).status, AckStatus::TimedOut);
    // A late answer is ignored.
    silent.send(&json!({"type": "ack", "ack": 1, "payload": 1})).await;
    silent.send(&json!({"type": "echo", "payload": 2, "ack": 3})).await;
    assert_eq!(silent.json().await["payload"], 2);
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
    answer(&mut client, json!("forty-two")).await;
    assert_eq!(client.json().await, json!({"type": "ack", "ack": 1, "payload": "forty-two"}));
}

#[tokio::test]
async fn room_joined_by_the_server_gets_asks() {
    let server = server_with(WsConfig::default()).await;
    let mut client = server.client("ann").await;
    let rooms = server.provider.rooms().unwrap();
    rooms.join_room("ann", "secret").await.unwrap();
    assert_eq!(rooms.user_rooms("ann").await.unwrap(), ["secret"]);
    let question = Event::json("question", &"?").unwrap();
    let io = server.provider.socket_io().unwrap();
    let (acks, ()) = tokio::join!(
        async { io.to_room_with_ack("secret", question, Duration::from_secs(20)).await.unwrap().all().await },
        answer(&mut client, json!(1))
    );
    assert_eq!(acks.len(), 1);
    rooms.leave_room("ann", "secret").await.unwrap();
    let receipt = server.provider.broadcast().to_room("secret", Event::json("e", &1).unwrap()).await.unwrap();
    assert_eq!(receipt.delivered.unwrap().matched, 0);
}

#[tokio::test]
async fn volatile_events_have_no_cursor() {
    let server = server_with(WsConfig::default()).await;
    let mut client = server.client("ann").await;
    let typing = Event::json("typing", &1).unwrap().volatile();
    server.provider.broadcast().to_user("ann", typing).await.unwrap();
    assert_eq!(client.json().await, json!({"type": "typing", "payload": 1}));
}

#[tokio::test]
async fn close_by_the_server_has_code_and_text() {
    let server = server_with(WsConfig::default()).await;
    let mut healthy = server.client("healthy").await;
    let mut client = server.client("ann").await;
    server.send(Target::user("ann"), "last", &1).await;
    let reason = CloseReason::new(4321, "enough of you", false);
    assert_eq!(server.provider.close(Target::user("ann"), reason.clone()).await.unwrap(), 1);
    // An event that was sent before the close arrives before it.
    assert_eq!(client.json().await["type"], "last");
    assert_eq!(client.closed().await, (4321, "enough of you".to_owned()));
    assert_eq!(server.hooks.close_of("ann").await, reason);
    server.check(&mut healthy).await;
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
async fn shutdown_closes_every_connection() {
    let server = server_with(WsConfig::default()).await;
    let mut clients = Vec::new();
    for i in 0..20 {
        clients.push(server.client(&format!("user{i}")).await);
    }
    let readers = async {
        for client in &mut clients {
            assert_eq!(client.closed().await, (1012, "service restart".to_owned()));
        }
    };
    tokio::join!(server.provider.shutdown(Drain::over(Duration::from_secs(1)).hold(Duration::ZERO)), readers);
    assert_eq!(server.stats().connections, 0);
    let closes: Vec<_> = server.hooks.calls().into_iter().filter_map(|call| call.ended).collect();
    assert_eq!(closes.len(), 20);
    assert!(closes.iter().all(|reason| *reason == CloseReason::RESTART));
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
