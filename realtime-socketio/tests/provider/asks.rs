//! Asks to clients, and their answers.

use std::time::Duration;

use realtime_core::{AckReply, AckStatus, RealtimeProvider};
use serde_json::{Value, json};

use crate::TRANSPORTS;
use crate::support::{Client, PATIENCE, Server, Transport, event, soon};

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
    let acks = ask(&server, PATIENCE).await;
    let number = read_ask(&mut polling).await;
    polling.answer(number, &[]).await;
    let number = read_ask(&mut websocket).await;
    websocket.answer(number, &[json!("x"), json!([2])]).await;
    let replies = soon("the answers", acks.all()).await;
    let answer = |id| replies.iter().find(|reply| reply.connection == id).unwrap().json::<Value>().unwrap();
    assert_eq!((answer(first), answer(second)), (Value::Null, json!(["x", [2]])));
}

#[tokio::test]
async fn ack_may_carry_attachments() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        let acks = ask(&server, PATIENCE).await;
        let number = read_ask(&mut client).await;
        let header = format!(r#"461-{number}[{{"file":{{"_placeholder":true,"num":0}}}}]"#);
        client.send_binary(&header, &[b"\0\xff"]).await;
        let replies = soon("the answer", acks.all()).await;
        assert_eq!(replies[0].json::<Value>().unwrap()["file"]["num"], 0);
        assert_eq!(replies[0].payload.attachments(), [&b"\0\xff"[..]]);
        client.send("41").await;
        server.ended(id).await;
    }
}

#[tokio::test]
async fn disconnected_client_is_gone_and_silent_one_times_out() {
    let server = Server::start().await;
    let (mut silent, silent_id) = server.client(Transport::Polling, "ann").await;
    let (mut leaver, leaver_id) = server.client(Transport::Websocket, "ann").await;
    let acks = ask(&server, Duration::from_millis(500)).await;
    let late = read_ask(&mut silent).await;
    read_ask(&mut leaver).await;
    drop(leaver);
    let replies = soon("the outcomes", acks.all()).await;
    let outcomes: Vec<_> = replies.iter().map(|reply: &AckReply| (reply.connection, reply.status)).collect();
    assert_eq!(outcomes, [(leaver_id, AckStatus::Gone), (silent_id, AckStatus::TimedOut)]);
    // Acks that are late, repeated or unknown are ignored.
    for number in [late, late, 999] {
        silent.answer(number, &[json!(1)]).await;
    }
    server.send(realtime_core::Target::user("ann"), "n", 1).await;
    assert_eq!(silent.event("n").await, 1);
}

#[tokio::test]
async fn open_asks_of_silent_client_are_bounded() {
    let server = Server::start().await;
    let (mut client, _) = server.client(Transport::Websocket, "ann").await;
    let first = ask(&server, PATIENCE).await;
    let first_number = read_ask(&mut client).await;
    for _ in 0..1100 {
        drop(ask(&server, PATIENCE).await);
        read_ask(&mut client).await;
    }
    // The answer to the first ask is not awaited any more, the answer to the last one is.
    client.answer(first_number, &[json!(1)]).await;
    let last = ask(&server, PATIENCE).await;
    let number = read_ask(&mut client).await;
    client.answer(number, &[json!("last")]).await;
    assert_eq!(soon("the answer", last.all()).await[0].json::<Value>().unwrap(), "last");
    drop(client);
    let outcome = soon("the outcome", first.all()).await;
    assert_eq!(outcome[0].status, AckStatus::Gone);
}
