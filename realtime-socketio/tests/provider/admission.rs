//! Admission to the main namespace: accepted clients, and the errors of the others.

use realtime_core::{CloseReason, Limits, RealtimeProvider};
use realtime_socketio::{DirectAdapter, SocketIoConfig, SocketIoProvider};
use serde_json::json;
use socketioxide::extract::SocketRef;
use socketioxide::handler::ConnectHandler;

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Server, Setup, Transport, soon};

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
            client.connect("/", &json!({"user": "ann"})).await.expect("accepted");
            client.event("connected").await;
        }
    }
    let stats = server.stats();
    let refused: Vec<_> = stats.refused.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(refused, [("bad_request", 6), ("room", 2), ("unauthorized", 2)]);
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
        let refused = soon("an answer", async {
            tokio::select! { answer = first => answer, answer = second => answer }
        });
        let refused = refused.await.unwrap();
        let data = &refused.data["data"];
        assert_eq!((refused.kind, data["code"].as_str()), (4, Some("user_limit")));
        assert!((5000..=10_000).contains(&data["retryAfterMs"].as_u64().unwrap()), "{refused:?}");

        let _bob = server.client(Transport::Websocket, "bob").await;
        let mut eve = server.open(transport).await;
        eve.send("40{\"user\":\"eve\"}").await;
        let refused = eve.message().await;
        let data = &refused.data["data"];
        assert_eq!(data["code"], "node_limit");
        assert!((5000..=10_000).contains(&data["retryAfterMs"].as_u64().unwrap()), "{refused:?}");
    }
}

#[tokio::test]
async fn custom_namespace_refusal_keeps_message_and_gets_code() {
    let server = Server::start().await;
    let middleware = async |_: SocketRef<DirectAdapter>| Err::<(), _>("not here");
    server.provider.io().ns("/own", (async |_: SocketRef<DirectAdapter>| {}).with(middleware));
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        for _ in 0..3 {
            let packets = ["40/own,", "40{\"user\":\"mallory\"}", "40/own,"].map(|text| Packet::Text(text.to_owned()));
            client.send_all(packets.into()).await;
            let (mut main, mut own) = (0, 0);
            while main < 1 || own < 1 {
                let answer = client.message().await;
                match answer.namespace.as_str() {
                    "/own" => {
                        assert_eq!(answer.data, json!({"message": "not here", "data": {"code": "forbidden"}}));
                        own += 1;
                    }
                    _ => {
                        assert_eq!(answer.data["data"], json!({"code": "unauthorized"}));
                        main += 1;
                    }
                }
            }
        }
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
        let mut client = Client::open(server.address, transport, "user=ann").await.unwrap();
        client.send("40").await;
        assert_eq!(client.message().await.kind, 0);
        client.event("connected").await;
    }
    assert_eq!(server.stats().users, 1);
}

#[tokio::test]
async fn unattached_provider_refuses_clients_as_draining() {
    let provider = std::sync::Arc::new(SocketIoProvider::new(SocketIoConfig::default()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = realtime_http::HttpProvider::router(std::sync::Arc::clone(&provider));
    let running = tokio::spawn(realtime_http::serve(listener, router).into_future());
    for (transport, refused) in TRANSPORTS.into_iter().zip(1..) {
        let mut client = Client::open(address, transport, "").await.unwrap();
        client.send("40").await;
        // After `connect_error` a client would not reconnect by itself.
        client.closed_for_reconnect().await;
        assert_eq!(provider.stats().refused.get("draining"), Some(&refused));
    }
    running.abort();
}
