//! Events from clients: bytes, several arguments, rooms, back-pressure, panics.

use std::sync::Arc;

use bytes::Bytes;
use realtime_core::{Context, Event, Handlers, Identity, Inbound, Payload, RealtimeProvider, Reply, Target};
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::TRANSPORTS;
use crate::support::{Server, Setup, Transport, soon, until};

#[tokio::test]
async fn bytes_go_both_ways() {
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
        // Passed on, with the cursor after it.
        client.send_binary(r#"451-["on",{"_placeholder":true,"num":0}]"#, &[&all_bytes]).await;
        let passed = client.message().await;
        assert_eq!((passed.name(), &passed.attachments[..]), ("passed", &[Bytes::from(all_bytes.clone())][..]));
        assert!(passed.data[2].is_string(), "{passed:?}");
        // From the server.
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
async fn no_argument_is_null_and_several_are_an_array() {
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
async fn clients_join_and_leave_rooms_through_the_policy() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        let (mut other, _) = server.client(Transport::Websocket, "ann").await;
        for (event, answer) in [("join", true), ("join", false)] {
            client.emit(event, &[json!("r")], Some(1)).await;
            assert_eq!(client.ack(1).await, json!([answer]), "{event}");
        }
        server.send(Target::room("r"), "n", 1).await;
        assert_eq!(client.event("n").await, 1);
        for (event, answer) in [("leave", true), ("leave", false)] {
            client.emit(event, &[json!("r")], Some(2)).await;
            assert_eq!(client.ack(2).await, json!([answer]), "{event}");
        }
        server.send(Target::room("r"), "n", 2).await;
        for (room, code) in [(json!("secret"), "room"), (json!(""), "bad_request"), (json!({}), "invalid_payload")] {
            client.emit("join", &[room], Some(3)).await;
            assert_eq!(client.ack(3).await[0]["error"]["code"], code);
        }
        // Without a number the error is an event.
        client.emit("join", &[json!("secret")], None).await;
        assert_eq!(
            client.event("error").await,
            json!({"code": "room", "message": "not allowed into the room \"secret\""})
        );
        server.send(Target::user("ann"), "n", 3).await;
        assert_eq!(client.event("n").await, 3, "nothing for the room it has left");
        assert_eq!(other.event("n").await, 3, "a room is entered by one connection");
        client.send("41").await;
        server.ended(id).await;
        drop(other);
        server.connections(0).await;
    }
}

#[tokio::test]
async fn own_handlers_may_take_the_place_of_join() {
    let setup = Setup::default()
        .with_handlers(|provider| provider.on("join", async |_: Context, room: String| Reply(format!("not {room}"))));
    let server = setup.start().await;
    let (mut client, _) = server.client(Transport::Websocket, "ann").await;
    client.emit("join", &[json!("r")], Some(1)).await;
    assert_eq!(client.ack(1).await, json!(["not r"]));
    assert_eq!(server.stats().rooms, 0);
}

#[tokio::test]
async fn a_busy_handler_pauses_its_client_and_no_other() {
    let gate = Arc::new(Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let setup = Setup::default().with_handlers(move |provider| {
        provider
            .on("slow", move |_: Context, (n, _): (u64, String)| {
                let gate = Arc::clone(&opened);
                async move {
                    gate.acquire().await.unwrap().forget();
                    Reply(n)
                }
            })
            .on("quick", async |_: Context, n: u64| Reply(n))
    });
    let server = setup.start().await;
    // Together far more than the sockets' buffers hold.
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
        // At 64 events or 256 KiB no more is read than what has been read already.
        until("some events", || server.stats().events_in - before >= 3).await;
        for n in 0..200 {
            other.emit("quick", &[json!(n)], Some(n)).await;
            assert_eq!(other.ack(n).await, json!([n]));
        }
        let taken = server.stats().events_in - before - 200;
        assert!(taken < 20 && !flood.is_finished(), "{taken} taken");
        gate.add_permits(EVENTS as usize);
        let mut busy = soon("the flood", flood).await.unwrap();
        for n in 0..EVENTS {
            assert_eq!(busy.ack(n).await, json!([n]));
        }
        busy.send("41").await;
        server.ended(id).await;
    }
}

#[tokio::test]
async fn a_panicking_handler_hurts_nobody() {
    let setup = Setup::default().with_handlers(|provider| {
        provider
            .on("boom", async |_: Context, fail: bool| assert!(!fail, "as the test wants"))
            .on("fine", async |_: Context, n: u64| Reply(n))
    });
    let server = setup.start().await;
    for transport in TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        client.emit("boom", &[json!(true)], Some(1)).await;
        client.emit("boom", &[json!(true)], None).await;
        client.emit("fine", &[json!(5)], Some(2)).await;
        let internal = json!({"code": "internal", "message": "internal error"});
        assert_eq!(client.ack(1).await, json!([{ "error": internal }]));
        assert_eq!(client.event("error").await, internal);
        assert_eq!(client.ack(2).await, json!([5]));
        client.send("41").await;
        server.ended(id).await;
    }
    assert_eq!(server.stats().panics, 4);
}

#[tokio::test]
async fn an_ack_id_of_any_size_comes_back() {
    let setup = Setup::default().with_handlers(|provider| provider.on("e", async |_: Context, n: u64| Reply(n)));
    let server = setup.start().await;
    let (mut client, _) = server.client(Transport::Websocket, "ann").await;
    for id in [0, 1, 1 << 53, i64::MAX as u64] {
        client.emit("e", &[json!(1)], Some(id)).await;
        assert_eq!(client.ack(id).await, json!([1]));
    }
}

#[tokio::test]
async fn connect_in_memory_shows_what_a_client_would_get() {
    let server = Server::start().await;
    let (sender, mut items) = tokio::sync::mpsc::channel::<Bytes>(8);
    let sink = futures_util::sink::unfold(sender, async |sender, item| sender.send(item).await.map(|()| sender));
    let link = server.provider.connect(Identity::user("ann"), sink).unwrap();
    server.send(Target::user("ann"), "n", 1).await;
    let mut next = async || serde_json::from_slice::<Value>(&soon("an item", items.recv()).await.unwrap()).unwrap();
    assert_eq!(next().await[1]["connectionId"], link.id().to_string());
    let event = next().await;
    assert_eq!((&event[0], &event[1], event[2].is_string()), (&json!("n"), &json!(1), true));
    link.close();
    server.connections(0).await;
}
