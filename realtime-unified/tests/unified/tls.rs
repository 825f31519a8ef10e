//! All transports over TLS: events, clients that do not read, and the shutdown.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use realtime_testkit::{DEADLINE, TestCertificate, connect_with_small_buffer, eventually, in_time, read_head};
use realtime_unified::http::WireConfig;
use realtime_unified::{Drain, NotificationService, SocketIoProvider, SseProvider, Tls, WsProvider, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::support::by_token;

const STALL: Duration = Duration::from_secs(1);
const TRANSPORTS: [&str; 3] = ["sse", "ws", "socket"];

type Secured = Box<TlsStream<TcpStream>>;

struct Server {
    service: NotificationService,
    address: SocketAddr,
    certificate: TestCertificate,
}

impl Server {
    async fn start() -> Self {
        let builder = NotificationService::builder()
            .provider(SseProvider::default())
            .provider(WsProvider::default())
            .provider(SocketIoProvider::default())
            .authenticator(by_token);
        let service = builder.build().await.unwrap();
        let certificate = TestCertificate::new();
        let tls = Tls::from_pem_files(certificate.certificate_file(), certificate.key_file()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let limits = WireConfig::default().with_write_stall(STALL).with_unsent_low_water(16 * 1024);
        tokio::spawn(serve(listener, service.router()).with_config(limits).with_tls(tls).into_future());
        Self { service, address, certificate }
    }

    async fn connect(&self, protocol: &str) -> Secured {
        Box::new(self.certificate.connect(connect_with_small_buffer(self.address).await, protocol).await)
    }

    /// Connects a user over a transport.
    async fn client(&self, transport: &str, user: &str) -> Client {
        let mut stream = self.connect("http/1.1").await;
        let client = match transport {
            "sse" => {
                let request = format!("GET /sse?token={user} HTTP/1.1\r\nhost: localhost\r\n\r\n");
                stream.write_all(request.as_bytes()).await.unwrap();
                assert!(read_head(&mut stream).await.starts_with("HTTP/1.1 200 "));
                Client::Sse(stream, String::new())
            }
            "ws" => Client::WebSocket(websocket(stream, &format!("/ws?token={user}")).await),
            _ => {
                let path = format!("/socket.io/?EIO=4&transport=websocket&token={user}");
                let mut socket = websocket(stream, &path).await;
                socket.send(Message::text("40")).await.unwrap();
                Client::WebSocket(socket)
            }
        };
        eventually("the user is connected", || self.connections(transport, user) == 1).await;
        client
    }

    fn connections(&self, transport: &str, user: &str) -> usize {
        self.service.connections(&realtime_unified::Target::user(user))[transport].len()
    }
}

async fn websocket(stream: Secured, path: &str) -> Box<WebSocketStream<Secured>> {
    Box::new(tokio_tungstenite::client_async(format!("ws://localhost{path}"), stream).await.unwrap().0)
}

/// A client over TLS.
enum Client {
    /// An event stream, and the text that was read of it.
    Sse(Secured, String),
    WebSocket(Box<WebSocketStream<Secured>>),
}

impl Client {
    /// Reads until this text has come.
    async fn read_until(&mut self, text: &str) {
        match self {
            Self::Sse(stream, read) => {
                while !read.contains(text) {
                    let mut piece = [0; 16 * 1024];
                    let bytes = in_time("more of the stream", stream.read(&mut piece)).await.unwrap();
                    assert_ne!(bytes, 0, "expected {text} before the end");
                    read.push_str(std::str::from_utf8(&piece[..bytes]).unwrap());
                }
                read.clear();
            }
            Self::WebSocket(socket) => loop {
                let message = in_time("a message", socket.next()).await.unwrap().unwrap();
                if message.into_text().is_ok_and(|message| message.contains(text)) {
                    return;
                }
            },
        }
    }

    /// Reads to the end of the connection, which must come with a close_notify.
    async fn ended(self) {
        match self {
            Self::Sse(mut stream, _) => {
                let mut rest = String::new();
                in_time("the end", stream.read_to_string(&mut rest)).await.unwrap();
                assert!(rest.ends_with("0\r\n\r\n"), "{rest:?}");
            }
            Self::WebSocket(mut socket) => {
                let mut closed = false;
                while let Some(Ok(message)) = in_time("the end", socket.next()).await {
                    closed |= message.is_close();
                }
                assert!(closed, "a close frame");
                let end = in_time("the end", socket.get_mut().read(&mut [0; 100])).await;
                assert_eq!(end.unwrap(), 0);
            }
        }
    }
}

#[tokio::test]
async fn events_reach_clients_of_each_transport() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let mut client = server.client(transport, "ann").await;
        server.service.broadcast_to_user(transport, "ann", "note", "over TLS").await.unwrap();
        client.read_until("over TLS").await;
    }
}

#[tokio::test]
async fn stalled_reader_of_each_transport_is_closed_alone() {
    let server = Server::start().await;
    for transport in TRANSPORTS {
        let _stuck = server.client(transport, "stuck").await;
        let mut healthy = server.client(transport, "healthy").await;
        let (start, text) = (Instant::now(), "x".repeat(20_000));
        let mut sent = 0;
        while server.connections(transport, "stuck") > 0 {
            server.service.broadcast_to_all(transport, "note", &format!("{text} {sent}.")).await.unwrap();
            healthy.read_until(&format!(" {sent}.")).await;
            sent += 1;
            assert!(start.elapsed() < DEADLINE, "{transport}: expected a close");
        }
        assert!(start.elapsed() >= STALL, "{transport}: {:?}", start.elapsed());
        assert_eq!((server.service.stats()[transport].stalled, server.connections(transport, "healthy")), (1, 1));
    }
}

#[tokio::test]
async fn drain_ends_connections_of_each_transport_in_order() {
    let server = Server::start().await;
    let mut clients = Vec::new();
    for transport in TRANSPORTS {
        clients.push(server.client(transport, "ann").await);
    }
    let drain = server.service.shutdown(Drain::over(Duration::ZERO).with_hold(Duration::ZERO));
    let ends = futures_util::future::join_all(clients.into_iter().map(Client::ended));
    in_time("the end", futures_util::future::join(drain, ends)).await;
}

#[tokio::test]
async fn one_http2_connection_carries_many_event_streams() {
    let server = Server::start().await;
    let mut client = crate::support::http2::client(server.connect("h2").await).await;
    let mut streams = Vec::new();
    for number in 0..50 {
        streams.push(crate::support::http2::get(&mut client, &format!("/sse?token=user-{number}")).await);
    }
    assert_eq!(server.service.stats()["sse"].connections, 50);
    server.service.broadcast_to_all("sse", "note", "to all").await.unwrap();
    for stream in &mut streams {
        crate::support::http2::read_until(stream, "to all").await;
    }
    // A reset stream ends its connection immediately, the others stay.
    drop(streams.split_off(10));
    eventually("40 are gone", || server.service.stats()["sse"].connections == 10).await;

    server.service.shutdown(Drain::over(Duration::ZERO).with_hold(Duration::ZERO)).await;

    for stream in &mut streams {
        crate::support::http2::to_end(stream).await;
    }
    // The client was asked to open another connection, which can reach another node.
    eventually("no further requests", || client.is_closed()).await;
}
