//! The secret id of a session, and the ids that Socket.IO shows.

use realtime_core::Target;
use realtime_socketio::DirectAdapter;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use socketioxide::extract::SocketRef;

use crate::TRANSPORTS;
use crate::support::{Client, Packet, Server, Transport, Websocket, in_time};

/// Starts a server that tells clients of `/own` their ids.
async fn server() -> Server {
    let server = Server::start().await;
    server.provider.io().ns("/own", async |socket: SocketRef<DirectAdapter>| {
        socket.emit("you are", &socket.id).unwrap();
    });
    server
}

/// Returns the ids that a client or an application sees: in the answers to CONNECT and on the
/// server's side.
async fn shown_ids(server: &Server, client: &mut Client) -> Vec<String> {
    let mut ids = Vec::new();
    for namespace in ["/", "/own"] {
        let answer = client.connect(namespace, &json!({"user": "ann"})).await.expect("accepted");
        ids.push(answer["sid"].as_str().unwrap().to_owned());
        if namespace == "/" {
            client.event("connected").await;
        } else {
            let seen = client.message().await;
            ids.push(seen.data[1].as_str().unwrap().to_owned());
        }
    }
    assert_eq!(server.provider.io().of("/own").unwrap().sockets().len(), 1);
    ids
}

#[tokio::test]
async fn ids_shown_by_socket_io_do_not_identify_the_session() {
    let server = server().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for (transport, upgrades) in
        [(Transport::Polling, false), (Transport::Polling, true), (Transport::Websocket, false)]
    {
        let mut client = server.open(transport).await;
        let ids = shown_ids(&server, &mut client).await;
        if upgrades {
            client = client.upgrade().await;
        }
        assert!(!ids.contains(&client.sid().to_owned()), "{transport:?}");
        for id in &ids {
            for query in [
                "EIO=4&transport=polling&sid=ID",
                "EIO=4=x&transport=polling&sid=ID",
                "EIO=4&transport=polling=x&sid=ID",
                "EIO=4&transport=polling&sid=x&sid=ID",
                "EIO=4&EIO=4&transport=polling&%73id=x&sid=ID",
                "EIO=4&transport=websocket&sid=ID",
            ] {
                let path = format!("/socket.io/?{}", query.replace("ID", id));
                for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
                    let request = http.request(method.clone(), format!("http://{}{path}", server.address())).body("1");
                    let response = in_time("a response", request.send()).await.unwrap();
                    assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{method} {path}");
                }
                assert!(Websocket::open(server.address(), &path, None).await.is_err(), "{path}");
            }
        }
        // The session is not affected.
        server.deliver(&mut client, "ann", 1).await;
        client.send("1").await;
        server.connections(0).await;
    }
}

#[tokio::test]
async fn id_shown_by_socket_io_is_unique_and_same_in_all_namespaces() {
    let server = server().await;
    let mut all = std::collections::HashSet::new();
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        let ids = shown_ids(&server, &mut client).await;
        assert!(ids.iter().all(|id| id == &ids[0]), "{ids:?}");
        assert!(all.insert(ids[0].clone()) && all.insert(client.sid().to_owned()));
        client.send("1").await;
        server.connections(0).await;
    }
}

/// Before a client sends something, it gets the open packet and a ping only.
#[tokio::test]
async fn open_packet_is_complete_and_sent_once() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        let keys: Vec<_> = client.open.as_object().unwrap().keys().cloned().collect();
        assert_eq!(keys.len(), 5, "{keys:?}");
        assert!(matches!(&client.open["sid"], Value::String(sid) if sid.starts_with("realtime-")));
        client.send("40").await;
        let Ok(Packet::Text(next)) = in_time("an answer", client.next_packet()).await else { panic!("text") };
        assert!(next.starts_with("40{\"sid\":"), "{next}");
    }
}

/// engineioxide does not see a query that cannot be rewritten because it would be too long: it
/// would look for the session that the first `sid` names.
#[tokio::test]
async fn too_long_query_reaches_no_session_by_its_shown_id() {
    let server = Server::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    for transport in TRANSPORTS {
        let mut client = server.open(transport).await;
        let id =
            client.connect("/", &json!({"user": "ann"})).await.expect("accepted")["sid"].as_str().unwrap().to_owned();
        client.event("connected").await;
        for name in ["polling", "websocket"] {
            let path = format!("/socket.io/?sid={id}&{}EIO=4&transport={name}", "sid=&".repeat(9_400));
            let url = format!("http://{}{path}", server.address());
            let response = in_time("a response", http.get(url).send()).await.unwrap();
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{name}");
        }
        server.send(Target::user("ann"), "still", &1).await;
        client.event("still").await;
    }
}
