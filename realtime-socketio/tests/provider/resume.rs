//! Resuming: the cursor and the rooms that a client names in `auth`.

use realtime_core::Target;
use realtime_socketio::SocketIoConfig;
use serde_json::{Value, json};

use crate::TRANSPORTS;
use crate::support::{Client, Server, Setup, Transport, soon};

/// Connects with this `auth` and returns the data of the welcome.
async fn connect(server: &Server, transport: Transport, auth: &Value) -> (Client, Value) {
    let mut client = server.open(transport).await;
    client.connect("/", auth).await.expect("accepted");
    let welcome = client.message().await;
    assert_eq!(welcome.name(), "connected");
    assert_eq!(welcome.data[1]["cursor"], welcome.data[2]);
    let data = welcome.data[1].clone();
    (client, data)
}

#[tokio::test]
async fn resumed_client_gets_missed_events_of_user_and_rooms() {
    for transport in TRANSPORTS {
        let server = Server::start().await;
        let (mut client, id) = server.client_with(transport, &json!({"user": "ann", "rooms": ["r"]})).await;
        server.send(Target::room("r"), "n", 0).await;
        let seen = client.message().await;
        assert_eq!(seen.data[1], 0);
        client.send("41").await;
        server.ended(id).await;
        server.send(Target::user("ann"), "n", 1).await;
        server.send(Target::room("r"), "n", 2).await;
        server.send(Target::room("q"), "n", 3).await;
        let auth = json!({"user": "ann", "rooms": ["r", "r"], "lastEventId": seen.data[2]});
        let (mut back, welcome) = connect(&server, transport, &auth).await;
        assert_eq!((&welcome["resumed"], &welcome["reason"]), (&json!(true), &json!("resumed")));
        server.send(Target::room("r"), "n", 4).await;
        for n in [1, 2, 4] {
            assert_eq!(back.event("n").await, n);
        }
    }
}

#[tokio::test]
async fn invalid_cursor_starts_anew_with_reason_invalid() {
    let server = Server::start().await;
    server.send(Target::all(), "n", 1).await;
    let garbage = [
        json!("nonsense"),
        json!(5),
        json!(-1.5),
        json!({"a": [1]}),
        json!(true),
        json!("ä\n\0"),
        json!("A".repeat(5000)),
    ];
    for transport in TRANSPORTS {
        for cursor in &garbage {
            let auth = json!({"user": "ann", "lastEventId": cursor});
            let (mut client, welcome) = connect(&server, transport, &auth).await;
            assert_eq!((&welcome["resumed"], &welcome["reason"]), (&json!(false), &json!("invalid")), "{cursor}");
            client.send("41").await;
            let id = welcome["connectionId"].as_str().unwrap().parse().unwrap();
            server.ended(id).await;
        }
        for nothing in [Value::Null, json!("")] {
            let auth = json!({"user": "bob", "lastEventId": nothing});
            let (_, welcome) = connect(&server, transport, &auth).await;
            assert_eq!(welcome["reason"], "new");
        }
    }
}

#[tokio::test]
async fn disabled_cursor_argument_is_not_sent() {
    let server = Setup::from(SocketIoConfig::default().with_cursor_argument(false)).start().await;
    let mut client = server.open(Transport::Websocket).await;
    client.connect("/", &json!({"user": "ann"})).await.expect("accepted");
    let welcome = client.message().await;
    assert_eq!((welcome.name(), welcome.data.as_array().unwrap().len()), ("connected", 2));
    server.send(Target::user("ann"), "n", 1).await;
    assert_eq!(client.message().await.data, json!(["n", 1]));
}

#[tokio::test]
async fn new_identity_on_same_session_gets_no_events_of_the_old() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        server.send(Target::user("ann"), "n", 1).await;
        assert_eq!(client.event("n").await, 1);
        client.send("41").await;
        server.ended(id).await;
        soon("accepted", client.connect("/", &json!({"user": "bob"}))).await.expect("accepted");
        client.event("connected").await;
        server.send(Target::user("ann"), "n", 2).await;
        server.send(Target::user("bob"), "n", 3).await;
        assert_eq!(client.event("n").await, 3);
        client.send("1").await;
        server.connections(0).await;
    }
}
