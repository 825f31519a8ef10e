//! Raw clients, and the routes they call.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, Request, State},
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{any, get},
};
use futures_util::stream;
use hyper_util::rt::TokioIo;
use realtime_http::{Guard, Serve, Wire, WireConfig, WireInfo, serve};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};

/// How long anything may take on a loaded machine before a test gives up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// A limit short enough for a test.
pub(crate) const STALL: Duration = Duration::from_millis(400);

/// Bytes that a response may leave in the kernel; small, so that a stall comes at once.
pub(crate) const LOW_WATER: u32 = 16 * 1024;

pub(crate) fn config() -> WireConfig {
    WireConfig::default().with_write_stall(STALL).with_unsent_low_water(LOW_WATER)
}

/// Waits for what must come, with a deadline.
pub(crate) async fn soon<F: Future>(what: &str, future: F) -> F::Output {
    match timeout(PATIENCE, future).await {
        Ok(output) => output,
        Err(_) => panic!("{what} did not come"),
    }
}

/// What the routes tell the test.
pub(crate) enum Told {
    /// A response body was dropped after so long a life.
    BodyDropped(Duration),
    /// The handle of the connection that a request came on.
    Wire(Arc<Wire>),
    /// An upgraded connection.
    Upgraded(hyper::upgrade::Upgraded),
}

pub(crate) type Tell = mpsc::Sender<Told>;

struct Dropped(Tell, Instant);

impl Drop for Dropped {
    fn drop(&mut self) {
        let _ = self.0.try_send(Told::BodyDropped(self.1.elapsed()));
    }
}

pub(crate) fn router() -> (Router, mpsc::Receiver<Told>) {
    let (tell, told) = mpsc::channel(100);
    let router = Router::new()
        .route("/hello", get(async || "hello"))
        .route("/peer", get(peer))
        .route("/flood", get(flood))
        .route("/silence", get(silence))
        .route("/wire", get(wire))
        .route("/upgrade", any(upgrade))
        .with_state(tell);
    (router, told)
}

async fn peer(
    ConnectInfo(info): ConnectInfo<WireInfo>,
    address: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
) -> String {
    if let Some(axum::Extension(ConnectInfo(address))) = address {
        assert_eq!(address, info.peer());
    }
    info.peer().to_string()
}

/// A response without end, as fast as the client reads.
async fn flood(State(tell): State<Tell>) -> Response {
    let dropped = Dropped(tell, Instant::now());
    let chunk = Bytes::from(vec![b'x'; 4096]);
    Body::from_stream(stream::unfold(dropped, move |dropped| {
        let chunk = chunk.clone();
        async move { Some((Ok::<_, Infallible>(chunk), dropped)) }
    }))
    .into_response()
}

/// A response that says one word and then stays open.
async fn silence(State(tell): State<Tell>) -> Response {
    let dropped = Dropped(tell, Instant::now());
    Body::from_stream(stream::unfold((dropped, false), async |(dropped, said)| {
        if said {
            std::future::pending::<()>().await;
        }
        Some((Ok::<_, Infallible>(Bytes::from_static(b"open")), (dropped, true)))
    }))
    .into_response()
}

async fn wire(State(tell): State<Tell>, ConnectInfo(info): ConnectInfo<WireInfo>) -> &'static str {
    let _ = tell.try_send(Told::Wire(Arc::clone(info.wire())));
    "wire"
}

/// Leaves HTTP: the bytes then belong to the test.
async fn upgrade(State(tell): State<Tell>, mut request: Request) -> Response {
    if let Some(ConnectInfo(info)) = request.extensions().get::<ConnectInfo<WireInfo>>() {
        let _ = tell.try_send(Told::Wire(Arc::clone(info.wire())));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let _ = tell.try_send(Told::Upgraded(upgraded));
        }
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "raw")]).into_response()
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) told: mpsc::Receiver<Told>,
    pub(crate) guard: Guard,
    pub(crate) running: JoinHandle<std::io::Result<()>>,
}

/// Runs `serve` with the routes above; `adjust` may change the builder.
pub(crate) async fn server(config: WireConfig, adjust: impl FnOnce(Serve) -> Serve) -> Server {
    let (router, told) = router();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let serve = adjust(serve(listener, router).with_config(config));
    let address = serve.local_addr().unwrap();
    let guard = serve.guard().clone();
    let running = tokio::spawn(serve.into_future());
    Server { address, told, guard, running }
}

impl Server {
    /// How long the body that is dropped next was alive.
    pub(crate) async fn body_dropped(&mut self) -> Duration {
        loop {
            if let Told::BodyDropped(life) = soon("the end of a body", self.told.recv()).await.unwrap() {
                return life;
            }
        }
    }

    pub(crate) async fn wire(&mut self) -> Arc<Wire> {
        loop {
            if let Told::Wire(wire) = soon("a wire", self.told.recv()).await.unwrap() {
                return wire;
            }
        }
    }

    pub(crate) async fn upgraded(&mut self) -> TokioIo<hyper::upgrade::Upgraded> {
        loop {
            if let Told::Upgraded(upgraded) = soon("an upgrade", self.told.recv()).await.unwrap() {
                return TokioIo::new(upgraded);
            }
        }
    }
}

/// Connects with a small receive buffer, so that a client that does not read is noticed after few bytes.
pub(crate) async fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(8 * 1024).unwrap();
    soon("a connection", socket.connect(address)).await.unwrap()
}

/// Sends the head of a GET request.
pub(crate) async fn ask(client: &mut TcpStream, path: &str) {
    client.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await.unwrap();
}

/// Reads the head of a response and leaves the rest.
pub(crate) async fn head(client: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(soon("a response head", client.read_u8()).await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// Reads one response whose length is known.
pub(crate) async fn response(client: &mut TcpStream) -> (String, String) {
    let head = head(client).await;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|length| length.parse::<usize>().ok())
        .unwrap_or_else(|| panic!("no length in {head}"));
    let mut body = vec![0; length];
    soon("a response body", client.read_exact(&mut body)).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Sends an upgrade request and reads its answer.
pub(crate) async fn upgrade_client(client: &mut TcpStream) {
    client
        .write_all(b"GET /upgrade HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n")
        .await
        .unwrap();
    let head = head(client).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
}

/// Reads until the connection ends, politely or not; says how many bytes came.
pub(crate) async fn drain(client: &mut TcpStream) -> usize {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        match soon("the end of the connection", client.read(&mut buffer)).await {
            Ok(0) | Err(_) => return total,
            Ok(bytes) => total += bytes,
        }
    }
}
