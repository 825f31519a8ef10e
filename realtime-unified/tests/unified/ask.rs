//! Asks of the service, which every device of a user answers over its own transport.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{accepted_socket, by_token, sse_client, start, text_with, ws_client};
use futures_util::SinkExt;
use realtime_testkit::{MockRealtimeBroadcast, MockRealtimeProvider, MockSocketIoBroadcast};
use realtime_unified::{
    AckReply, AckStatus, Acks, AllowRooms, ConnectionId, Error, Event, NotificationService, SocketIoConfig,
    SocketIoProvider, SseConfig, SseProvider, Target, WsConfig, WsProvider,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

async fn started() -> (NotificationService, SocketAddr) {
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .authenticator(by_token)
        .room_policy(AllowRooms);
    start(service).await
}

fn question() -> Event {
    Event::json("dinner?", "pizza").unwrap()
}

/// Returns the provider, status and answer of each connection, sorted by provider.
async fn outcomes(acks: Acks) -> Vec<(&'static str, AckStatus, Value)> {
    let outcome = |reply: &AckReply| (reply.provider, reply.status, reply.json().unwrap());
    let mut outcomes: Vec<_> = acks.all().await.iter().map(outcome).collect();
    outcomes.sort_by_key(|(provider, ..)| *provider);
    outcomes
}

#[tokio::test]
async fn ask_is_one_record_with_one_deadline_for_all_devices() {
    let (service, address) = started().await;
    let ws = ws_client(address, "/ws?token=ann&channel=home").await;
    let mut ws = ws.answer_asks(|ask| Some(json!(format!("{} by ws", ask.payload.as_str().unwrap()))));
    let _silent = ws_client(address, "/ws?token=bob&channel=home").await;
    let mut io = accepted_socket(address, "ann", r#"{"rooms":["home"]}"#).await;
    let mut sse = sse_client(address, "/sse?token=ann&channel=home").await;
    tokio::spawn(async move { while ws.next_event().await.is_ok() {} });
    tokio::spawn(async move {
        loop {
            let packet = text_with(&mut io, "42").await;
            let Some((number, _)) = packet[2..].split_once("[\"dinner?\"") else { continue };
            io.send(Message::text(format!("43{number}[\"yes\"]"))).await.unwrap();
        }
    });

    let by_ws = ("ws", AckStatus::Answered, json!("pizza by ws"));
    let by_socket = ("socket", AckStatus::Answered, json!("yes"));
    let before = service.to_user("nobody", "mark", &1).await.unwrap().position.unwrap();
    let acks = service.ask("ann", question(), Duration::from_secs(10)).await.unwrap();
    assert_eq!(outcomes(acks).await, [by_socket.clone(), by_ws.clone()]);
    let after = service.to_user("nobody", "mark", &1).await.unwrap().position.unwrap();
    assert_eq!(after.get(), before.get() + 2, "one record");

    let start = std::time::Instant::now();
    let acks = service.ask_each(Target::room("home"), question(), Duration::from_millis(300)).await.unwrap();
    let unanswered = ("ws", AckStatus::TimedOut, Value::Null);
    let answers = outcomes(acks).await;
    assert!(start.elapsed() < Duration::from_secs(5), "one deadline");
    assert_eq!(answers.len(), 3);
    for outcome in [by_ws, by_socket, unanswered] {
        assert!(answers.contains(&outcome), "{outcome:?} {answers:?}");
    }
    // A client that cannot answer gets no ask.
    service.to_user("ann", "end", &1).await.unwrap();
    assert_eq!(sse.next().await.unwrap().event, "end");
}

#[tokio::test]
async fn ask_that_no_provider_supports_is_an_error() {
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .allow_anonymous()
        .build()
        .await
        .unwrap();
    let ask = async |event| service.ask("ann", event, Duration::from_secs(1)).await.map(drop);
    assert!(matches!(ask(question()).await, Err(Error::Unsupported { what: "acks", .. })));
    let (service, _) = started().await;
    let ask = async |event| service.ask("ann", event, Duration::from_secs(1)).await.map(drop);
    assert!(matches!(ask(question().as_volatile()).await, Err(Error::Unsupported { what: "volatile asks", .. })));
    ask(question()).await.unwrap();
}

#[tokio::test]
async fn every_mock_with_acks_is_asked() {
    let mock = |provider: &'static str, answer: bool| {
        let mut io = MockSocketIoBroadcast::new();
        io.expect_ask()
            .withf(|target, event, _| *target == Target::user("ann") && event.name() == "dinner?")
            .once()
            .returning(move |_, _, timeout| {
                let reply = AckReply::answered(ConnectionId::random(), Duration::ZERO, &answer)?;
                assert!(timeout <= Duration::from_secs(1));
                Ok(Acks::ready([if answer { reply.with_provider("another") } else { reply }]))
            });
        MockRealtimeProvider::named_with_socket_io(provider, io)
    };
    let sse = MockRealtimeProvider::named("sse", MockRealtimeBroadcast::new());
    let service = NotificationService::mocked([sse, mock("ws", false), mock("socket", true)]);
    let acks = service.ask("ann", question(), Duration::from_secs(1)).await.unwrap();
    let answered = AckStatus::Answered;
    assert_eq!(outcomes(acks).await, [("another", answered, json!(true)), ("ws", answered, json!(false))]);
}
