//! Admission to the main namespace: accepted clients, and the errors of the others.

use realtime_core::{CloseReason, Limits};
use realtime_socketio::{SocketIoConfig, SocketIoProvider};
use realtime_testkit::Served;
use serde_json::json;

use crate::TRANSPORTS;
use crate::support::{Client, Message, Server, Setup, Transport, in_time};

#[tokio::test]
async fn refused_client_gets_connect_error_with_code() {
    let server = Server::start().await;
    let deep = format!("{}1{}", "[".repeat(100), "]".repeat(100));
    let cases = [
        (json!({"user": "mallory"}), "unauthorized: not you"),
        (json!({"user": "ann", "rooms": ["r", "secret"]}), "room: not allowed into the room \"secret\""),
        (json!({"user": "ann", "rooms": 7}), "bad_request: auth.rooms must be a room's name or a list of names"),
        (json!({"user": "ann", "rooms": [7]}), "bad_request: auth.rooms must be a room's name or a list of names"),
        (serde_json::from_str(&deep).unwrap(), "bad_request: nested deeper than 64"),
    ];
    for transport in TRANSPORTS {
        for (auth, message) in &cases {
            let mut client = server.open(transport).await;
            client.send(&format!("40{auth}")).await;
            let answer = client.message().await;
            let code = message.split(':').next().unwrap();
            assert_eq!((answer.kind, answer.data), (4, json!({"message": message, "data": {"code": code}})));
            // The session stays open: the client may try again with another `auth`.
            client.enter(&json!({"user": "ann"})).await;
        }
    }
    let stats = server.stats();
    let refused: Vec<_> = stats.refused.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(refused, [("bad_request", 6), ("room", 2), ("unauthorized", 2)]);
}

/// Asserts that a CONNECT was refused with this code and a delay.
pub(crate) fn assert_temporary(refused: &Message, code: &str) {
    let data = &refused.data["data"];
    assert_eq!((refused.kind, data["code"].as_str()), (4, Some(code)));
    assert!((5000..=10_000).contains(&data["retryAfterMs"].as_u64().unwrap()), "{refused:?}");
}

#[tokio::test]
async fn temporary_refusal_has_a_retry_delay() {
    let limits = Limits::default().with_connections(2).with_connections_per_user(1);
    for transport in TRANSPORTS {
        let server = Setup::from(SocketIoConfig::default().with_limits(limits)).start().await;
        let _ann = server.client(Transport::Websocket, "ann").await;
        // One CONNECT may wait.
        let mut answers = [server.open(transport).await, server.open(transport).await].map(|mut client| {
            tokio::spawn(async move {
                client.send("40{\"user\":\"ann\"}").await;
                client.message().await
            })
        });
        let [first, second] = &mut answers;
        let refused = in_time("an answer", async {
            tokio::select! { answer = first => answer, answer = second => answer }
        });
        assert_temporary(&refused.await.unwrap(), "user_limit");
        let _bob = server.client(Transport::Websocket, "bob").await;
        let mut eve = server.open(transport).await;
        eve.send("40{\"user\":\"eve\"}").await;
        assert_temporary(&eve.message().await, "node_limit");
    }
}

#[tokio::test]
async fn eleventh_connection_of_user_waits_for_a_free_slot() {
    for transport in TRANSPORTS {
        let server = Server::start().await;
        let mut clients = Vec::new();
        for n in 0..10 {
            clients.push(server.client(TRANSPORTS[n % 2], "ann").await);
        }
        let mut eleventh = server.open(transport).await;
        eleventh.send("40{\"user\":\"ann\"}").await;
        server.client(transport, "bob").await;
        assert_eq!((server.stats().connections, server.stats().refused.len()), (11, 0));
        // Leaving the namespace frees the slot, even if the session stays open.
        let (client, id) = &mut clients[1];
        client.send("41").await;
        assert_eq!(server.ended(*id).await, CloseReason::NORMAL);
        eleventh.answered().await.expect("accepted");
    }
}

#[tokio::test]
async fn client_without_auth_is_identified_by_query() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let mut client = Client::open(server.address(), transport, "user=ann").await.unwrap();
        client.send("40").await;
        assert_eq!(client.message().await.kind, 0);
        client.event("connected").await;
    }
    assert_eq!(server.stats().users, 1);
}

#[tokio::test]
async fn unattached_provider_refuses_clients_as_draining() {
    let server = Served::unattached(SocketIoProvider::new(SocketIoConfig::default())).await;
    for (transport, refused) in TRANSPORTS.into_iter().zip(1..) {
        let mut client = Client::open(server.address(), transport, "").await.unwrap();
        client.send("40").await;
        // After `connect_error` a client would not reconnect by itself.
        client.closed_for_reconnect().await;
        assert_eq!(server.stats().refused.get("draining"), Some(&refused));
    }
}
