//! Events from clients: attachments, several arguments, rooms, back-pressure, panics.

use std::sync::Arc;

use bytes::Bytes;
use realtime_core::{Context, Event, Handlers, Identity, Inbound, Payload, RealtimeProvider, Reply, Target};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::TRANSPORTS;
use crate::support::{Server, Setup, Transport, eventually, in_time, on_slow};

#[tokio::test]
async fn attachments_are_sent_in_both_directions() {
    let setup = Setup::default().with_handlers(|provider| {
        provider
            .on_raw("back", async |_: Context, inbound: Inbound| Payload::from(inbound.payload))
            .on_raw("on", async |cx: Context, inbound: Inbound| {
                cx.to_all().send_payload("passed", inbound.payload.into()).await
            })
    });
    let server = setup.start().await;
    let all_bytes: Vec<u8> = (0..=255).collect();
    for transport in TRANSPORTS {
        let (mut client, _) = server.client(transport, "ann").await;
        let upload = r#"["back",{"a":{"_placeholder":true,"num":1},"b":[{"_placeholder":true,"num":0}]}]"#;
        client.send_binary(&format!("452-7{upload}"), &[b"", &all_bytes]).await;
        let answer = client.message().await;
        assert_eq!((answer.kind, answer.id), (3, Some(7)));
        assert_eq!(answer.data[0]["a"], json!({"_placeholder": true, "num": 1}));
        assert_eq!(answer.attachments, [&b""[..], &all_bytes]);
        // The event is passed on, with the cursor as the last argument.
        client.send_binary(r#"451-["on",{"_placeholder":true,"num":0}]"#, &[&all_bytes]).await;
        let passed = client.message().await;
        assert_eq!((passed.name(), &passed.attachments[..]), ("passed", &[Bytes::from(all_bytes.clone())][..]));
        assert!(passed.data[2].is_string(), "{passed:?}");
        // Events of the server.
        server.provider.broadcast().to_user("ann", Event::binary("bin", all_bytes.clone()).unwrap()).await.unwrap();
        let bin = client.message().await;
        assert_eq!(bin.data[1], json!({"_placeholder": true, "num": 0}));
        assert_eq!(bin.attachments, [&all_bytes[..]]);
        let two: Vec<Bytes> = vec![Bytes::from_static(b"1"), Bytes::from_static(b"2")];
        let holders = json!([{"_placeholder": true, "num": 1}, {"_placeholder": true, "num": 0}]);
        let attached = Event::attached("two", &holders, two.clone()).unwrap();
        server.provider.broadcast().to_user("ann", attached).await.unwrap();
        let received = client.message().await;
        assert_eq!((&received.data[1], received.attachments), (&holders, two));
        server.provider.close(Target::user("ann"), realtime_core::CloseReason::KICKED).await.unwrap();
        client.closed().await;
        server.connections(0).await;
    }
}

#[tokio::test]
async fn handler_gets_null_one_argument_or_an_array() {
    let setup =
        Setup::default().with_handlers(|provider| provider.on("echo", async |_: Context, value: Value| Reply(value)));
    let server = setup.start().await;
    let (mut client, _) = server.client(Transport::Websocket, "ann").await;
    for (arguments, seen) in [
        (vec![], Value::Null),
        (vec![json!({"a": 1})], json!({"a": 1})),
        (vec![json!([1])], json!([1])),
        (vec![json!(1), json!("x")], json!([1, "x"])),
    ] {
        client.emit("echo", &arguments, Some(3)).await;
        assert_eq!(client.ack(3).await, json!([seen]));
    }
}

#[tokio::test]
async fn refused_join_is_answered_with_its_reason() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let (mut client, _) = server.client(transport, "ann").await;
        for (room, code) in [(json!("secret"), "room"), (json!(""), "bad_request"), (json!({}), "invalid_payload")] {
            client.emit("join", &[room], Some(3)).await;
            assert_eq!(client.ack(3).await[0]["error"]["code"], code);
        }
        // Without an ack id the error is an event.
        client.emit("join", &[json!("secret")], None).await;
        assert_eq!(
            client.event("error").await,
            json!({"code": "room", "message": "not allowed into the room \"secret\""})
        );
    }
}

#[tokio::test]
async fn custom_handler_replaces_the_join_event() {
    let setup = Setup::default()
        .with_handlers(|provider| provider.on("join", async |_: Context, room: String| Reply(format!("not {room}"))));
    let server = setup.start().await;
    let (mut client, _) = server.client(Transport::Websocket, "ann").await;
    client.emit("join", &[json!("r")], Some(1)).await;
    assert_eq!(client.ack(1).await, json!(["not r"]));
    assert_eq!(server.stats().rooms, 0);
}

#[tokio::test]
async fn slow_handler_pauses_only_its_own_client() {
    let gate = Arc::new(Semaphore::new(0));
    let waits = Arc::clone(&gate);
    let setup = Setup::default()
        .with_handlers(move |provider| on_slow(provider, waits).on("quick", async |_: Context, n: u64| Reply(n)));
    let server = setup.start().await;
    // Far more bytes than the sockets' buffers hold.
    const EVENTS: u64 = 150;
    let pad = json!("x".repeat(100_000));
    for transport in TRANSPORTS {
        let before = server.stats().events_in;
        let (mut busy, id) = server.client(transport, "ann").await;
        let (mut other, _) = server.client(transport, "bob").await;
        let pad = pad.clone();
        let flood = tokio::spawn(async move {
            for n in 0..EVENTS {
                busy.emit("slow", &[json!(n), pad.clone()], Some(n)).await;
            }
            busy
        });
        // At 64 events or 256 KiB reading pauses.
        eventually("some events", || server.stats().events_in - before >= 3).await;
        for n in 0..200 {
            other.emit("quick", &[json!(n)], Some(n)).await;
            assert_eq!(other.ack(n).await, json!([n]));
        }
        let read = server.stats().events_in - before - 200;
        assert!(read < 20 && !flood.is_finished(), "{read} read");
        gate.add_permits(EVENTS as usize);
        let mut busy = in_time("the flood", flood).await.unwrap();
        for n in 0..EVENTS {
            assert_eq!(busy.ack(n).await, json!([n]));
        }
        server.leave(&mut busy, id).await;
    }
}

#[tokio::test]
async fn ack_has_the_same_id_of_any_size() {
    let setup = Setup::default().with_handlers(|provider| provider.on("e", async |_: Context, n: u64| Reply(n)));
    let server = setup.start().await;
    let (mut client, _) = server.client(Transport::Websocket, "ann").await;
    for id in [0, 1, 1 << 53, i64::MAX as u64] {
        client.emit("e", &[json!(1)], Some(id)).await;
        assert_eq!(client.ack(id).await, json!([1]));
    }
}

#[tokio::test]
async fn in_memory_connection_gets_the_frames_of_a_client() {
    let server = Server::start().await;
    let (sender, mut items) = tokio::sync::mpsc::channel::<Bytes>(8);
    let sink = futures_util::sink::unfold(sender, async |sender, item| sender.send(item).await.map(|()| sender));
    let link = server.provider.connect(Identity::user("ann"), sink).unwrap();
    server.send(Target::user("ann"), "n", 1).await;
    let mut next = async || serde_json::from_slice::<Value>(&in_time("an item", items.recv()).await.unwrap()).unwrap();
    assert_eq!(next().await[1]["connectionId"], link.id().to_string());
    let event = next().await;
    assert_eq!((&event[0], &event[1], event[2].is_string()), (&json!("n"), &json!(1), true));
    link.close();
    server.connections(0).await;
}
