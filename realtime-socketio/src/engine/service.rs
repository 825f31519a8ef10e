use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Method, Request, StatusCode, Version, header};
use http_body_util::BodyExt;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use realtime_core::{Refusal, RefusalKind};
use realtime_http::{TrustedProxies, Wire, WireInfo, refusal_response, websocket_request};
use socketioxide::service::SocketIoService;
use socketioxide::socket::Sid;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tower_service::Service;

use crate::engine::adapter::DirectAdapter;
use crate::engine::answer::Answer;
use crate::engine::cause::Cause;
use crate::engine::handover::Handover;
use crate::engine::heartbeat;
use crate::engine::opening::{Greeting, Opening};
use crate::engine::post::PostBody;
use crate::engine::probe::Probe;
use crate::engine::query::{self, Query, Sought, Transport};
use crate::engine::session::{EngineSession, GRACE, Registry};
use crate::engine::sessions::{self, SessionGuard, Sessions};
use crate::engine::settings::{Heartbeat, Limits};
use crate::engine::stream::SessionStream;
use crate::packet::entry;
use crate::packet::head::HeadScan;
use crate::packet::payload::SEPARATOR;

type Inner = SocketIoService<NotFound, DirectAdapter>;

/// The HTTP side of Socket.IO: opens sessions, carries long polling, upgrades to websockets.
///
/// It stands before socketioxide's service to see what that does not tell: it performs the
/// upgrade itself, to run the websocket on a stream of ours, and it looks at long polling's
/// requests and answers. It works behind any listener that offers upgrades.
#[derive(Clone)]
pub(crate) struct EngineService {
    inner: Inner,
    sessions: Arc<Sessions>,
    limits: Limits,
    heartbeat: Heartbeat,
    proxies: Arc<TrustedProxies>,
}

impl EngineService {
    pub(crate) fn new(
        inner: Inner,
        sessions: Arc<Sessions>,
        limits: Limits,
        heartbeat: Heartbeat,
        proxies: TrustedProxies,
    ) -> Self {
        Self { inner, sessions, limits, heartbeat, proxies: Arc::new(proxies) }
    }

    /// The session of a session.
    #[cfg(test)]
    pub(crate) fn session(&self, secret: &str) -> Arc<EngineSession> {
        let secret = crate::engine::secret::Secret::parse(secret).expect("a session's id");
        self.sessions.find(&[secret]).expect("a session that goes on").1
    }

    /// Answers a request that opens no session as Engine.IO does; counted and logged.
    fn refuse(&self, request: Request<Body>, code: u8, message: &'static str) -> Response {
        self.report(request, message);
        misasked(code, message)
    }

    /// Answers a request for a new session where there are none any more; counted and logged.
    fn turn_away(&self, request: Request<Body>) -> Response {
        let refusal = Refusal::new(RefusalKind::Draining, "this node is going down");
        self.sessions.report(refusal.clone(), self.proxies.client(&request.into_parts().0));
        refusal_response(&refusal)
    }

    fn report(&self, request: Request<Body>, message: &'static str) {
        self.sessions.report(Refusal::bad_request(message), self.proxies.client(&request.into_parts().0));
    }

    async fn answer(self, mut request: Request<Body>) -> Response {
        let Query { protocol, transport, sid, marks } = Query::of(&request);
        let Some(transport) = transport else { return self.refuse(request, 0, "Transport unknown") };
        if !protocol {
            return self.refuse(request, 5, "Unsupported protocol version");
        }
        let secrets = match sid {
            Sought::Session(secrets) => secrets,
            Sought::Foreign => return unknown_session(),
            Sought::None if request.method() != Method::GET => return self.refuse(request, 2, "Bad handshake method"),
            Sought::None => {
                match query::opening_uri(request.uri(), transport) {
                    Ok(None) => {}
                    Ok(Some(uri)) => *request.uri_mut() = uri,
                    Err(query::TooLong) => return self.refuse(request, 3, "Bad request"),
                }
                return match transport {
                    Transport::Websocket => self.open_websocket(request),
                    Transport::Polling => self.open_polling(request, marks).await,
                };
            }
        };
        // engineioxide, which knows the session by the id that Socket.IO shows, sees no query of a client's from here on.
        let Some((sid, session)) = self.sessions.find(&secrets) else {
            let polls = request.method() == Method::GET && transport == Transport::Polling;
            return if polls && self.sessions.is_to_be_told(&secrets) { closed() } else { unknown_session() };
        };
        session.hear();
        let get = request.method() == Method::GET;
        match (request.method().as_str(), transport) {
            ("GET", Transport::Websocket) => self.upgrade(addressed(request, transport, sid), session),
            ("GET" | "POST", Transport::Polling) if session.repeats.is_unheard(get, &marks, wire_of(&request)) => {
                tracing::debug!("a request came twice: what was in the answer to the first is lost");
                session.close_for(Cause::Lost);
                failed(StatusCode::BAD_REQUEST)
            }
            ("GET", Transport::Polling) => self.poll(addressed(request, transport, sid), session).await,
            ("POST", Transport::Polling) => self.post(addressed(request, transport, sid), session).await,
            _ => failed(StatusCode::BAD_REQUEST),
        }
    }

    async fn pass<B>(&mut self, request: Request<B>) -> Response
    where
        B: http_body::Body + Send + Unpin + std::fmt::Debug + 'static,
        B::Data: Send,
        B::Error: std::fmt::Debug,
    {
        match Service::<Request<B>>::call(&mut self.inner, request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }

    /// A new session's place; it goes with the request.
    fn open(&self, request: &mut Request<Body>) -> Option<SessionGuard> {
        let (mut parts, body) = std::mem::take(request).into_parts();
        // Everybody behind a proxy of this host has the same address.
        let client = self.proxies.client(&parts);
        let guard = self.sessions.open(client.filter(|address| !address.is_loopback()));
        if let Some(guard) = &guard {
            guard.session().set_client(client);
            parts.extensions.insert(guard.clone());
            tokio::spawn(heartbeat::watch(Arc::clone(guard.session()), self.heartbeat));
        }
        *request = Request::from_parts(parts, body);
        guard
    }

    fn greeting(&self, guard: &SessionGuard) -> Greeting {
        Greeting { secret: guard.secret(), heartbeat: self.heartbeat, max_message: self.limits.max_message }
    }

    /// Enters a session on long polling into our own namespace, in its client's name.
    async fn enter(&mut self, path: &str, sid: Sid, session: &EngineSession) {
        let uri = query::session_uri(path, Transport::Polling, sid);
        if let Ok(request) = Request::post(uri).body(Body::from(entry::ENTER)) {
            self.pass(request).await;
            session.entered().await;
        }
    }

    /// What a GET is answered, without the answer of our own namespace; the GET goes on if that was all.
    async fn next_packets(
        &mut self,
        mut request: Request<Body>,
        session: &EngineSession,
    ) -> (http::response::Parts, Bytes) {
        let uri = request.uri().clone();
        loop {
            let (mut parts, body) = self.pass(request).await.into_parts();
            let body = collected(body).await.unwrap_or_default();
            if !session.is_hiding() {
                return (parts, body);
            }
            let Some(others) = entry::without_answer(&body) else { return (parts, body) };
            session.has_hidden();
            if !others.is_empty() {
                parts.headers.insert(header::CONTENT_LENGTH, others.len().into());
                return (parts, others);
            }
            request = Request::default();
            *request.uri_mut() = uri.clone();
        }
    }

    /// A session that begins on long polling: its id is in the answer.
    async fn open_polling(mut self, mut request: Request<Body>, marks: Vec<String>) -> Response {
        let Some(guard) = self.open(&mut request) else { return self.turn_away(request) };
        let path = request.uri().path().to_owned();
        let (mut parts, body) = self.pass(request).await.into_parts();
        let opening = match collected(body).await {
            Some(body) if parts.status == StatusCode::OK => Opening::read(&body, &self.greeting(&guard)),
            _ => None,
        };
        let Some(Opening { sid, packet }) = opening else { return failed(StatusCode::INTERNAL_SERVER_ERROR) };
        guard.session().repeats.opened(marks);
        guard.name(sid);
        guard.session().on_close_polling(self.closer(&path, sid));
        self.enter(&path, sid, guard.session()).await;
        parts.headers.insert(header::CONTENT_LENGTH, packet.len().into());
        Response::from_parts(parts, Body::from(packet))
    }

    /// A GET that waits for packets; its answer frees their place in the channel.
    ///
    /// A client that gives up waiting, or is cut off, will not hear what comes next: dropped, this ends the session.
    async fn poll(mut self, request: Request<Body>, session: Arc<EngineSession>) -> Response {
        let asking = session.ask();
        let wire = own_wire_of(&request);
        let passing = Arc::clone(&session);
        let waiting = Waiting(Some(session));
        let (mut parts, mut body) = tokio::select! {
            biased;
            answer = self.next_packets(request, &passing) => answer,
            // Nothing is lost with the request: engineioxide waits only while it has taken nothing from the channel.
            () = passing.upgrade.noop_due() => one_packet(NOOP),
            () = passing.noop_due_for_life() => one_packet(NOOP),
            () = passing.ping_due() => one_packet(PING),
        };
        drop(asking);
        let is_good = parts.status == StatusCode::OK;
        if !is_good || body.is_empty() {
            // engineioxide has ended the session, and tells so when the request is over.
            let _ = tokio::time::timeout(GRACE, passing.closed()).await;
        }
        if is_good {
            if let Some(exchanged) = passing.denials.with_denials(&body, |refusal| passing.report(refusal)) {
                body = exchanged;
            }
            // There is always something to say to a busy client.
            if passing.liveness.takes_ping() {
                body = joined(&body, PING);
            }
            parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
            for packet in body.split(|byte| *byte == SEPARATOR) {
                let mut scan = HeadScan::default();
                let told = scan.feed(packet.iter().copied()).map(|(_, head)| head).or_else(|| scan.end());
                if let Some(head) = told {
                    passing.sent(&head);
                }
            }
        }
        match waiting.over() {
            Some(session) if is_good => {
                let is_over = session.is_closing();
                if is_over {
                    // engineioxide only ends the answer.
                    match session.cause().and_then(Cause::last_packets) {
                        Some(last) => body = joined(&body, last),
                        None if body.is_empty() || body == NOOP => return gone(&session),
                        None => {}
                    }
                    parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
                    parts.headers.extend([AGAIN]);
                }
                Response::from_parts(parts, Body::new(Answer::new(body, session, wire)))
            }
            // It knows the session no more.
            Some(session) if session.is_closing() => gone(&session),
            _ => Response::from_parts(parts, Body::from(body)),
        }
    }

    async fn post(mut self, request: Request<Body>, session: Arc<EngineSession>) -> Response {
        let (parts, body) = request.into_parts();
        let announced =
            parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
        if announced.is_some_and(|length| length > self.limits.max_message) {
            session.close_for(Cause::TooLarge);
            return failed(StatusCode::PAYLOAD_TOO_LARGE);
        }
        match PostBody::begin(body, Arc::clone(&session), self.limits.max_message) {
            Some(body) => {
                // A client that hangs up while its packets wait would go on as if they had been read.
                let waiting = Waiting(Some(Arc::clone(&session)));
                let response = self.pass(Request::from_parts(parts, body)).await;
                waiting.over();
                match session.cause() {
                    Some(Cause::Flood) => refusal_response(&session.refuse()),
                    Some(Cause::TooLarge) => failed(StatusCode::PAYLOAD_TOO_LARGE),
                    _ => response,
                }
            }
            None => {
                session.close_for(Cause::Malformed);
                failed(StatusCode::BAD_REQUEST)
            }
        }
    }

    fn open_websocket(self, mut request: Request<Body>) -> Response {
        let response = handshake(&request);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            self.report(request, "no handshake of a websocket");
            return response;
        }
        let Some(guard) = self.open(&mut request) else { return self.turn_away(request) };
        let (session, greeting) = (Arc::clone(guard.session()), self.greeting(&guard));
        session.upgrade.finish();
        session.outflow.begin_websocket(own_wire_of(&request));
        let upgraded = hyper::upgrade::on(&mut request);
        let (parts, _) = request.into_parts();
        tokio::spawn(async move {
            if let Ok(upgraded) = upgraded.await {
                let stream = SessionStream::of_new_session(TokioIo::new(upgraded), session, self.limits, greeting);
                self.run(Handover::opened(stream), parts).await;
            }
        });
        response
    }

    /// Probes a websocket. The session goes on with it when its client has changed over, and as it was if it does not.
    fn upgrade(self, mut request: Request<Body>, session: Arc<EngineSession>) -> Response {
        let response = handshake(&request);
        if response.status() != StatusCode::SWITCHING_PROTOCOLS {
            return response;
        }
        let Some(probe) = Probe::begin(session) else { return failed(StatusCode::BAD_REQUEST) };
        let wire = own_wire_of(&request);
        let upgraded = hyper::upgrade::on(&mut request);
        let (parts, _) = request.into_parts();
        tokio::spawn(async move {
            let opened = async { upgraded.await.map(TokioIo::new) };
            if let Some((io, session)) = probe.carry_out(opened, self.limits.probe).await {
                session.outflow.begin_websocket(wire);
                let stream = SessionStream::new(io, session, self.limits);
                self.run(Handover::probed(stream), parts).await;
            }
        });
        response
    }

    /// Runs the session of this request on its websocket.
    async fn run(mut self, stream: Handover<SessionStream<TokioIo<Upgraded>>>, parts: http::request::Parts) {
        if let Err(error) = Service::call(&mut self.inner, (stream, Request::from_parts(parts, ()))).await {
            tracing::debug!(%error, "a websocket was refused after its handshake");
        }
    }

    /// Ends a session on long polling the only way there is: with a close packet in its client's name.
    fn closer(&self, path: &str, sid: Sid) -> impl Fn() + Send + Sync + 'static {
        let uri = query::session_uri(path, Transport::Polling, sid);
        let inner = self.inner.clone();
        move || {
            let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
            let Ok(request) = Request::post(&uri).body(Body::from("1")) else { return };
            let mut inner = inner.clone();
            runtime.spawn(async move { Service::<Request<Body>>::call(&mut inner, request).await });
        }
    }
}

impl Service<Request<Body>> for EngineService {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let this = self.clone();
        Box::pin(async move { Ok(this.answer(request).await) })
    }
}

/// A request that has no answer yet.
struct Waiting(Option<Arc<EngineSession>>);

impl Waiting {
    fn over(mut self) -> Option<Arc<EngineSession>> {
        self.0.take()
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.close_for(Cause::Lost);
        }
    }
}

/// What lies behind Socket.IO: nothing.
#[derive(Clone)]
pub(crate) struct NotFound;

impl<B> Service<Request<B>> for NotFound {
    type Response = Response;
    type Error = Infallible;
    type Future = std::future::Ready<Result<Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: Request<B>) -> Self::Future {
        std::future::ready(Ok(failed(StatusCode::NOT_FOUND)))
    }
}

/// The answer to a websocket's handshake (RFC 6455 §4.2.2), or its refusal.
fn handshake(request: &Request<Body>) -> Response {
    create_response_with_body(&websocket_request(request), Body::empty).unwrap_or_else(|error| {
        tracing::debug!(%error, "a websocket handshake was refused");
        let mut response = failed(StatusCode::BAD_REQUEST);
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, header::HeaderValue::from_static("13"));
        response
    })
}

/// What engineioxide calls the packets of an answer.
const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8")];

/// Engine.IO's packet that says nothing.
const NOOP: &[u8] = b"6";
const PING: &[u8] = b"2";

fn one_packet(packet: &'static [u8]) -> (http::response::Parts, Bytes) {
    ((TEXT, ()).into_response().into_parts().0, Bytes::from_static(packet))
}

/// The client comes back on another connection, which a load balancer can send to another node.
const AGAIN: (header::HeaderName, header::HeaderValue) =
    (header::CONNECTION, header::HeaderValue::from_static("close"));

/// Engine.IO's close packet.
fn closed() -> Response {
    (TEXT, "1").into_response()
}

/// What tells a client that its session is over, so that it comes back by itself. Engine.IO's close packet would do for
/// socket.io-client only: python-engineio takes it for the end of all (`_receive_packet`).
fn gone(session: &EngineSession) -> Response {
    let response = match session.cause() {
        Some(Cause::ConnectTimeout) => refusal_response(&sessions::late()),
        Some(Cause::Malformed) => closed(),
        _ => unknown_session(),
    };
    ([AGAIN], response).into_response()
}

fn joined(packets: &[u8], last: &'static [u8]) -> Bytes {
    if packets.is_empty() { Bytes::from_static(last) } else { [packets, &[SEPARATOR], last].concat().into() }
}

/// A request that is for no session, in the words of npm's engine.io (`errors` of its server).
fn misasked(code: u8, message: &str) -> Response {
    let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

fn unknown_session() -> Response {
    misasked(1, "Session ID unknown")
}

/// The connection that a request came on, if the listener tells.
fn wire_of<B>(request: &Request<B>) -> Option<Arc<Wire>> {
    request.extensions().get::<ConnectInfo<WireInfo>>().map(|ConnectInfo(info)| Arc::clone(info.wire()))
}

/// The same, if it carries nothing else meanwhile: another stream's bytes are no part of this answer.
fn own_wire_of<B>(request: &Request<B>) -> Option<Arc<Wire>> {
    wire_of(request).filter(|_| request.version() < Version::HTTP_2)
}

/// The same request, as engineioxide finds the session.
fn addressed(mut request: Request<Body>, transport: Transport, sid: Sid) -> Request<Body> {
    if let Ok(uri) = query::session_uri(request.uri().path(), transport, sid).parse() {
        *request.uri_mut() = uri;
    }
    request
}

async fn collected(body: Body) -> Option<Bytes> {
    Some(body.collect().await.ok()?.to_bytes())
}

fn failed(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
