//! Messages of clients, and their handlers.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use crate::support::{Server, frame};
use futures_util::{SinkExt, StreamExt};
use realtime_core::{Context, HandlerError, Handlers, Inbound, InboundRate, Limits, RealtimeProvider, Reply, Target};
use realtime_testkit::{eventually, in_time};
use realtime_ws::{RawReply, WsConfig, WsProvider};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio_tungstenite::tungstenite::Message;

/// Returns a provider with the handler `echo`.
pub(crate) fn provider() -> WsProvider {
    WsProvider::new(WsConfig::default()).on("echo", async |_, value: Value| Reply(value))
}

#[tokio::test]
async fn first_message_is_the_welcome() {
    let server = Server::start(provider()).await;
    let client = server.client("ann").await;
    let welcome = client.welcome.clone();
    let payload = &welcome["payload"];
    assert_eq!(payload["message"], "connected");
    assert_eq!((&payload["resumed"], &payload["reason"]), (&json!(false), &json!("new")));
    assert_eq!(payload["connectionId"].as_str().unwrap().len(), 32);
    assert_eq!(welcome["id"], payload["cursor"]);
}

#[tokio::test]
async fn event_is_handled_and_answered_with_its_ack_number() {
    let server = Server::start(
        provider()
            .on("add", async |_, (a, b): (i64, i64)| Reply(a + b))
            .on("nothing", async |_, _: Value| {})
            .on("refuse", async |_, _: Value| Err::<(), _>(HandlerError::new("no", "never")))
            .on("me", async |cx: Context, _: Value| {
                cx.reply("you", &json!([cx.identity().user_name(), cx.provider(), cx.connection_id()])).await
            })
            .on_raw("raw", async |_, inbound: Inbound| {
                Reply(format!("{} {:?} {:?}", inbound.name, inbound.payload.bytes(), inbound.ack))
            }),
    )
    .await;
    let mut client = server.client("ann").await;
    client.send(&json!({"type": "add", "payload": [2, 3], "ack": 7})).await;
    assert_eq!(client.json().await, json!({"type": "ack", "ack": 7, "payload": 5}));
    client.send(&json!({"type": "nothing", "ack": 8})).await;
    assert_eq!(client.json().await, json!({"type": "ack", "ack": 8, "payload": null}));
    // Without an ack number there is no answer, but there is an error.
    client.send(&json!({"type": "add", "payload": [2, 3]})).await;
    client.send(&json!({"type": "refuse"})).await;
    assert_eq!(client.json().await, json!({"type": "error", "payload": {"code": "no", "message": "never"}}));
    client.send(&json!({"type": "refuse", "ack": 9})).await;
    assert_eq!(client.json().await, json!({"type": "error", "payload": {"code": "no", "message": "never"}, "ack": 9}));
    client.send(&json!({"type": "add", "payload": "two", "ack": 10})).await;
    assert_eq!(client.error().await, ("invalid_payload".to_owned(), json!(10)));
    client.send(&json!({"type": "me"})).await;
    assert_eq!(client.json().await, json!({"type": "you", "payload": ["ann", "ws", client.id()]}));
    client.text(r#"{"type":"raw","payload": { "a":  1 } ,"ack":0}"#).await;
    assert_eq!(client.json().await["payload"], r#"raw b"{ \"a\":  1 }" Some(0)"#);

    let stats = server.stats();
    assert_eq!((stats.events_in, stats.rejected["no"], stats.rejected["invalid_payload"]), (8, 2, 1));
    assert!(stats.bytes_in > 0 && stats.bytes_out > 0 && stats.events_out == 8, "{stats:?}");
}

#[tokio::test]
async fn invalid_messages_are_answered_with_errors_and_counted() {
    let server = Server::start(provider()).await;
    let mut healthy = server.client("healthy").await;
    let mut client = server.client("ann").await;
    let deep = format!(r#"{{"type":"echo","payload":{}{}}}"#, "[".repeat(200), "]".repeat(200));
    let bad = [
        ("not json", "invalid_json", Value::Null),
        ("{\"type\":", "invalid_json", Value::Null),
        ("[]", "invalid_envelope", Value::Null),
        (r#"{"payload":1}"#, "invalid_envelope", Value::Null),
        (r#"{"type":7}"#, "invalid_envelope", Value::Null),
        (r#"{"type":"echo","ack":-1}"#, "invalid_envelope", Value::Null),
        (r#"{"type":"nobody","ack":5}"#, "unknown_event", json!(5)),
        (r#"{"type":"nobody"}"#, "unknown_event", Value::Null),
        (r#"{"type":"","ack":6}"#, "invalid_name", json!(6)),
        (r#"{"type":"a\nb"}"#, "invalid_name", Value::Null),
        (r#"{"type":"a\u0000b"}"#, "invalid_name", Value::Null),
        (r#"{"type":"\u0001text","payload":"x"}"#, "invalid_name", Value::Null),
        (&format!(r#"{{"type":"{}"}}"#, "x".repeat(257)), "invalid_name", Value::Null),
        (r#"{"type":"connected"}"#, "reserved_name", Value::Null),
        (r#"{"type":"error","ack":7}"#, "reserved_name", json!(7)),
        (r#"{"type":"ack"}"#, "invalid_envelope", Value::Null),
        (&deep, "too_deep", Value::Null),
        (&"[".repeat(200), "too_deep", Value::Null),
    ];
    for (text, code, ack) in &bad {
        client.text(text).await;
        assert_eq!(client.error().await, ((*code).to_owned(), ack.clone()), "{text}");
    }
    in_time("a write", client.socket.send(Message::binary(vec![1, 2]))).await.unwrap();
    assert_eq!(client.error().await.0, "unexpected_binary");
    // An answer without an ask is no error.
    client.send(&json!({"type": "ack", "ack": 12345, "payload": 1})).await;
    client.send(&json!({"type": "echo", "payload": "still here", "ack": 1})).await;
    assert_eq!(client.json().await["payload"], "still here");
    let rejected = server.stats().rejected;
    assert_eq!(rejected.values().sum::<u64>(), bad.len() as u64 + 1, "{rejected:?}");
    assert_eq!((rejected["invalid_name"], rejected["too_deep"]), (5, 2));
    server.check(&mut healthy).await;
}

#[tokio::test]
async fn thousands_of_answers_arrive_in_order() {
    const EVENTS: usize = 20_000;
    let limits = Limits::default().with_inbound_per_connection(InboundRate::unlimited());
    let server =
        Server::start(WsProvider::new(WsConfig::default().with_limits(limits)).on("echo", async |_, i: usize| {
            // Some events take longer, which must not change the order.
            if i.is_multiple_of(97) {
                tokio::task::yield_now().await;
            }
            Reply(i)
        }))
        .await;
    let client = server.client("ann").await;
    let (mut sink, mut stream) = client.socket.split();
    let sender = tokio::spawn(async move {
        for i in 0..EVENTS {
            sink.feed(Message::text(format!(r#"{{"type":"echo","payload":{i},"ack":{i}}}"#))).await.unwrap();
        }
        sink.flush().await.unwrap();
        sink
    });
    for i in 0..EVENTS {
        let message = in_time("an answer", stream.next()).await.unwrap().unwrap();
        let answer: Value = serde_json::from_str(message.to_text().unwrap()).unwrap();
        assert_eq!((&answer["ack"], &answer["payload"]), (&json!(i), &json!(i)), "{answer}");
    }
    drop(in_time("the end of the sends", sender).await.unwrap());
    assert_eq!(server.stats().events_in, EVENTS as u64);
}

#[tokio::test]
async fn slow_handler_delays_neither_pings_nor_others() {
    let go = Arc::new(Notify::new());
    let server = Server::start(provider().on("slow", {
        let go = Arc::clone(&go);
        move |_, _: Value| {
            let go = Arc::clone(&go);
            async move {
                go.notified().await;
                Reply("done")
            }
        }
    }))
    .await;
    let mut healthy = server.client("healthy").await;
    let mut client = server.client("ann").await;
    client.send(&json!({"type": "slow", "ack": 1})).await;
    client.send(&json!({"type": "echo", "payload": "after", "ack": 2})).await;
    in_time("a write", client.socket.send(Message::Ping("ping".into()))).await.unwrap();
    assert_eq!(in_time("a pong", client.socket.next()).await.unwrap().unwrap(), Message::Pong("ping".into()));
    server.send(Target::user("ann"), "note", &1).await;
    assert_eq!(client.json().await["type"], "note");
    server.check(&mut healthy).await;
    go.notify_one();
    assert_eq!(client.json().await, json!({"type": "ack", "ack": 1, "payload": "done"}));
    assert_eq!(client.json().await["payload"], "after");
}

#[tokio::test]
async fn backpressure_slows_a_client_that_sends_too_fast() {
    let go = Arc::new(tokio::sync::Semaphore::new(0));
    let handled = Arc::new(AtomicUsize::new(0));
    let server = Server::start(provider().on("slow", {
        let (go, handled) = (Arc::clone(&go), Arc::clone(&handled));
        move |_, _: Value| {
            let (go, handled) = (Arc::clone(&go), Arc::clone(&handled));
            async move {
                go.acquire().await.unwrap().forget();
                handled.fetch_add(1, Ordering::SeqCst);
            }
        }
    }))
    .await;
    let mut healthy = server.client("healthy").await;
    let client = server.client("ann").await;
    let padding = "x".repeat(10_000);
    let message = json!({"type": "slow", "payload": padding}).to_string();
    // 20 MB: more than fits into the buffers of both sides.
    let sender = tokio::spawn(async move {
        let mut client = client;
        for _ in 0..2_000 {
            client.text(&message).await;
        }
        client
    });
    eventually("more than 20 events", || server.stats().events_in > 20).await;
    server.check(&mut healthy).await;
    // At most a full inbox, and one more read.
    assert!(server.stats().events_in < 100, "{}", server.stats().events_in);
    assert!(!sender.is_finished());
    go.add_permits(2_000);
    let mut client = in_time("the end of the sends", sender).await.unwrap();
    eventually("all events are handled", || handled.load(Ordering::SeqCst) == 2_000).await;
    client.send(&json!({"type": "echo", "payload": 1, "ack": 1})).await;
    assert_eq!(client.json().await["payload"], 1);
}

#[tokio::test]
async fn raw_messages_are_echoed() {
    let echo = WsProvider::new(WsConfig::default())
        .on_text(async |_, text: String| text)
        .on_binary(async |_, bytes: bytes::Bytes| bytes);
    let server = Server::start(echo).await;
    let mut client = server.client("ann").await;
    for text in ["", "hello", "null", "[1,", "{\"a\":1}", &"ä".repeat(100_000)] {
        client.text(text).await;
        assert_eq!(client.message().await, Message::text(text));
    }
    for bytes in [vec![], vec![0, 255, 10], vec![7; 1024 * 1024]] {
        in_time("a write", client.socket.send(Message::binary(bytes.clone()))).await.unwrap();
        assert_eq!(client.message().await, Message::binary(bytes));
    }
    // An envelope is still handled as one.
    client.send(&json!({"type": "nobody"})).await;
    assert_eq!(client.error().await.0, "unknown_event");
}

#[tokio::test]
async fn raw_messages_and_events_keep_their_order() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let note = |name: &'static str| {
        let order = Arc::clone(&order);
        move |what: String| {
            order.lock().unwrap().push(format!("{name} {what}"));
            RawReply::None
        }
    };
    let (text, binary, event) = (note("text"), note("binary"), note("event"));
    let server = Server::start(
        provider()
            .on_text(move |_, what| std::future::ready(text(what)))
            .on_binary(move |_, bytes| std::future::ready(binary(format!("{}", bytes.len()))))
            .on("event", move |_, what: String| {
                event(what);
                async {}
            }),
    )
    .await;
    let mut client = server.client("ann").await;
    for i in 0..30 {
        client.text(&format!("t{i}")).await;
        client.send(&json!({"type": "event", "payload": format!("e{i}")})).await;
        client.socket.send(Message::binary(vec![0; i])).await.unwrap();
    }
    client.send(&json!({"type": "echo", "ack": 1})).await;
    // The handlers answer nothing, so that the first answer is the last event's.
    assert_eq!(client.json().await["ack"], 1);
    let expected: Vec<String> =
        (0..30).flat_map(|i| [format!("text t{i}"), format!("event e{i}"), format!("binary {i}")]).collect();
    assert_eq!(*order.lock().unwrap(), expected);
}

#[tokio::test]
async fn raw_handler_can_answer_in_another_form_or_with_an_error() {
    let server = Server::start(
        provider()
            .on_text(async |_, text: String| match &*text {
                "bytes" => Ok(RawReply::Binary("b".into())),
                "nothing" => Ok(RawReply::None),
                _ => Err(HandlerError::new("no", "what?")),
            })
            .before(async |_, _| Ok(())),
    )
    .await;
    let mut client = server.client("ann").await;
    for text in ["bytes", "nothing", "other"] {
        client.text(text).await;
    }
    assert_eq!(client.message().await, Message::binary("b"));
    assert_eq!(client.json().await, json!({"type": "error", "payload": {"code": "no", "message": "what?"}}));
    // No answer is not counted: only the welcome, the bytes and the error are.
    assert_eq!(server.stats().events_out, 3);
}

#[tokio::test]
async fn fragmented_message_with_pings_between_is_handled() {
    let server = Server::start(provider()).await;
    let mut raw = server.raw("ann").await;
    let text = r#"{"type":"echo","payload":"äöü","ack":1}"#.as_bytes();
    let mut bytes = Vec::new();
    for (i, byte) in text.iter().enumerate() {
        bytes.extend(frame(if i == 0 { 0x01 } else { 0x00 }, &[*byte]));
        bytes.extend(frame(0x89, &[i as u8]));
    }
    bytes.extend(frame(0x80, b""));
    // Byte by byte, so that reads end at every position.
    raw.stream.set_nodelay(true).unwrap();
    for byte in bytes {
        raw.write(&[byte]).await;
    }
    assert_eq!(raw.frame().await.0, 0x81, "the welcome");
    for i in 0..text.len() {
        assert_eq!(raw.frame().await, (0x8a, vec![i as u8]));
    }
    assert_eq!(raw.frame().await, (0x81, r#"{"type":"ack","ack":1,"payload":"äöü"}"#.into()));
}

#[tokio::test]
async fn capabilities_match_the_provider() {
    let provider = provider();
    let can = provider.capabilities();
    assert_eq!((can.acks, can.bidirectional, can.binary, can.resume, can.rooms), (true, true, false, true, true));
    assert_eq!(provider.name(), "ws");
    assert!(provider.socket_io().is_some() && provider.rooms().is_some());
    let event = realtime_core::Event::binary("b", vec![1]).unwrap();
    assert_eq!(provider.broadcast().to_all(event).await.unwrap_err().code(), "unsupported");
}
