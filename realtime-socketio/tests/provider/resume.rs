//! Resuming: the cursor and the rooms that a client names in `auth`.

use realtime_core::Target;
use realtime_socketio::SocketIoConfig;
use serde_json::{Value, json};

use crate::TRANSPORTS;
use crate::support::{Server, Setup, Transport, id_in};

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
            let mut client = server.open(transport).await;
            let welcome = client.enter(&auth).await;
            assert_eq!((&welcome["resumed"], &welcome["reason"]), (&json!(false), &json!("invalid")), "{cursor}");
            server.leave(&mut client, id_in(&welcome)).await;
        }
        for nothing in [Value::Null, json!("")] {
            let auth = json!({"user": "bob", "lastEventId": nothing});
            let welcome = server.open(transport).await.enter(&auth).await;
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
        server.deliver(&mut client, "ann", 1).await;
        server.leave(&mut client, id).await;
        client.enter(&json!({"user": "bob"})).await;
        server.send(Target::user("ann"), "n", 2).await;
        server.deliver(&mut client, "bob", 3).await;
        client.send("1").await;
        server.connections(0).await;
    }
}
