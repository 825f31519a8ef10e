//! Asks to clients, and their answers.

use std::time::Duration;

use realtime_core::{AckStatus, RealtimeProvider};
use serde_json::{Value, json};

use crate::TRANSPORTS;
use crate::support::{Client, DEADLINE, Server, Transport, event, in_time};

async fn ask(server: &Server, timeout: Duration) -> realtime_core::Acks {
    let io = server.provider.socket_io().unwrap();
    io.to_user_with_ack("ann", event("q", 1), timeout).await.unwrap()
}

/// Reads the ask and returns the number to answer with.
async fn read_ask(client: &mut Client) -> u64 {
    let message = client.message().await;
    assert_eq!((message.name(), &message.data), ("q", &json!(["q", 1])), "an ask has no cursor");
    message.id.expect("a number")
}

#[tokio::test]
async fn ask_is_answered_by_all_connections_of_user() {
    let server = Server::start().await;
    let (mut polling, first) = server.client(Transport::Polling, "ann").await;
    let (mut websocket, second) = server.client(Transport::Websocket, "ann").await;
    let acks = ask(&server, DEADLINE).await;
    let number = read_ask(&mut polling).await;
    polling.answer(number, &[]).await;
    let number = read_ask(&mut websocket).await;
    websocket.answer(number, &[json!("x"), json!([2])]).await;
    let replies = in_time("the answers", acks.all()).await;
    let answer = |id| replies.iter().find(|reply| reply.connection == id).unwrap().json::<Value>().unwrap();
    assert_eq!((answer(first), answer(second)), (Value::Null, json!(["x", [2]])));
}

#[tokio::test]
async fn ack_may_carry_attachments() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        let acks = ask(&server, DEADLINE).await;
        let number = read_ask(&mut client).await;
        let header = format!(r#"461-{number}[{{"file":{{"_placeholder":true,"num":0}}}}]"#);
        client.send_binary(&header, &[b"\0\xff"]).await;
        let replies = in_time("the answer", acks.all()).await;
        assert_eq!(replies[0].json::<Value>().unwrap()["file"]["num"], 0);
        assert_eq!(replies[0].payload.attachments(), [&b"\0\xff"[..]]);
        server.leave(&mut client, id).await;
    }
}

#[tokio::test]
async fn open_asks_of_silent_client_are_bounded() {
    let server = Server::start().await;
    let (mut client, _) = server.client(Transport::Websocket, "ann").await;
    let first = ask(&server, DEADLINE).await;
    let first_number = read_ask(&mut client).await;
    for _ in 0..1100 {
        drop(ask(&server, DEADLINE).await);
        read_ask(&mut client).await;
    }
    // The answer to the first ask is not awaited any more, the answer to the last one is.
    client.answer(first_number, &[json!(1)]).await;
    let last = ask(&server, DEADLINE).await;
    let number = read_ask(&mut client).await;
    client.answer(number, &[json!("last")]).await;
    assert_eq!(in_time("the answer", last.all()).await[0].json::<Value>().unwrap(), "last");
    drop(client);
    let outcome = in_time("the outcome", first.all()).await;
    assert_eq!(outcome[0].status, AckStatus::Gone);
}
