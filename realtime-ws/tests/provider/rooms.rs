//! Rooms that a client enters and leaves by events.

use crate::support::Server;
use realtime_core::{Context, Handlers, Reply, Target};
use serde_json::{Value, json};

use super::messages::provider;

#[tokio::test]
async fn rooms_are_entered_and_left_in_order_with_other_events() {
    let server = Server::start(
        provider().on("say", async |cx: Context, room: String| cx.to_room(&room).send("said", &room).await),
    )
    .await;
    let mut client = server.client("ann").await;
    let mut other = server.client("bob").await;
    for message in [
        json!({"type": "say", "payload": "a"}),
        json!({"type": "subscribe", "payload": {"channel": "a"}, "ack": 1}),
        json!({"type": "subscribe", "payload": {"room": "b"}}),
        json!({"type": "say", "payload": "b"}),
        json!({"type": "unsubscribe", "payload": {"channel": "b"}, "ack": 2}),
        json!({"type": "say", "payload": "b"}),
        json!({"type": "say", "payload": "a"}),
    ] {
        client.send(&message).await;
    }
    let got = [client.json().await, client.json().await, client.json().await, client.json().await];
    let mut said: Vec<_> =
        got.iter().filter(|message| message["type"] == "said").map(|m| m["payload"].clone()).collect();
    assert_eq!(said, ["b", "a"]);
    let acks: Vec<_> = got.iter().filter(|message| message["type"] == "ack").cloned().collect();
    assert_eq!(acks[0], json!({"type": "ack", "ack": 1, "payload": {"channel": "a"}}));
    assert_eq!(acks[1], json!({"type": "ack", "ack": 2, "payload": {"channel": "b"}}));
    assert_eq!(server.stats().rooms, 1);

    // No other client has received any of it.
    server.send(Target::user("bob"), "end", &0).await;
    said = vec![other.json().await["type"].clone()];
    assert_eq!(said, ["end"]);
}

#[tokio::test]
async fn rooms_are_checked_by_the_policy_and_the_rules_of_names() {
    let server = Server::start(provider()).await;
    let mut client = server.client("ann").await;
    for (payload, code) in [
        (json!({"channel": "secret"}), "room"),
        (json!({"channel": ""}), "bad_request"),
        (json!({"channel": "a\nb"}), "bad_request"),
        (json!({"channel": "x".repeat(257)}), "bad_request"),
        (json!({"channel": 7}), "invalid_payload"),
        (json!({}), "invalid_payload"),
        (json!(["secret"]), "invalid_payload"),
        (json!("secret"), "room"),
    ] {
        client.send(&json!({"type": "subscribe", "payload": payload, "ack": 3})).await;
        assert_eq!(client.error().await, (code.to_owned(), json!(3)), "{payload}");
    }
    client.send(&json!({"type": "subscribe"})).await;
    assert_eq!(client.error().await, ("invalid_payload".to_owned(), Value::Null));
    server.send(Target::room("secret"), "x", &1).await;
    server.send(Target::user("ann"), "end", &1).await;
    assert_eq!(client.json().await["type"], "end");
    assert_eq!(server.stats().rejected["room"], 2);
}

#[tokio::test]
async fn own_handlers_replace_those_for_rooms() {
    let own = async |_: Context, room: String| Reply(format!("not {room}"));
    let server = Server::start(provider().on("subscribe", own).on("join", own)).await;
    let mut client = server.client("ann").await;
    for (ack, name) in [(1, "subscribe"), (2, "join")] {
        client.send(&json!({"type": name, "payload": "r", "ack": ack})).await;
        assert_eq!(client.json().await, json!({"type": "ack", "ack": ack, "payload": "not r"}));
    }
    assert_eq!(server.stats().rooms, 0);
}
