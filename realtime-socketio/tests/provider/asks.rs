//! Questions to clients, and their answers.

use std::time::Duration;

use realtime_core::{AckReply, AckStatus, RealtimeProvider};
use serde_json::{Value, json};

use crate::TRANSPORTS;
use crate::support::{Client, PATIENCE, Server, Transport, event, soon};

async fn ask(server: &Server, timeout: Duration) -> realtime_core::Acks {
    let io = server.provider.socket_io().unwrap();
    io.to_user_with_ack("ann", event("q", 1), timeout).await.unwrap()
}

/// Reads the question and gives the number to answer with.
async fn asked(client: &mut Client) -> u64 {
    let message = client.message().await;
    assert_eq!((message.name(), &message.data), ("q", &json!(["q", 1])), "no cursor beside an ask");
    message.id.expect("a number")
}

#[tokio::test]
async fn all_devices_answer_each_in_its_way() {
    let server = Server::start().await;
    let (mut polling, first) = server.client(Transport::Polling, "ann").await;
    let (mut websocket, second) = server.client(Transport::Websocket, "ann").await;
    let acks = ask(&server, PATIENCE).await;
    let number = asked(&mut polling).await;
    polling.answer(number, &[]).await;
    let number = asked(&mut websocket).await;
    websocket.answer(number, &[json!("x"), json!([2])]).await;
    let replies = soon("the answers", acks.all()).await;
    let answer = |id| replies.iter().find(|reply| reply.connection == id).unwrap().json::<Value>().unwrap();
    assert_eq!((answer(first), answer(second)), (Value::Null, json!(["x", [2]])));
}

#[tokio::test]
async fn an_answer_may_carry_bytes() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let (mut client, id) = server.client(transport, "ann").await;
        let acks = ask(&server, PATIENCE).await;
        let number = asked(&mut client).await;
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
async fn who_leaves_is_gone_and_who_is_silent_is_late() {
    let server = Server::start().await;
    let (mut silent, silent_id) = server.client(Transport::Polling, "ann").await;
    let (mut leaver, leaver_id) = server.client(Transport::Websocket, "ann").await;
    let acks = ask(&server, Duration::from_millis(500)).await;
    let late = asked(&mut silent).await;
    asked(&mut leaver).await;
    drop(leaver);
    let replies = soon("the outcomes", acks.all()).await;
    let outcomes: Vec<_> = replies.iter().map(|reply: &AckReply| (reply.connection, reply.status)).collect();
    assert_eq!(outcomes, [(leaver_id, AckStatus::Gone), (silent_id, AckStatus::TimedOut)]);
    // Too late, unknown and twice: nobody minds.
    for number in [late, late, 999] {
        silent.answer(number, &[json!(1)]).await;
    }
    server.send(realtime_core::Target::user("ann"), "n", 1).await;
    assert_eq!(silent.event("n").await, 1);
}

#[tokio::test]
async fn a_client_that_never_answers_does_not_pile_up_asks() {
    let server = Server::start().await;
    let (mut client, _) = server.client(Transport::Websocket, "ann").await;
    let first = ask(&server, PATIENCE).await;
    let first_number = asked(&mut client).await;
    for _ in 0..1100 {
        drop(ask(&server, PATIENCE).await);
        asked(&mut client).await;
    }
    // The first one's answer is not awaited any more, the last one's is.
    client.answer(first_number, &[json!(1)]).await;
    let last = ask(&server, PATIENCE).await;
    let number = asked(&mut client).await;
    client.answer(number, &[json!("last")]).await;
    assert_eq!(soon("the answer", last.all()).await[0].json::<Value>().unwrap(), "last");
    drop(client);
    let outcome = soon("the outcome", first.all()).await;
    assert_eq!(outcome[0].status, AckStatus::Gone);
}
