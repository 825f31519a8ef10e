//! Who was refused or cut, and why, as whoever runs the server finds it in the log.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{Collector, UPGRADE, get, line, lines, served, socket, text_with, websocket};
use futures_util::{SinkExt, StreamExt};
use realtime_unified::{
    Authenticator, ConnectRequest, Event, Identity, Limits, NotificationService, NotificationServiceBuilder, Origins,
    RealtimeProvider, Refusal, Rejection, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WsConfig,
    WsProvider, async_trait,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio_tungstenite::tungstenite::Message;
use tracing::Level;

/// `?token=` is the user.
struct ByToken;

#[async_trait]
impl Authenticator for ByToken {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        assert_eq!(request.address(), Some([127, 0, 0, 1].into()));
        match request.token() {
            Some(user) => Ok(Identity::user(&*user).with_tenant("acme")),
            None => Err(Refusal::unauthorized("no token")),
        }
    }
}

fn builder() -> NotificationServiceBuilder {
    let limits = Limits::default().with_connections_per_user(1);
    NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default().with_limits(limits)))
        .provider(WsProvider::new(WsConfig::default().with_limits(limits).with_max_message_bytes(1000)))
        .provider(SocketIoProvider::new(SocketIoConfig::default().with_limits(limits).with_max_message_bytes(1000)))
        .authenticator(ByToken)
}

async fn started() -> SocketAddr {
    let service = builder().build().await.unwrap();
    let (address, _) = served(service.router()).await;
    address
}

#[tokio::test(flavor = "current_thread")]
async fn each_refusal_is_one_line_with_who_and_the_setting() {
    let (collector, _guard) = Collector::listen();
    let address = started().await;
    let foreign = "origin: http://localhost:5173\r\n";
    let polling = "/socket.io/?EIO=4&transport=polling";
    for (provider, path, headers) in [("sse", "/sse", ""), ("ws", "/ws", UPGRADE), ("socket", polling, "")] {
        let answer = get(
            address,
            &format!("{path}{}token=o", if path.contains('?') { '&' } else { '?' }),
            &format!("{headers}{foreign}"),
        )
        .await;
        assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
        let provider = format!("provider=\"{provider}\"");
        let line = line(&collector, &["connection refused", &provider, "reason=\"origin\""]).await;
        assert_eq!(line.level, Level::INFO);
        for field in ["address=127.0.0.1 ", "setting=\"origins\"", "localhost:5173"] {
            assert!(line.fields.contains(field), "{field}: {line:?}");
        }
    }

    let refused_room = ["connection refused", "reason=\"room\"", "user=\"ann\"", "tenant=\"acme\""];
    let answer = get(address, "/sse?token=ann&channel=acme/board", "").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let room = line(&collector, &refused_room).await;
    for field in ["setting=\"room_policy\"", "acme/board", "no room_policy(…) is set", "address=127.0.0.1 "] {
        assert!(room.fields.contains(field), "{field}: {room:?}");
    }
    let mut refused = socket(address, "bob", r#"{"rooms":["acme/board"]}"#).await;
    let said = text_with(&mut refused, "44").await;
    assert!(said.contains(r#""code":"room""#) && said.contains("acme/board"), "{said}");
    line(&collector, &["connection refused", "provider=\"socket\"", "user=\"bob\"", "acme/board"]).await;

    let unknown = get(address, "/sse", "").await;
    assert!(unknown.starts_with("HTTP/1.1 401"), "{unknown}");
    line(&collector, &["connection refused", "setting=\"authenticator\"", "no token", "address=127.0.0.1 "]).await;

    let _first = websocket(address, "/ws?token=carl").await;
    let second = get(address, "/ws?token=carl", UPGRADE).await;
    assert!(second.starts_with("HTTP/1.1 429"), "{second}");
    let limit = ["connection refused", "user=\"carl\"", "setting=\"limits.connections_per_user\""];
    assert_eq!(line(&collector, &limit).await.level, Level::INFO);
}

#[tokio::test(flavor = "current_thread")]
async fn a_refused_room_of_a_connection_is_one_line_too() {
    let (collector, _guard) = Collector::listen();
    let address = started().await;
    let mut ws = websocket(address, "/ws?token=ann").await;
    let subscribe = r#"{"type":"subscribe","payload":{"channel":"board"},"ack":1}"#;
    ws.send(Message::text(subscribe)).await.unwrap();
    let said = text_with(&mut ws, r#"{"type":"error""#).await;
    assert!(said.contains("board") && said.contains("no room_policy"), "{said}");
    let refused = line(&collector, &["room refused", "provider=\"ws\"", "user=\"ann\"", "room=\"board\""]).await;
    assert_eq!(refused.level, Level::INFO);
    assert!(refused.fields.contains("address=127.0.0.1 ") && refused.fields.contains("connection="), "{refused:?}");

    let mut socket = socket(address, "bob", "").await;
    text_with(&mut socket, "40").await;
    socket.send(Message::text(r#"421["join","board"]"#)).await.unwrap();
    let said = text_with(&mut socket, "431").await;
    assert!(said.contains(r#""code":"room""#) && said.contains("board"), "{said}");
    line(&collector, &["room refused", "provider=\"socket\"", "user=\"bob\"", "room=\"board\""]).await;
}

/// A key that is misspelt would be ignored without a word.
#[tokio::test(flavor = "current_thread")]
async fn an_unknown_key_of_auth_is_told_at_debug() {
    let (collector, _guard) = Collector::listen();
    let address = started().await;
    let known = r#"{"token":"ann","lastEventId":null,"room":null,"rooms":[],"channel":null"#;
    for (user, more) in [("ann", ""), ("bob", r#","chanels":["x"],"lang":"de""#)] {
        let mut socket = socket(address, user, &format!("{known}{more}}}")).await;
        text_with(&mut socket, "40").await;
    }
    let told = line(&collector, &["auth has keys", "[\"chanels\", \"lang\"]", "provider=\"socket\""]).await;
    assert_eq!(told.level, Level::DEBUG);
    assert_eq!(collector.lines(&["auth has keys"]).len(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn each_end_for_a_fault_is_one_line_with_who_and_the_setting() {
    let (collector, _guard) = Collector::listen();
    let address = started().await;
    let mut ws = websocket(address, "/ws?token=ann").await;
    ws.send(Message::text("x".repeat(2000))).await.unwrap();
    let large = ["disconnected for a fault", "provider=\"ws\"", "user=\"ann\"", "(1009)", "\"max_message_bytes\""];
    // Until the client has ended the stream too.
    tokio::spawn(async move { while let Some(Ok(_)) = ws.next().await {} });
    let large = line(&collector, &large).await;
    assert_eq!(large.level, Level::INFO);
    assert!(large.fields.contains("address=127.0.0.1 ") && large.fields.contains("detail="), "{large:?}");

    // Over Socket.IO the client hears why, for its library does not show the code of a close frame.
    for (user, sent, code, word) in [
        ("bob", format!("42[\"{}\"]", "x".repeat(2000)), "(1009)", "too_large"),
        ("carl", "4x".into(), "(1002)", "protocol_error"),
    ] {
        let mut socket = socket(address, user, "").await;
        text_with(&mut socket, "40").await;
        socket.send(Message::text(sent)).await.unwrap();
        let said = text_with(&mut socket, "42[\"error\"").await;
        assert!(said.contains(&format!(r#""code":"{word}""#)), "{said}");
        let user = format!("user=\"{user}\"");
        let fault = line(&collector, &["disconnected for a fault", "provider=\"socket\"", &user, code]).await;
        assert_eq!(fault.level, Level::INFO);
        assert!(fault.fields.contains("address=127.0.0.1 "), "{fault:?}");
    }
}

/// A session that is no connection yet is known by its address.
#[tokio::test(flavor = "current_thread")]
async fn each_end_of_a_session_for_a_fault_is_one_line() {
    let (collector, _guard) = Collector::listen();
    let address = started().await;
    let ends = [
        ("x".repeat(2000), ["session ended for a fault", "\"too_large\"", "\"max_message_bytes\""]),
        ("4x".to_owned(), ["session ended for a fault", "\"protocol_error\"", "provider=\"socket\""]),
        ("4".repeat(20), ["connection refused", "reason=\"flood\"", "provider=\"socket\""]),
    ];
    for (sent, texts) in ends {
        let mut session = websocket(address, "/socket.io/?EIO=4&transport=websocket").await;
        text_with(&mut session, "0{").await;
        let sends = if sent.len() == 20 { 20 } else { 1 };
        for _ in 0..sends {
            session.send(Message::text(if sends == 1 { sent.clone() } else { "42/own,[]".to_owned() })).await.unwrap();
        }
        tokio::spawn(async move { while let Some(Ok(_)) = session.next().await {} });
        let line = line(&collector, &texts).await;
        assert_eq!(line.level, Level::INFO);
        assert!(line.fields.contains("address=127.0.0.1 "), "{line:?}");
    }
}

/// Never answers for `hanging`.
struct Slow;

#[async_trait]
impl Authenticator for Slow {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        match request.token() {
            Some(user) if user == "hanging" => std::future::pending().await,
            user => Ok(Identity::user(&*user.unwrap_or_default())),
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn who_connects_too_late_is_one_line_with_where_from_and_the_setting() {
    let (collector, _guard) = Collector::listen();
    let config = SocketIoConfig::default().with_connect_timeout(Duration::from_millis(200));
    let builder = NotificationService::builder().provider(SocketIoProvider::new(config)).authenticator(Slow);
    let service = builder.build().await.unwrap();
    let (address, _) = served(service.router()).await;
    let late = ["connection refused", "provider=\"socket\"", "reason=\"connect_timeout\""];
    // One that connects to no namespace, one whose authenticator takes too long, and one that has left.
    for count in 1..=3 {
        let client = match count {
            1 => {
                let mut client = websocket(address, "/socket.io/?EIO=4&transport=websocket").await;
                text_with(&mut client, "0{").await;
                client
            }
            2 => {
                let mut client = socket(address, "hanging", "").await;
                let said = text_with(&mut client, "44").await;
                assert!(said.contains(r#""code":"connect_timeout""#), "{said}");
                client
            }
            _ => {
                let mut client = socket(address, "ann", "").await;
                text_with(&mut client, "40").await;
                client.send(Message::text("41")).await.unwrap();
                client
            }
        };
        tokio::spawn(client.for_each(async |_| {}));
        let lines = lines(&collector, &late, count).await;
        let line = lines.last().unwrap();
        assert_eq!(line.level, Level::INFO);
        for field in ["address=127.0.0.1 ", "setting=\"connect_timeout\"", "not connected in time"] {
            assert!(line.fields.contains(field), "{field}: {line:?}");
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn a_namespace_that_there_is_not_is_one_line_with_its_name() {
    let (collector, _guard) = Collector::listen();
    let address = started().await;
    let mut client = websocket(address, "/socket.io/?EIO=4&transport=websocket").await;
    client.send(Message::text("40/none,")).await.unwrap();
    let said = text_with(&mut client, "44/none,").await;
    assert!(said.contains(r#""code":"namespace""#), "{said}");
    let refused = ["connection refused", "provider=\"socket\"", "reason=\"namespace\""];
    let line = line(&collector, &refused).await;
    assert_eq!(line.level, Level::INFO);
    for field in ["address=127.0.0.1 ", "setting=\"SocketIoProvider::io\"", "/none"] {
        assert!(line.fields.contains(field), "{field}: {line:?}");
    }
}

#[tokio::test(flavor = "current_thread")]
async fn the_start_is_one_line_with_paths_pages_and_policy() {
    let (collector, _guard) = Collector::listen();
    let own = SseConfig::default().with_origins(Origins::only(["https://own.example"]));
    let service = NotificationService::builder()
        .provider(SseProvider::new(own))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .origins(Origins::same_host().and("http://localhost:5173"))
        .allow_anonymous()
        .build()
        .await
        .unwrap();
    let line = line(&collector, &["notification service built"]).await;
    assert_eq!(line.level, Level::INFO);
    let pages = "pages: same host, http://localhost:5173";
    for part in
        ["sse at /sse (pages: https://own.example)", &format!("ws at /ws ({pages})"), "/socket.io", "none: clients"]
    {
        assert!(line.fields.contains(part), "{part}: {}", line.fields);
    }

    // A provider's own pages win, and those of the service are for the others.
    let (address, _) = served(service.router()).await;
    for (path, headers, own, service) in
        [("/sse", "", 200, 403), ("/ws", UPGRADE, 403, 101), ("/socket.io/?EIO=4&transport=polling", "", 403, 200)]
    {
        for (origin, status) in [("https://own.example", own), ("http://localhost:5173", service)] {
            let answer = get(address, path, &format!("{headers}origin: {origin}\r\n")).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{path} {origin}: {answer}");
        }
    }
}

/// Whoever serves the routes in another way than ours is told once what that lacks.
#[tokio::test(flavor = "current_thread")]
async fn a_server_without_the_guards_is_noticed_once() {
    let (collector, _guard) = Collector::listen();
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .allow_anonymous()
        .build()
        .await
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, service.router()).await });
    for path in ["/sse", "/socket.io/?EIO=4&transport=polling", "/sse"] {
        assert!(get(address, path, "").await.starts_with("HTTP/1.1 200"), "{path}");
    }
    let notice = line(&collector, &["without the guards", "realtime_http::serve"]).await;
    assert_eq!(notice.level, Level::WARN);
}

/// What an application did wrong is for its own log, and a repeat is seen by whoever looks for it.
#[tokio::test(flavor = "current_thread")]
async fn mistakes_of_the_application_are_errors_and_repeats_are_told() {
    let (collector, _guard) = Collector::listen();
    let service = builder().build().await.unwrap();
    let mistake = service.broadcast_to_user("sokcet", "ann", "news", &1).await.unwrap_err();
    let response = axum::response::IntoResponse::into_response(Rejection::from(mistake));
    assert_eq!(response.status(), 500);
    let error =
        line(&collector, &["a request failed", "unknown provider \"sokcet\"", "code=\"unknown_provider\""]).await;
    assert_eq!(error.level, Level::ERROR);

    let event = || Event::json("paid", &1).unwrap().with_idempotency_key("order 7");
    let sse = service.sse().unwrap().broadcast();
    let first = sse.to_all(event()).await.unwrap();
    assert!(!first.repeated() && sse.to_all(event()).await.unwrap().repeated());
    let repeat = line(&collector, &["the idempotency key is known", &format!("first={}", first.id)]).await;
    assert_eq!(repeat.level, Level::DEBUG);
}

/// A line that is too slow for an event is nothing that its client could tell.
#[tokio::test(flavor = "current_thread")]
async fn an_event_that_is_passed_over_is_a_warning_with_who_and_which() {
    let (collector, _guard) = Collector::listen();
    let service = builder().build().await.unwrap();
    let (address, _) = served(service.router()).await;
    let left = || async {
        while service.stats()["sse"].connections > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let welcome = read(address, "", 300).await;
    let place = welcome.split("id: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    left().await;
    service.broadcast_to_user("sse", "ann", "large", &"x".repeat(1_000_000)).await.unwrap();
    for _ in 0..3 {
        assert!(collector.lines(&["an event is passed over"]).is_empty());
        read(address, place, 32 * 1024).await;
        left().await;
    }
    read(address, place, 300).await;
    let passed = ["an event is passed over", "provider=\"sse\"", "user=\"ann\"", "tenant=\"acme\"", "position=1 "];
    let passed = line(&collector, &passed).await;
    assert_eq!(passed.level, Level::WARN);
    let size = passed.fields.split("size=").nth(1).unwrap().split(' ').next().unwrap().parse::<usize>().unwrap();
    assert!((1_000_000..1_001_000).contains(&size) && passed.fields.contains("connection="), "{passed:?}");
}

/// The first bytes of ann's stream from this place on, whose host keeps little of what is not read.
async fn read(address: SocketAddr, place: &str, bytes: usize) -> String {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    let mut stream = socket.connect(address).await.unwrap();
    let resume = if place.is_empty() { String::new() } else { format!("last-event-id: {place}\r\n") };
    let request = format!("GET /sse?token=ann HTTP/1.1\r\nhost: {address}\r\n{resume}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut some = vec![0; bytes];
    stream.read_exact(&mut some).await.unwrap();
    String::from_utf8(some).unwrap()
}
