//! The log lines for refusals, disconnects and mistakes of the application.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{Collector, UPGRADE, accepted_socket, get, line, lines, served, socket, text_with, websocket};
use futures_util::{SinkExt, StreamExt};
use realtime_testkit::{connect_with_small_buffer, eventually, in_time};
use realtime_unified::config::Limits;
use realtime_unified::{
    Authenticator, ConnectRequest, Event, Identity, NotificationService, NotificationServiceBuilder, Origins,
    RealtimeProvider, Refusal, Rejection, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WsConfig,
    WsProvider, async_trait,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tracing::Level;

/// An authenticator that takes the user from `?token=`.
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
async fn each_refusal_logs_one_line_with_client_and_setting() {
    let (collector, _guard) = Collector::install();
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
        line.assert_has(&["address=127.0.0.1 ", "setting=\"origins\"", "localhost:5173"]);
    }

    let refused_room = ["connection refused", "reason=\"room\"", "user=\"ann\"", "tenant=\"acme\""];
    let answer = get(address, "/sse?token=ann&channel=acme/board", "").await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let room = line(&collector, &refused_room).await;
    room.assert_has(&["setting=\"room_policy\"", "acme/board", "no room_policy(…) is set", "address=127.0.0.1 "]);
    let mut refused = socket(address, "bob", r#"{"rooms":["acme/board"]}"#).await;
    let rejection = text_with(&mut refused, "44").await;
    assert!(rejection.contains(r#""code":"room""#) && rejection.contains("acme/board"), "{rejection}");
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
async fn refused_room_of_a_connection_logs_one_line() {
    let (collector, _guard) = Collector::install();
    let address = started().await;
    let mut ws = websocket(address, "/ws?token=ann").await;
    let subscribe = r#"{"type":"subscribe","payload":{"channel":"board"},"ack":1}"#;
    ws.send(Message::text(subscribe)).await.unwrap();
    let rejection = text_with(&mut ws, r#"{"type":"error""#).await;
    assert!(rejection.contains("board") && rejection.contains("no room_policy"), "{rejection}");
    let refused = line(&collector, &["room refused", "provider=\"ws\"", "user=\"ann\"", "room=\"board\""]).await;
    assert_eq!(refused.level, Level::INFO);
    assert!(refused.fields.contains("address=127.0.0.1 ") && refused.fields.contains("connection="), "{refused:?}");

    let mut socket = accepted_socket(address, "bob", "").await;
    socket.send(Message::text(r#"421["join","board"]"#)).await.unwrap();
    let rejection = text_with(&mut socket, "431").await;
    assert!(rejection.contains(r#""code":"room""#) && rejection.contains("board"), "{rejection}");
    line(&collector, &["room refused", "provider=\"socket\"", "user=\"bob\"", "room=\"board\""]).await;
}

/// A misspelt key would otherwise be ignored silently.
#[tokio::test(flavor = "current_thread")]
async fn unknown_auth_key_is_logged_at_debug() {
    let (collector, _guard) = Collector::install();
    let address = started().await;
    let known = r#"{"token":"ann","lastEventId":null,"room":null,"rooms":[],"channel":null"#;
    for (user, more) in [("ann", ""), ("bob", r#","chanels":["x"],"lang":"de""#)] {
        accepted_socket(address, user, &format!("{known}{more}}}")).await;
    }
    let logged = line(&collector, &["auth has keys", "[\"chanels\", \"lang\"]", "provider=\"socket\""]).await;
    assert_eq!(logged.level, Level::DEBUG);
    assert_eq!(collector.lines(&["auth has keys"]).len(), 1);
}

#[tokio::test(flavor = "current_thread")]
async fn each_faulty_client_logs_one_line_with_user_and_setting() {
    let (collector, _guard) = Collector::install();
    let address = started().await;
    let mut ws = websocket(address, "/ws?token=ann").await;
    ws.send(Message::text("x".repeat(2000))).await.unwrap();
    let large =
        ["connection closed for a client error", "provider=\"ws\"", "user=\"ann\"", "(1009)", "\"max_message_bytes\""];
    // Read until the client has closed the stream too.
    tokio::spawn(async move { while let Some(Ok(_)) = ws.next().await {} });
    let large = line(&collector, &large).await;
    assert_eq!(large.level, Level::INFO);
    assert!(large.fields.contains("address=127.0.0.1 ") && large.fields.contains("detail="), "{large:?}");

    // Over Socket.IO the client gets an error event, since its library hides the code of a close
    // frame.
    for (user, sent, close_code, code) in [
        ("bob", format!("42[\"{}\"]", "x".repeat(2000)), "(1009)", "too_large"),
        ("carl", "4x".into(), "(1002)", "protocol_error"),
    ] {
        let mut socket = accepted_socket(address, user, "").await;
        socket.send(Message::text(sent)).await.unwrap();
        let rejection = text_with(&mut socket, "42[\"error\"").await;
        assert!(rejection.contains(&format!(r#""code":"{code}""#)), "{rejection}");
        let user = format!("user=\"{user}\"");
        let fault =
            line(&collector, &["connection closed for a client error", "provider=\"socket\"", &user, close_code]).await;
        assert_eq!(fault.level, Level::INFO);
        assert!(fault.fields.contains("address=127.0.0.1 "), "{fault:?}");
        in_time("the end of the session", async { while let Some(Ok(_)) = socket.next().await {} }).await;
        assert_eq!(collector.lines(&["session closed for a client error"]).len(), 0, "the connection's line is enough");
    }
}

/// A session that is not connected to a namespace yet is identified by its address.
#[tokio::test(flavor = "current_thread")]
async fn each_faulty_session_logs_one_line() {
    let (collector, _guard) = Collector::install();
    let address = started().await;
    let cases = [
        ("x".repeat(2000), ["session closed for a client error", "\"too_large\"", "\"max_message_bytes\""]),
        ("4x".to_owned(), ["session closed for a client error", "\"protocol_error\"", "provider=\"socket\""]),
        ("4".repeat(20), ["connection refused", "reason=\"flood\"", "provider=\"socket\""]),
    ];
    for (sent, texts) in cases {
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

/// An authenticator that never answers for the user `hanging`.
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
async fn connect_timeout_logs_one_line_with_address_and_setting() {
    let (collector, _guard) = Collector::install();
    let config = SocketIoConfig::default().with_connect_timeout(Duration::from_millis(200));
    let builder = NotificationService::builder().provider(SocketIoProvider::new(config)).authenticator(Slow);
    let service = builder.build().await.unwrap();
    let (address, _) = served(service.router()).await;
    let late = ["connection refused", "provider=\"socket\"", "reason=\"connect_timeout\""];
    // A client that connects to no namespace, one whose authenticator takes too long, and one that
    // has disconnected from its namespace.
    for count in 1..=3 {
        let client = match count {
            1 => {
                let mut client = websocket(address, "/socket.io/?EIO=4&transport=websocket").await;
                text_with(&mut client, "0{").await;
                client
            }
            2 => {
                let mut client = socket(address, "hanging", "").await;
                let rejection = text_with(&mut client, "44").await;
                assert!(rejection.contains(r#""code":"connect_timeout""#), "{rejection}");
                client
            }
            _ => {
                let mut client = accepted_socket(address, "ann", "").await;
                client.send(Message::text("41")).await.unwrap();
                client
            }
        };
        tokio::spawn(client.for_each(async |_| {}));
        let lines = lines(&collector, &late, count).await;
        let line = lines.last().unwrap();
        assert_eq!(line.level, Level::INFO);
        line.assert_has(&["address=127.0.0.1 ", "setting=\"connect_timeout\"", "not connected in time"]);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn unknown_namespace_logs_one_line_with_its_name() {
    let (collector, _guard) = Collector::install();
    let address = started().await;
    let mut client = websocket(address, "/socket.io/?EIO=4&transport=websocket").await;
    client.send(Message::text("40/none,")).await.unwrap();
    let rejection = text_with(&mut client, "44/none,").await;
    assert!(rejection.contains(r#""code":"namespace""#), "{rejection}");
    let refused = ["connection refused", "provider=\"socket\"", "reason=\"namespace\""];
    let line = line(&collector, &refused).await;
    assert_eq!(line.level, Level::INFO);
    line.assert_has(&["address=127.0.0.1 ", "setting=\"SocketIoProvider::io\"", "/none"]);
}

#[tokio::test(flavor = "current_thread")]
async fn startup_logs_one_line_with_paths_pages_and_policy() {
    let (collector, _guard) = Collector::install();
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
    line.assert_has(&[
        "sse at /sse and /sse/refresh (pages: https://own.example)",
        &format!("ws at /ws ({pages})"),
        "/socket.io",
        "none: clients",
    ]);

    // A provider's own origins override those of the service.
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

/// A server other than `realtime_http::serve` lacks its guards.
#[tokio::test(flavor = "current_thread")]
async fn server_without_guards_logs_one_warning() {
    let (collector, _guard) = Collector::install();
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
    let notice = line(&collector, &["served without realtime_http::serve"]).await;
    assert_eq!(notice.level, Level::WARN);
}

/// Mistakes of the application appear in its log, and repeats at debug level.
#[tokio::test(flavor = "current_thread")]
async fn application_mistakes_log_errors_and_repeats_log_debug() {
    let (collector, _guard) = Collector::install();
    let service = builder().build().await.unwrap();
    let error = service.broadcast_to_user("sokcet", "ann", "news", &1).await.unwrap_err();
    let response = axum::response::IntoResponse::into_response(Rejection::from(error));
    assert_eq!(response.status(), 500);
    let error =
        line(&collector, &["a request failed", "unknown provider \"sokcet\"", "code=\"unknown_provider\""]).await;
    assert_eq!(error.level, Level::ERROR);

    let event = || Event::json("paid", &1).unwrap().with_idempotency_key("order 7");
    let sse = service.sse().unwrap().broadcast();
    let first = sse.to_all(event()).await.unwrap();
    assert!(!first.repeated() && sse.to_all(event()).await.unwrap().repeated());
    let repeat = line(&collector, &["the idempotency key is a repeat", &format!("first={}", first.id)]).await;
    assert_eq!(repeat.level, Level::DEBUG);
}

/// A client whose connection is too slow for an event cannot report this itself.
#[tokio::test(flavor = "current_thread")]
async fn skipped_event_logs_warning_with_client_and_position() {
    let (collector, _guard) = Collector::install();
    let service = builder().build().await.unwrap();
    let (address, _) = served(service.router()).await;
    let disconnected = || eventually("no connection", || service.stats()["sse"].connections == 0);
    let welcome = read(address, "", 300).await;
    let cursor = welcome.split("id: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
    disconnected().await;
    service.broadcast_to_user("sse", "ann", "large", &"x".repeat(1_000_000)).await.unwrap();
    for _ in 0..3 {
        assert!(collector.lines(&["skipping an event"]).is_empty());
        read(address, cursor, 32 * 1024).await;
        disconnected().await;
    }
    read(address, cursor, 300).await;
    let texts = ["skipping an event", "provider=\"sse\"", "user=\"ann\"", "tenant=\"acme\"", "position=1 "];
    let warning = line(&collector, &texts).await;
    assert_eq!(warning.level, Level::WARN);
    let size = warning.fields.split("size=").nth(1).unwrap().split(' ').next().unwrap().parse::<usize>().unwrap();
    assert!((1_000_000..1_001_000).contains(&size) && warning.fields.contains("connection="), "{warning:?}");
}

/// Returns the first bytes of ann's stream from this cursor on, over a socket with a small receive
/// buffer.
async fn read(address: SocketAddr, cursor: &str, bytes: usize) -> String {
    let mut stream = connect_with_small_buffer(address).await;
    let resume = if cursor.is_empty() { String::new() } else { format!("last-event-id: {cursor}\r\n") };
    let request = format!("GET /sse?token=ann HTTP/1.1\r\nhost: {address}\r\n{resume}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut read = vec![0; bytes];
    stream.read_exact(&mut read).await.unwrap();
    String::from_utf8(read).unwrap()
}
