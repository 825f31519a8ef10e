//! The limits of a service before a connection: of tenants, of addresses, and the rates of
//! handshakes, over all providers.

use std::net::SocketAddr;

use futures_util::SinkExt;
use realtime_testkit::{eventually, in_time, read_head};
use realtime_unified::config::Limits;
use realtime_unified::http::TrustedProxies;
use realtime_unified::{
    ConnectRequest, Identity, NotificationService, NotificationServiceBuilder, Refusal, SocketIoConfig,
    SocketIoProvider, SseConfig, SseProvider, TicketConfig, WsConfig, WsProvider,
};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Collector, UPGRADE, answer, line, start, text_with, websocket};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";

/// The headers by which the proxy reports two clients.
const ANN: &str = "x-forwarded-for: 10.0.0.7\r\n";
const BOB: &str = "x-forwarded-for: 10.0.0.8\r\n";

/// Identifies the user by `?token=tenant:user`.
async fn by_token(request: ConnectRequest) -> Result<Identity, Refusal> {
    let token = request.token().unwrap_or_default();
    Ok(match token.split_once(':') {
        Some((tenant, user)) => Identity::user(user).with_tenant(tenant),
        None => Identity::user(&*token),
    })
}

/// Returns a service with each provider, which trusts a proxy on this host.
fn builder(limits: Limits) -> NotificationServiceBuilder {
    let proxies = TrustedProxies::new(["127.0.0.1"]).unwrap();
    NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default().with_limits(limits).with_trusted_proxies(proxies.clone())))
        .provider(WsProvider::new(WsConfig::default().with_limits(limits).with_trusted_proxies(proxies.clone())))
        .provider(SocketIoProvider::new(SocketIoConfig::default().with_limits(limits).with_trusted_proxies(proxies)))
        .authenticator(by_token)
        .tickets(TicketConfig::default())
}

/// A client behind the proxy, with the head of the answer to its request.
struct Visit {
    stream: TcpStream,
    head: String,
}

impl Visit {
    async fn new(address: SocketAddr, path: &str, headers: &str) -> Self {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\n{headers}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let head = read_head(&mut stream).await.to_ascii_lowercase();
        Self { stream, head }
    }

    /// Visits from this address.
    async fn from(address: SocketAddr, path: &str, headers: &str, client: &str) -> Self {
        Self::new(address, path, &format!("{headers}x-forwarded-for: {client}\r\n")).await
    }

    /// Returns the packet with which a session on long polling opens.
    async fn open_packet(mut self) -> Value {
        let packet = self.body().await;
        serde_json::from_slice(&packet[1..]).unwrap()
    }

    fn header(&self, name: &str) -> u64 {
        let value = self.head.split(&format!("\r\n{name}: ")).nth(1).and_then(|rest| rest.split('\r').next());
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name}: {}", self.head))
    }

    async fn body(&mut self) -> Vec<u8> {
        let mut body = vec![0; usize::try_from(self.header("content-length")).unwrap()];
        in_time("a body", self.stream.read_exact(&mut body)).await.unwrap();
        body
    }

    fn status(&self) -> u16 {
        self.head.split(' ').nth(1).unwrap().parse().unwrap()
    }

    /// Returns the code of a refusal with 429, and the seconds to wait.
    async fn refusal(mut self) -> (String, u64) {
        assert_eq!(self.status(), 429, "{}", self.head);
        let body: Value = serde_json::from_slice(&self.body().await).unwrap();
        let after = self.header("retry-after");
        (body["error"]["code"].as_str().unwrap().to_owned(), after)
    }
}

/// The requests that connect over each transport, for a user of a tenant.
fn transports(token: &str) -> [(String, &'static str); 3] {
    [
        (format!("/sse?token={token}"), ""),
        (format!("/ws?token={token}"), UPGRADE),
        (format!("{POLLING}&token={token}"), ""),
    ]
}

#[tokio::test]
async fn connections_of_an_address_count_over_all_providers() {
    let (service, address) = start(builder(Limits::default()).connections_per_address(2)).await;
    let client = "2001:db8::1";
    let stream = Visit::from(address, "/sse?token=ann", "", client).await;
    let _socket = Visit::from(address, "/ws?token=bob", UPGRADE, "2001:db8::2:2").await;
    let connections = || service.stats().values().map(|stats| stats.connections).sum::<u64>();
    eventually("two connections", || connections() == 2).await;
    for (path, headers) in transports("cid") {
        let (code, after) = Visit::from(address, &path, headers, client).await.refusal().await;
        assert_eq!((code.as_str(), (5..=10).contains(&after)), ("address_limit", true), "{path} {after}");
    }
    for name in ["socket", "sse", "ws"] {
        assert_eq!(service.stats()[name].refused["address_limit"], 1, "{name}");
    }
    let others = ["2001:db8:0:1::1", "10.0.0.7"].map(|client| Visit::from(address, "/sse?token=cid", "", client));
    for other in others {
        assert_eq!(other.await.status(), 200);
    }
    drop(stream);
    eventually("a free slot", || service.stats()["sse"].connections == 0).await;
    assert_eq!(Visit::from(address, "/ws?token=cid", UPGRADE, client).await.status(), 101);
}

#[tokio::test]
async fn tenant_at_its_limit_leaves_the_others_room() {
    let (collector, _guard) = Collector::install();
    let (service, address) = start(builder(Limits::default()).connections_per_tenant(2)).await;
    let _first = Visit::new(address, "/sse?token=acme:ann", "").await;
    let second = Visit::new(address, "/ws?token=acme:bob", UPGRADE).await;
    eventually("two connections", || service.stats()["ws"].connections == 1).await;
    for (path, headers) in &transports("acme:cid")[..2] {
        let (code, after) = Visit::new(address, path, headers).await.refusal().await;
        assert_eq!((code.as_str(), (5..=10).contains(&after)), ("tenant_limit", true), "{path} {after}");
    }
    let refused = socket(address, "acme:cid", "44").await;
    assert!(refused.contains("tenant_limit") && refused.contains("retryAfterMs"), "{refused}");
    for provider in ["socket", "sse", "ws"] {
        let provider = format!("provider=\"{provider}\"");
        let texts = ["connection refused", "tenant_limit", "setting=\"connections_per_tenant\"", &provider];
        line(&collector, &texts).await.assert_has(&["tenant=\"acme\"", "user=\"cid\""]);
    }

    let others = [
        Visit::new(address, "/sse?token=globex:cid", "").await,
        Visit::new(address, "/ws?token=globex:cid", UPGRADE).await,
    ];
    assert_eq!(others.map(|visit| visit.status()), [200, 101]);
    let _nobodys = Visit::new(address, "/ws?token=dan", UPGRADE).await;
    drop(second);
    eventually("a free slot", || service.connections(&realtime_unified::Target::tenant("acme"))["ws"].is_empty()).await;
    socket(address, "acme:cid", "40").await;
}

/// Connects over Socket.IO, and returns the answer to the CONNECT.
async fn socket(address: SocketAddr, token: &str, answer: &str) -> String {
    let mut socket = websocket(address, &format!("/socket.io/?EIO=4&transport=websocket&token={token}")).await;
    text_with(&mut socket, "0{").await;
    socket.send(Message::text("40")).await.unwrap();
    text_with(&mut socket, answer).await
}

#[tokio::test]
async fn one_tenant_has_half_of_a_provider_unless_its_limit_is_set() {
    let limits = Limits::default().with_connections(4);
    for (limit, expected) in [(None, 2), (Some(3), 3), (Some(usize::MAX), 4)] {
        let mut builder = builder(limits);
        if let Some(limit) = limit {
            builder = builder.connections_per_tenant(limit);
        }
        let (_service, address) = start(builder).await;
        let mut accepted = Vec::new();
        for user in ["a", "b", "c", "d"] {
            let visit = Visit::new(address, &format!("/sse?token=acme:{user}"), "").await;
            accepted.extend((visit.status() == 200).then_some(visit));
        }
        assert_eq!(accepted.len(), expected, "{limit:?}");
        let other = Visit::new(address, "/sse?token=globex:a", "").await;
        assert_eq!(other.status(), if expected < 4 { 200 } else { 503 }, "{limit:?}");
    }
}

/// Repeats a request until it is refused for its rate, of which one more each second is accepted.
async fn until_refused(address: SocketAddr, line: &str, headers: &str) -> (String, Value) {
    let refused = async {
        loop {
            let (head, body) = answer(address, line, headers).await;
            if head.contains(" 429 ") {
                return (head, body);
            }
        }
    };
    in_time("a refusal", refused).await
}

#[tokio::test]
async fn handshakes_count_on_each_route_and_polls_do_not() {
    let (collector, _guard) = Collector::install();
    let (service, address) = start(builder(Limits::default()).handshakes_per_address(1)).await;
    let session = Visit::new(address, POLLING, ANN).await;
    let sid = session.open_packet().await["sid"].as_str().unwrap().to_owned();
    let connects = transports("ann").map(|(path, headers)| (format!("GET {path}"), headers));
    let others = ["POST /sse/refresh?connectionId=x&token=ann", "POST /ticket?token=ann"];
    let others = others.map(|line| (line.to_owned(), ""));
    for (request, headers) in connects.iter().chain(&others) {
        let (head, body) = until_refused(address, request, &format!("{headers}{ANN}")).await;
        assert!(head.contains("\r\nretry-after: 1\r\n"), "{request}: {head}");
        assert_eq!(body["error"]["code"], "handshake_rate", "{request}");
    }
    let poll = Visit::new(address, &format!("{POLLING}&sid={sid}"), ANN).await;
    assert_eq!(poll.status(), 200, "of a session that is open");
    let (head, _) = answer(address, "OPTIONS /sse", "").await;
    assert!(head.contains(" 204 "), "{head}");

    for name in ["socket", "sse", "ws"] {
        assert!(service.stats()[name].refused["handshake_rate"] >= 1, "{name}");
    }
    let logged = collector.lines(&["connection refused", "handshake_rate", "handshakes_per_address"]);
    assert!(!logged.is_empty());
}

#[tokio::test]
async fn each_address_has_a_rate_of_its_own_below_that_of_the_node() {
    let builder = builder(Limits::default()).handshakes_per_address(1).handshakes_per_second(1_000);
    let (_service, address) = start(builder).await;
    let (_, body) = until_refused(address, "POST /ticket?token=ann", ANN).await;
    assert!(body["error"]["message"].as_str().unwrap().contains("this address"), "{body}");
    let (head, _) = answer(address, "POST /ticket?token=bob", BOB).await;
    assert!(head.contains(" 200 "), "{head}");
}
