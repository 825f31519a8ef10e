//! Long polling: the GET that opens a session, GETs that wait for packets, and POSTs that send
//! them.

pub(crate) mod post_body;
pub(crate) mod response_body;

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::BodyExt;
use realtime_http::spi::refusal_response;
use socketioxide::socket::Sid;
use tower_service::Service;

use crate::engine::inner::Inner;
use crate::engine::opening::OpenPacket;
use crate::engine::polling::post_body::PostBody;
use crate::engine::polling::response_body::ResponseBody;
use crate::engine::query::{self, Transport};
use crate::engine::requests::exclusive_wire_of;
use crate::engine::responses::{CLOSE_CONNECTION, TEXT, empty_response, session_closed};
use crate::engine::session::cause::Cause;
use crate::engine::session::{EngineSession, GRACE};
use crate::packet::entry;
use crate::packet::head::HeadScan;
use crate::packet::payload::SEPARATOR;

/// Engine.IO's noop packet.
const NOOP: &[u8] = b"6";
const PING: &[u8] = b"2";

/// Opens a session and responds with its open packet, which contains the secret.
pub(crate) async fn open(mut inner: Inner, mut request: Request<Body>, t_values: Vec<String>) -> Response {
    let Some(guard) = inner.open(&mut request) else { return inner.refuse_draining(request) };
    let path = request.uri().path().to_owned();
    let (mut parts, body) = inner.call(request).await.into_parts();
    let open_packet = match collect(body).await {
        Some(body) if parts.status == StatusCode::OK => OpenPacket::read(&body, &inner.handshake(&guard)),
        _ => None,
    };
    let Some(OpenPacket { sid, packet }) = open_packet else {
        return empty_response(StatusCode::INTERNAL_SERVER_ERROR);
    };
    guard.session().repeats.opened(t_values);
    guard.publish(sid);
    guard.session().on_close_polling(close_callback(&inner, &path, sid));
    connect_to_entry(&mut inner, &path, sid, guard.session()).await;
    parts.headers.insert(header::CONTENT_LENGTH, packet.len().into());
    Response::from_parts(parts, Body::from(packet))
}

/// Responds to a GET that waits for packets. The response frees their space in the channel.
///
/// Dropping the future closes the session: a client that stops waiting, or whose connection breaks,
/// would miss the next packets.
pub(crate) async fn poll(mut inner: Inner, request: Request<Body>, session: Arc<EngineSession>) -> Response {
    let poll_guard = session.start_poll();
    let wire = exclusive_wire_of(&request);
    let pending = PendingRequest(Some(Arc::clone(&session)));
    let (mut parts, mut body) = tokio::select! {
        biased;
        response = next_packets(&mut inner, request, &session) => response,
        // No packet is lost with the request: engineioxide waits only while it has taken none from
        // the channel.
        () = session.upgrade.noop_due() => one_packet(NOOP),
        () = session.liveness_noop_due() => one_packet(NOOP),
        () = session.ping_due() => one_packet(PING),
    };
    drop(poll_guard);
    let is_ok = parts.status == StatusCode::OK;
    if !is_ok || body.is_empty() {
        // engineioxide has ended the session, and reports that when the request has ended.
        let _ = tokio::time::timeout(GRACE, session.closed()).await;
    }
    if is_ok {
        if let Some(replaced) = session.connect_errors.replace_in_payload(&body, |refusal| session.report(refusal)) {
            body = replaced;
        }
        // The GET of a busy client seldom waits, so the ping goes with the packets.
        if session.liveness.take_ping() {
            body = append(&body, PING);
        }
        parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
        note_sent(&session, &body);
    }
    match pending.finish() {
        Some(session) if is_ok => {
            if session.is_closing() {
                // engineioxide ends its response without a last packet.
                match session.cause().and_then(Cause::last_packets) {
                    Some(last) => body = append(&body, last),
                    None if body.is_empty() || body == NOOP => return session_closed(&session),
                    None => {}
                }
                parts.headers.insert(header::CONTENT_LENGTH, body.len().into());
                parts.headers.extend([CLOSE_CONNECTION]);
            }
            Response::from_parts(parts, Body::new(ResponseBody::new(body, session, wire)))
        }
        // engineioxide does not know the session any more.
        Some(session) if session.is_closing() => session_closed(&session),
        _ => Response::from_parts(parts, Body::from(body)),
    }
}

/// Responds to a POST, whose packets are read one by one.
pub(crate) async fn post(mut inner: Inner, request: Request<Body>, session: Arc<EngineSession>) -> Response {
    let (parts, body) = request.into_parts();
    let announced =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<usize>().ok());
    if announced.is_some_and(|length| length > inner.limits.max_message) {
        session.close_for(Cause::TooLarge);
        return empty_response(StatusCode::PAYLOAD_TOO_LARGE);
    }
    match PostBody::start(body, Arc::clone(&session), inner.limits.max_message) {
        Some(body) => {
            // A request that is dropped while packets wait closes the session: the client would
            // take them for read.
            let pending = PendingRequest(Some(Arc::clone(&session)));
            let response = inner.call(Request::from_parts(parts, body)).await;
            pending.finish();
            match session.cause() {
                Some(Cause::Flood) => refusal_response(&session.reject_flood()),
                Some(Cause::RateLimited) => empty_response(StatusCode::TOO_MANY_REQUESTS),
                Some(Cause::TooLarge) => empty_response(StatusCode::PAYLOAD_TOO_LARGE),
                _ => response,
            }
        }
        None => {
            session.close_for(Cause::Malformed);
            empty_response(StatusCode::BAD_REQUEST)
        }
    }
}

/// Waits for packets and removes the entry namespace's answer from them. If none is left, the wait
/// continues.
async fn next_packets(
    inner: &mut Inner,
    mut request: Request<Body>,
    session: &EngineSession,
) -> (http::response::Parts, Bytes) {
    let uri = request.uri().clone();
    loop {
        let (mut parts, body) = inner.call(request).await.into_parts();
        let body = collect(body).await.unwrap_or_default();
        if !session.entry.hides_answer() {
            return (parts, body);
        }
        let Some(others) = entry::without_answer(&body) else { return (parts, body) };
        session.entry.note_answer_hidden();
        if !others.is_empty() {
            parts.headers.insert(header::CONTENT_LENGTH, others.len().into());
            return (parts, others);
        }
        request = Request::default();
        *request.uri_mut() = uri.clone();
    }
}

/// Notes the packets that are sent to the client.
fn note_sent(session: &EngineSession, packets: &[u8]) {
    for packet in packets.split(|byte| *byte == SEPARATOR) {
        let mut scan = HeadScan::default();
        let head = scan.feed(packet.iter().copied()).map(|(_, head)| head).or_else(|| scan.end());
        if let Some(head) = head {
            session.sent(&head);
        }
    }
}

/// Connects a session on long polling to the entry namespace, on behalf of its client.
async fn connect_to_entry(inner: &mut Inner, path: &str, sid: Sid, session: &EngineSession) {
    let uri = query::session_uri(path, Transport::Polling, sid);
    if let Ok(request) = Request::post(uri).body(Body::from(entry::ENTER)) {
        inner.call(request).await;
        session.entered().await;
    }
}

/// Returns a callback that ends a session on long polling, by a close packet on behalf of its
/// client: engineioxide has no other way.
fn close_callback(inner: &Inner, path: &str, sid: Sid) -> impl Fn() + Send + Sync + use<> {
    let uri = query::session_uri(path, Transport::Polling, sid);
    let service = inner.service.clone();
    move || {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else { return };
        let Ok(request) = Request::post(&uri).body(Body::from("1")) else { return };
        let mut service = service.clone();
        runtime.spawn(async move { Service::<Request<Body>>::call(&mut service, request).await });
    }
}

/// Guard of a request without a response yet; its drop closes the session.
struct PendingRequest(Option<Arc<EngineSession>>);

impl PendingRequest {
    fn finish(mut self) -> Option<Arc<EngineSession>> {
        self.0.take()
    }
}

impl Drop for PendingRequest {
    fn drop(&mut self) {
        if let Some(session) = &self.0 {
            session.close_for(Cause::Lost);
        }
    }
}

fn one_packet(packet: &'static [u8]) -> (http::response::Parts, Bytes) {
    ((TEXT, ()).into_response().into_parts().0, Bytes::from_static(packet))
}

fn append(packets: &[u8], last: &'static [u8]) -> Bytes {
    if packets.is_empty() { Bytes::from_static(last) } else { [packets, &[SEPARATOR], last].concat().into() }
}

async fn collect(body: Body) -> Option<Bytes> {
    Some(body.collect().await.ok()?.to_bytes())
}
