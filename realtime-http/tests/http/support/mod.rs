//! Plain TCP clients, and a server with the routes that they call.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    task::{Wake, Waker},
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
use http_body_util::{BodyExt as _, Empty, combinators::BoxBody};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use realtime_http::{Guard, GuardedStream, Serve, Wire, WireConfig, WireInfo, serve};
use realtime_testkit::{TestServer, within};
pub(crate) use realtime_testkit::{connect_with_small_buffer as connect, in_time, read_head as head};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream, duplex},
    net::TcpStream,
    sync::mpsc,
    task::JoinHandle,
};

/// A write stall short enough for a test.
pub(crate) const STALL: Duration = Duration::from_millis(400);

/// The bytes that a response may leave in the kernel; few, so that a stall begins immediately.
pub(crate) const LOW_WATER: u32 = 16 * 1024;

pub(crate) fn config() -> WireConfig {
    WireConfig::default().with_write_stall(STALL).with_unsent_low_water(LOW_WATER)
}

/// A report of the routes to the test.
pub(crate) enum Report {
    /// The drop of a response body, with its age.
    BodyDropped(Duration),
    /// The handle of a request's connection.
    Wire(Arc<Wire>),
    /// An upgraded connection.
    Upgraded(hyper::upgrade::Upgraded),
}

type Reporter = mpsc::Sender<Report>;

/// Reports its drop.
struct DropReport(Reporter, Instant);

impl Drop for DropReport {
    fn drop(&mut self) {
        let _ = self.0.try_send(Report::BodyDropped(self.1.elapsed()));
    }
}

pub(crate) fn router() -> (Router, mpsc::Receiver<Report>) {
    let (reporter, reports) = mpsc::channel(100);
    let router = Router::new()
        .route("/hello", get(async || "hello"))
        .route("/last", get(async || ([(header::CONNECTION, "close")], "last")))
        .route("/peer", get(peer))
        .route("/flood", get(flood))
        .route("/silence", get(silence))
        .route("/wire", get(wire))
        .route("/upgrade", any(upgrade))
        .with_state(reporter);
    (router, reports)
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

/// Responds without end, as fast as the client reads.
async fn flood(State(reporter): State<Reporter>) -> Response {
    let dropped = DropReport(reporter, Instant::now());
    let chunk = Bytes::from(vec![b'x'; 4096]);
    Body::from_stream(stream::unfold(dropped, move |dropped| {
        let chunk = chunk.clone();
        async move { Some((Ok::<_, Infallible>(chunk), dropped)) }
    }))
    .into_response()
}

/// Responds with one word and leaves the response open.
async fn silence(State(reporter): State<Reporter>) -> Response {
    let dropped = DropReport(reporter, Instant::now());
    Body::from_stream(stream::unfold((dropped, false), async |(dropped, is_sent)| {
        if is_sent {
            std::future::pending::<()>().await;
        }
        Some((Ok::<_, Infallible>(Bytes::from_static(b"open")), (dropped, true)))
    }))
    .into_response()
}

async fn wire(State(reporter): State<Reporter>, ConnectInfo(info): ConnectInfo<WireInfo>) -> &'static str {
    let _ = reporter.try_send(Report::Wire(Arc::clone(info.wire())));
    "wire"
}

/// Upgrades to a protocol of the test's own.
async fn upgrade(State(reporter): State<Reporter>, mut request: Request) -> Response {
    if let Some(ConnectInfo(info)) = request.extensions().get::<ConnectInfo<WireInfo>>() {
        let _ = reporter.try_send(Report::Wire(Arc::clone(info.wire())));
    }
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let _ = reporter.try_send(Report::Upgraded(upgraded));
        }
    });
    (StatusCode::SWITCHING_PROTOCOLS, [(header::CONNECTION, "upgrade"), (header::UPGRADE, "raw")]).into_response()
}

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    pub(crate) reports: mpsc::Receiver<Report>,
    pub(crate) guard: Guard,
    pub(crate) running: TestServer,
}

/// Serves the routes above; `adjust` may change the builder.
pub(crate) async fn server(config: WireConfig, adjust: impl FnOnce(Serve) -> Serve) -> Server {
    let (router, reports) = router();
    let mut guard = None;
    let running = TestServer::run(|listener| {
        let serve = adjust(serve(listener, router).with_config(config));
        guard = Some(serve.guard().clone());
        serve
    })
    .await;
    Server { address: running.address(), reports, guard: guard.unwrap(), running }
}

impl Server {
    /// Returns the age of the body that is dropped next.
    pub(crate) async fn body_dropped(&mut self) -> Duration {
        loop {
            if let Report::BodyDropped(age) = in_time("the drop of a body", self.reports.recv()).await.unwrap() {
                return age;
            }
        }
    }

    pub(crate) async fn wire(&mut self) -> Arc<Wire> {
        loop {
            if let Report::Wire(wire) = in_time("a wire", self.reports.recv()).await.unwrap() {
                return wire;
            }
        }
    }

    pub(crate) async fn upgraded(&mut self) -> TokioIo<hyper::upgrade::Upgraded> {
        loop {
            if let Report::Upgraded(upgraded) = in_time("an upgrade", self.reports.recv()).await.unwrap() {
                return TokioIo::new(upgraded);
            }
        }
    }
}

/// A stream whose peer is a test's own, and the far end of its pipe, which holds `room` bytes
/// unread.
pub(crate) fn pipe(guard: &Guard, room: usize) -> (GuardedStream<DuplexStream>, DuplexStream) {
    let (near, far) = duplex(room);
    (guard.wrap(near, PEER), far)
}

/// The peer's address of a stream without a network.
pub(crate) const PEER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 7);

/// Counts its calls.
pub(crate) struct CountingWaker(AtomicUsize);

impl CountingWaker {
    pub(crate) fn new() -> (Arc<Self>, Waker) {
        let count = Arc::new(Self(AtomicUsize::new(0)));
        (Arc::clone(&count), Waker::from(count))
    }

    pub(crate) fn count(&self) -> usize {
        self.0.load(SeqCst)
    }
}

impl Wake for CountingWaker {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

pub(crate) type Requests = http2::SendRequest<BoxBody<Bytes, Infallible>>;

/// Opens an HTTP/2 connection that grants each stream this many bytes; the task ends with it.
pub(crate) async fn http2_client(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    window: u32,
) -> (Requests, JoinHandle<hyper::Result<()>>) {
    let (requests, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(1 << 20)
        .handshake(TokioIo::new(stream))
        .await
        .unwrap();
    (requests, tokio::spawn(connection))
}

/// Sends a GET request, which must be answered with 200, and returns the body.
pub(crate) async fn get_http2(requests: &mut Requests, path: &str) -> hyper::body::Incoming {
    let request = hyper::Request::get(format!("http://test{path}")).body(Empty::new().boxed()).unwrap();
    let response = in_time("a response", requests.send_request(request)).await.unwrap();
    assert_eq!((response.status(), response.version()), (StatusCode::OK, hyper::Version::HTTP_2));
    response.into_body()
}

/// Waits for a future; with a paused clock a long limit costs nothing.
#[track_caller]
pub(crate) fn finished<F: Future>(future: F) -> impl Future<Output = F::Output> {
    within(Duration::from_secs(3600), "an output", future)
}

/// Sends the head of a GET request.
pub(crate) async fn ask(client: &mut (impl AsyncWrite + Unpin), path: &str) {
    client.write_all(format!("GET {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await.unwrap();
}

/// Reads one response with a `content-length`: its head and its body.
pub(crate) async fn response(client: &mut (impl AsyncRead + Unpin)) -> (String, String) {
    let head = head(client).await;
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length: "))
        .and_then(|length| length.parse::<usize>().ok())
        .unwrap_or_else(|| panic!("expected a content-length in {head}"));
    let mut body = vec![0; length];
    in_time("a response body", client.read_exact(&mut body)).await.unwrap();
    (head, String::from_utf8(body).unwrap())
}

/// Connects and upgrades; returns the client, its wire, and the server's end.
pub(crate) async fn upgraded(server: &mut Server) -> (TcpStream, Arc<Wire>, TokioIo<hyper::upgrade::Upgraded>) {
    let mut client = connect(server.address).await;
    let request = b"GET /upgrade HTTP/1.1\r\nhost: test\r\nconnection: upgrade\r\nupgrade: raw\r\n\r\n";
    client.write_all(request).await.unwrap();
    let head = head(&mut client).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    let wire = server.wire().await;
    (client, wire, server.upgraded().await)
}

/// Reads until the connection is closed or reset, and returns the number of bytes.
pub(crate) async fn drain(client: &mut (impl AsyncRead + Unpin)) -> usize {
    let mut buffer = [0; 4096];
    let mut total = 0;
    loop {
        match in_time("the end of the connection", client.read(&mut buffer)).await {
            Ok(0) | Err(_) => return total,
            Ok(bytes) => total += bytes,
        }
    }
}
