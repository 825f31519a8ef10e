//! Custom namespaces of the application next to the main one, and the session's secret.

use std::time::Duration;

use realtime_core::{CloseReason, Context, Handlers, RealtimeProvider, Target};
use realtime_http::WireConfig;
use realtime_socketio::{DirectAdapter, SocketIoConfig};
use serde_json::{Value, json};
use socketioxide::extract::{AckSender, Data, SocketRef};
use socketioxide::handler::ConnectHandler;

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Server, Setup, Transport, eventually, id_in};

async fn with_echo(setup: Setup) -> Server {
    let server = setup.start().await;
    server.provider.io().ns("/own", async |socket: SocketRef<DirectAdapter>| {
        socket.on("echo", async |Data::<Value>(data), ack: AckSender<DirectAdapter>| ack.send(&data).unwrap());
    });
    server
}

async fn echoes(client: &mut Client, n: u64) {
    client.send(&format!("42/own,{n}[\"echo\",{n}]")).await;
    let answer = client.message().await;
    assert_eq!((answer.namespace.as_str(), answer.kind, answer.id, answer.data), ("/own", 3, Some(n), json!([n])));
}

#[tokio::test]
async fn custom_namespace_works_next_to_the_main_one() {
    let server = with_echo(Setup::default()).await;
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        client.connect("/own", &json!({})).await.expect("accepted");
        echoes(&mut client, 1).await;
        assert_eq!(server.stats().connections, 0, "the main one is not connected");
        client.enter(&json!({"user": "ann"})).await;
        // More packets than a window holds, so that packets of the other namespace are written
        // between those that use credit.
        for n in 2..200 {
            echoes(&mut client, n).await;
            server.deliver(&mut client, "ann", n).await;
        }
        client.send("41").await;
        server.connections(0).await;
        echoes(&mut client, 200).await;
        client.send("1").await;
    }
}

#[tokio::test]
async fn main_namespace_can_be_left_and_rejoined_repeatedly() {
    let server = with_echo(Setup::default()).await;
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        client.connect("/own", &json!({})).await.expect("accepted");
        for _ in 0..50 {
            let welcome = client.enter(&json!({"user": "ann"})).await;
            // The client leaves while events are being sent.
            server.send_numbers("ann", 0..100).await;
            for n in 0..10 {
                assert_eq!(client.event("n").await, n);
            }
            client.send("41").await;
            let id = id_in(&welcome);
            assert_eq!(server.ended(id).await, CloseReason::NORMAL);
            client.send("42/own,7[\"echo\",7]").await;
            while client.message().await.namespace != "/own" {}
        }
        client.send("1").await;
    }
    assert_eq!(server.stats().connected, 100);
}

#[tokio::test]
async fn unknown_namespace_is_refused_with_code() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        assert_eq!(client.connect("/other", &json!({})).await, Err("Invalid namespace".to_owned()));
        client.enter(&json!({})).await;
        client.send("40/a\"b,").await;
        let refused = client.message().await;
        let expected = json!({"message": "Invalid namespace", "data": {"code": "namespace"}});
        assert_eq!((refused.namespace.as_str(), refused.kind, refused.data), ("/a\"b", 4, expected));
    }
    assert_eq!(server.stats().refused.get("namespace"), Some(&4));
}

/// The message is the application's.
#[tokio::test]
async fn refusal_of_custom_namespace_has_a_code() {
    let server = Server::start().await;
    let middleware = async |_: SocketRef<DirectAdapter>| Err::<(), _>("not \"you\"");
    let handler = async |_: SocketRef<DirectAdapter>| {};
    server.provider.io().ns("/own", handler.with(middleware));
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        // Before and after the client is connected to another namespace, and several together.
        let mallory = "40{\"user\":\"mallory\"}";
        let cases = [
            (&["40/own,", mallory, "40/own,"][..], 3),
            (&["40/own,"], 1),
            (&["40", "40/own,", "40/other,"], 2),
            (&["40/own,"], 1),
        ];
        for (packets, count) in cases {
            client.send_all(packets.iter().map(|packet| Packet::Text((*packet).to_owned())).collect()).await;
            let mut refused = 0;
            while refused < count {
                let answer = client.message().await;
                let expected = match answer.namespace.as_str() {
                    "/own" => json!({"message": "not \"you\"", "data": {"code": "forbidden"}}),
                    "/other" => json!({"message": "Invalid namespace", "data": {"code": "namespace"}}),
                    _ if answer.kind == 4 => {
                        json!({"message": "unauthorized: not you", "data": {"code": "unauthorized"}})
                    }
                    _ => continue,
                };
                assert_eq!((answer.kind, answer.data), (4, expected));
                refused += 1;
            }
        }
    }
    assert_eq!(server.stats().refused.get("forbidden"), Some(&10));
}

/// Connects a client and kicks it from the main namespace.
async fn kicked(server: &Server, transport: Transport, own: bool) -> Client {
    let mut client = server.open(transport).await;
    if own {
        client.connect("/own", &json!({})).await.expect("accepted");
    }
    client.enter(&json!({"user": "ann"})).await;
    server.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
    assert_eq!(client.event("closed").await["code"], 4000);
    let disconnect = client.message().await;
    assert_eq!((disconnect.namespace.as_str(), disconnect.kind), ("/", 1));
    client
}

#[tokio::test]
async fn kick_closes_session_without_other_namespaces() {
    let server = with_echo(Setup::default()).await;
    for transport in TRANSPORTS {
        kicked(&server, transport, false).await.closed().await;
        let mut client = server.open(transport).await;
        client.connect("/own", &json!({})).await.expect("accepted");
        client.enter(&json!({"user": "ann"})).await;
        client.send("41/own,").await;
        server.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
        client.closed().await;
    }
}

#[tokio::test]
async fn kick_leaves_custom_namespaces_connected() {
    let server = with_echo(Setup::default()).await;
    for transport in TRANSPORTS {
        let mut client = kicked(&server, transport, true).await;
        // Twice the time that a client has to close the session by itself.
        let start = std::time::Instant::now();
        for n in 1.. {
            echoes(&mut client, n).await;
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            if start.elapsed() > std::time::Duration::from_secs(2) {
                break;
            }
        }
        // The client may connect to the main namespace again.
        client.enter(&json!({"user": "ann"})).await;
        server.deliver(&mut client, "ann", 1).await;
        client.send("1").await;
        server.connections(0).await;
    }
}

/// Connects a client and kicks it from the main namespace while its channel is full with packets of
/// a custom namespace.
async fn kicked_while_full(
    config: SocketIoConfig,
    transport: Transport,
) -> (Server, Client, realtime_core::ConnectionId) {
    let wire = WireConfig::default().with_unsent_low_water(16 * 1024);
    let server = with_echo(Setup::from(config).with_wire(wire)).await;
    let client = Client::open_with(server.address(), transport, "/socket.io/", "", Some(4096)).await;
    let mut client = client.expect("a session");
    client.connect("/own", &json!({})).await.expect("accepted");
    let welcome = client.enter(&json!({"user": "ann"})).await;
    let socket = server.provider.io().of("/own").unwrap().sockets().pop().unwrap();
    let large = "x".repeat(100_000);
    // Until the connection's buffers are full too.
    let mut full = 0;
    while full < 20 {
        full = if socket.emit("fill", &large).is_err() { full + 1 } else { 0 };
        tokio::time::sleep(Duration::from_millis(u64::from(full > 0))).await;
    }
    server.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap();
    (server, client, id_in(&welcome))
}

#[tokio::test]
async fn kick_with_full_channel_leaves_custom_namespaces_connected() {
    for transport in TRANSPORTS {
        let (server, mut client, id) = kicked_while_full(SocketIoConfig::default(), transport).await;
        // The kick has failed at least once by then.
        tokio::time::sleep(Duration::from_millis(300)).await;
        let mut filled = 0;
        let disconnect = loop {
            let message = client.message().await;
            match message.namespace.as_str() {
                "/own" => filled += 1,
                _ if message.kind == 2 => assert_eq!(message.name(), "closed"),
                _ => break message,
            }
        };
        assert_eq!((disconnect.kind, filled > 200), (1, true), "{transport:?}");
        assert_eq!(server.ended(id).await, CloseReason::KICKED);
        client.send("42/own,7[\"echo\",7]").await;
        while client.message().await.kind != 3 {}
    }
}

#[tokio::test]
async fn kick_with_full_channel_closes_session_after_write_stall() {
    let config = SocketIoConfig::default().with_write_stall(Duration::from_secs(1));
    // A websocket is closed by the stalled write itself.
    let (server, _client, id) = kicked_while_full(config, Transport::Polling).await;
    assert_eq!(server.ended(id).await, CloseReason::KICKED);
    eventually("the session's end", || server.provider.io().of("/own").unwrap().sockets().is_empty()).await;
}

/// A client that knows a session's secret can poll for the session.
#[tokio::test]
async fn secret_of_a_session_is_not_shown_to_others() {
    let setup = Setup::default().with_handlers(|provider| {
        provider
            .on("shout", async |cx: Context, text: String| {
                let seen = json!({"text": text, "from": cx.connection_id(), "context": format!("{cx:?}")});
                cx.to_all().send("shouted", &seen).await
            })
            .on("boom", async |cx: Context, (): ()| {
                Err::<(), _>(realtime_core::HandlerError::new("boom", format!("{cx:?}")))
            })
    });
    let server = setup.start().await;
    for transport in TRANSPORTS {
        let (mut watcher, watcher_id) = server.client(transport, "ann").await;
        let mut ann = server.open(transport).await;
        let sid = ann.sid().to_owned();
        ann.connect("/", &json!({"user": "ann", "rooms": ["r"]})).await.expect("accepted");
        let welcome = ann.message().await;
        assert!(!welcome.data.to_string().contains(&sid), "the connection id does not contain the secret");
        ann.emit("shout", &[json!("hi")], None).await;
        ann.emit("boom", &[Value::Null], Some(1)).await;
        // Both events have been handled, and the first one was sent to all.
        while ann.message().await.kind != 3 {}
        server.send(Target::room("r"), "n", 1).await;
        server.send(Target::user("ann"), "last", 1).await;
        let mut seen = String::new();
        loop {
            let message = watcher.message().await;
            seen.push_str(&message.data.to_string());
            if message.name() == "last" {
                break;
            }
        }
        assert!(seen.contains("shouted") && !seen.contains(&sid), "{seen}");
        let id = id_in(&welcome.data[1]);
        assert!(!format!("{:?}", server.hooks.of(id)).contains(&sid));
        for (mut client, id) in [(watcher, watcher_id), (ann, id)] {
            server.leave(&mut client, id).await;
        }
    }
}
