//! One log for all transports: a client that changes the transport resumes at its position.

use std::net::SocketAddr;

use crate::support::{WebSocket, by_token, socket, start, text_with};
use futures_util::SinkExt;
use realtime_testkit::{SseClient, WsClient, in_time};
use realtime_unified::{
    AllowRooms, CloseReason, Context, Drain, Event, Handlers, NotificationService, SocketIoConfig, SocketIoProvider,
    SseConfig, SseProvider, Target, WsConfig, WsProvider,
};
use serde_json::Value;
use tokio_tungstenite::tungstenite::Message;

async fn started() -> (NotificationService, SocketAddr) {
    let post = async |cx: Context, text: String| cx.to_room("board").except_self().send("posted", &text).await;
    let over_ws = async |cx: Context, text: String| cx.to_room("board").over("ws").send("posted", &text).await;
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()).on("post", post).on("over ws", over_ws))
        .provider(SocketIoProvider::new(SocketIoConfig::default()).on("post", post).on("over ws", over_ws))
        .authenticator(by_token)
        .room_policy(AllowRooms);
    start(service).await
}

const TRANSPORTS: [&str; 3] = ["sse", "ws", "socket"];

/// Connects a client of the user over each transport, in the order of [`TRANSPORTS`].
async fn connected(address: SocketAddr) -> Vec<Client> {
    let mut clients = Vec::new();
    for transport in TRANSPORTS {
        let mut client = Client::connect(address, transport, None).await;
        assert_eq!(client.next().await.0, "connected");
        clients.push(client);
    }
    clients
}

/// A client of ann over one of the transports.
enum Client {
    Sse(SseClient),
    Ws(WsClient),
    Socket(WebSocket),
}

impl Client {
    async fn connect(address: SocketAddr, transport: &str, cursor: Option<&str>) -> Self {
        let resume = cursor.map(|cursor| format!("&lastEventId={cursor}")).unwrap_or_default();
        match transport {
            "sse" => Self::Sse(SseClient::new(format!("http://{address}/sse?token=ann{resume}"))),
            "ws" => Self::Ws(WsClient::new(format!("ws://{address}/ws?token=ann{resume}"))),
            _ => {
                let auth = cursor.map(|cursor| format!(r#"{{"lastEventId":"{cursor}"}}"#)).unwrap_or_default();
                Self::Socket(socket(address, "ann", &auth).await)
            }
        }
    }

    async fn send(&mut self, event: &str, text: &str) {
        match self {
            Self::Sse(_) => panic!("clients cannot send over SSE"),
            Self::Ws(client) => client.send(event, text).await.unwrap(),
            Self::Socket(socket) => {
                let packet = format!("42{}", serde_json::json!([event, text]));
                socket.send(Message::text(packet)).await.unwrap();
            }
        }
    }

    /// Returns the next event's name, payload and cursor.
    async fn next(&mut self) -> (String, Value, String) {
        match self {
            Self::Sse(client) => {
                let event = client.next().await.unwrap();
                (event.event.clone(), event.json(), event.id)
            }
            Self::Ws(client) => {
                let event = client.next_event().await.unwrap();
                (event.event, event.payload, event.id.unwrap_or_default())
            }
            Self::Socket(socket) => {
                let packet = text_with(socket, "42").await;
                let arguments: Value = serde_json::from_str(&packet[2..]).unwrap();
                let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
                (text(&arguments[0]), arguments[1].clone(), text(&arguments[2]))
            }
        }
    }
}

#[tokio::test]
async fn client_resumes_over_any_other_transport() {
    let (service, address) = started().await;
    for from in TRANSPORTS {
        for to in TRANSPORTS {
            let mut first = Client::connect(address, from, None).await;
            assert_eq!(first.next().await.0, "connected");
            service.to_user("ann", "note", &"received").await.unwrap();
            let (name, payload, cursor) = first.next().await;
            assert_eq!((name.as_str(), payload), ("note", "received".into()), "{from}");
            drop(first);
            let receipt = service.to_user("ann", "note", &"missed").await.unwrap();
            service.to_user("bob", "note", &"for another user").await.unwrap();
            let provider = service.provider(from).unwrap().broadcast();
            provider.to_user("ann", Event::json("note", "one provider").unwrap()).await.unwrap();
            service.to_all("note", &"for all").await.unwrap();

            let mut second = Client::connect(address, to, Some(&cursor)).await;
            let (name, welcome, _) = second.next().await;
            assert_eq!((name.as_str(), &welcome["resumed"]), ("connected", &true.into()), "{from} {to} {welcome}");
            let mut texts = Vec::new();
            while texts.last().is_none_or(|last| last != "for all") {
                texts.push(second.next().await.1);
            }
            // An event for one provider reaches only the connections of that provider.
            let expected: &[&str] =
                if from == to { &["missed", "one provider", "for all"] } else { &["missed", "for all"] };
            assert_eq!(texts, expected, "{from} {to}");
            assert!(receipt.position.is_some() && receipt.by_provider.len() == 3, "{receipt:?}");
        }
    }
}

#[tokio::test]
async fn send_over_all_transports_is_one_record_delivered_once() {
    let (service, address) = started().await;
    let mut clients = connected(address).await;
    let first = service.to_user("ann", "note", &1).await.unwrap();
    let second = service.to_all("note", &2).await.unwrap();
    assert_eq!(second.position.unwrap().get(), first.position.unwrap().get() + 1);
    for receipt in [&first, &second] {
        assert_eq!(receipt.delivered.unwrap().queued, 3);
        assert!(TRANSPORTS.iter().all(|name| receipt.by_provider[*name].queued == 1), "{receipt:?}");
        assert!(receipt.skipped.is_empty());
    }
    // Only Socket.IO carries bytes.
    let binary = Event::binary("note", vec![1, 2]).unwrap();
    let receipt = service.send(Target::user("ann"), binary).await.unwrap();
    assert_eq!((receipt.delivered.unwrap().queued, &receipt.skipped[..]), (1, &["sse".to_owned(), "ws".into()][..]));
    for (client, transport) in clients.iter_mut().zip(TRANSPORTS) {
        assert_eq!([client.next().await.1, client.next().await.1], [1, 2], "{transport}");
    }
    // Volatile events keep no order against the others.
    service.send(Target::user("ann"), Event::json("note", &3).unwrap().as_volatile()).await.unwrap();
    for (client, transport) in clients.iter_mut().zip(TRANSPORTS) {
        let third = async { while client.next().await.1 != 3 {} };
        in_time(transport, third).await;
    }
}

#[tokio::test]
async fn joined_user_is_a_member_over_every_transport() {
    let (service, address) = started().await;
    let mut clients = connected(address).await;
    service.socket_io("socket").unwrap().join_room("ann", "board").await.unwrap();
    assert_eq!(service.to_room("board", "note", &1).await.unwrap().delivered.unwrap().queued, 3);
    service.socket_io("ws").unwrap().leave_room("ann", "board").await.unwrap();
    assert_eq!(service.to_room("board", "note", &2).await.unwrap().delivered.unwrap().matched, 0);
    service.to_user("ann", "note", &3).await.unwrap();
    for client in &mut clients {
        assert_eq!([client.next().await.1, client.next().await.1], [1, 3]);
    }
}

#[tokio::test]
async fn room_event_of_a_handler_reaches_every_transport() {
    let (service, address) = started().await;
    service.join_room("ann", "board").await.unwrap();
    let mut clients = connected(address).await;
    for from in [1, 2] {
        clients[from].send("post", TRANSPORTS[from]).await;
        for (at, client) in clients.iter_mut().enumerate().filter(|(at, _)| *at != from) {
            let (name, text, _) = client.next().await;
            assert_eq!((name.as_str(), text), ("posted", TRANSPORTS[from].into()), "{}", TRANSPORTS[at]);
        }
    }
    // Over one transport only.
    clients[2].send("over ws", "to ws").await;
    assert_eq!(clients[1].next().await.1, "to ws");
    service.to_user("ann", "last", &"").await.unwrap();
    for client in &mut clients {
        assert_eq!(client.next().await.0, "last");
    }
}

#[tokio::test]
async fn call_for_several_providers_is_one_record_or_none() {
    let (service, address) = started().await;
    let mut clients = connected(address).await;
    let next_position = async || service.to_user("nobody", "note", &0).await.unwrap().position.unwrap().get();
    let begin = next_position().await;
    let binary = Event::binary("note", vec![1]).unwrap();
    let refused = service.broadcast(&["socket", "ws"], Target::user("ann"), binary).await.unwrap_err();
    assert_eq!(refused.to_string(), "the provider \"ws\" does not support binary events");
    assert_eq!(next_position().await, begin + 1, "nothing was appended");

    let note = Event::json("note", &1).unwrap();
    let sent = service.broadcast(&["ws", "sse"], Target::user("ann"), note).await.unwrap();
    assert_eq!(sent.by_provider.keys().collect::<Vec<_>>(), ["sse", "ws"]);
    let one = service.broadcast(&["ws"], Target::user("ann"), Event::json("note", &2).unwrap()).await.unwrap();
    assert_eq!(one.by_provider.keys().collect::<Vec<_>>(), ["ws"]);
    let joined = service.join_room("ann", "board").await.unwrap();
    assert_eq!(service.user_rooms("ann").await.unwrap(), ["board"]);
    let in_room = service.broadcast_to_room("board", "note", &3).await.unwrap();
    let left = service.leave_room("ann", "board").await.unwrap();
    assert!(service.user_rooms("ann").await.unwrap().is_empty());
    let positions = [sent, one, joined, in_room, left].map(|receipt| receipt.position.unwrap().get());
    assert_eq!(positions, [2, 3, 4, 5, 6].map(|at| begin + at));

    assert_eq!(service.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 3);
    assert_eq!(next_position().await, begin + 8, "a close is one record");
    for (client, expected) in clients.iter_mut().zip([&[1, 3][..], &[1, 2, 3], &[3]]) {
        for number in expected {
            assert_eq!(client.next().await.1, *number);
        }
    }
    service.shutdown(Drain::now()).await;
    let error = service.to_all("note", &4).await.unwrap_err();
    assert_eq!(error.code(), "closed", "{error}");
    assert_eq!(service.join_room("ann", "board").await.unwrap_err().code(), "closed");
}

/// An idempotency key covers the named providers, not those that support the event.
#[tokio::test]
async fn idempotency_key_includes_the_named_providers() {
    let (service, _) = started().await;
    let keyed = |event: Event| event.with_idempotency_key("order 7");
    let first = service.send(Target::user("ann"), keyed(Event::json("note", &1).unwrap())).await.unwrap();
    let binary = keyed(Event::binary("note", vec![1]).unwrap());
    assert_eq!(service.send(Target::user("ann"), binary.clone()).await.unwrap_err().code(), "key_reused");
    let named = service.broadcast(&["socket"], Target::user("ann"), binary.clone()).await.unwrap();
    assert!(!named.repeated() && named.position > first.position);
    assert!(service.broadcast(&["socket"], Target::user("ann"), binary).await.unwrap().repeated());
}

#[tokio::test]
async fn named_provider_that_is_shut_down_fails_before_the_log() {
    let (service, address) = started().await;
    let mut client = Client::connect(address, "sse", None).await;
    client.next().await;
    service.provider("ws").unwrap().shutdown(Drain::now()).await;
    let both = service.broadcast(&["sse", "ws"], Target::user("ann"), Event::json("note", &1).unwrap()).await;
    assert_eq!(both.unwrap_err().code(), "closed");
    let rest = service.to_user("ann", "note", &2).await.unwrap();
    assert_eq!(rest.by_provider.keys().collect::<Vec<_>>(), ["socket", "sse"]);
    assert_eq!(client.next().await.1, 2, "the failed event is not in the log");
}
