//! Handshakes of websockets: those that open a session, and those to which a session on long
//! polling upgrades.

pub(crate) mod handover;
pub(crate) mod probe;
pub(crate) mod reader;
pub(crate) mod stall;
pub(crate) mod stream;
pub(crate) mod writer;

use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode, header};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use realtime_http::spi::websocket_request;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;
use tower_service::Service;

use crate::engine::inner::Inner;
use crate::engine::requests::exclusive_wire_of;
use crate::engine::responses::empty_response;
use crate::engine::session::EngineSession;
use crate::engine::websocket::handover::Handover;
use crate::engine::websocket::probe::Probe;
use crate::engine::websocket::stream::SessionStream;

/// Opens a session on a websocket.
pub(crate) fn open(inner: Inner, mut request: Request<Body>) -> Response {
    let response = handshake(&request);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        inner.report(request, "not a websocket handshake");
        return response;
    }
    let Some(guard) = inner.open(&mut request) else { return inner.refuse_draining(request) };
    let (session, handshake) = (Arc::clone(guard.session()), inner.handshake(&guard));
    session.upgrade.complete();
    session.progress.begin_websocket(exclusive_wire_of(&request));
    let upgraded = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    tokio::spawn(async move {
        if let Ok(upgraded) = upgraded.await {
            let stream = SessionStream::for_new_session(TokioIo::new(upgraded), session, inner.limits, handshake);
            run(inner, Handover::after_open(stream), parts).await;
        }
    });
    response
}

/// Probes a websocket. The session switches to it if its client does, and stays on long polling
/// otherwise.
pub(crate) fn upgrade(inner: Inner, mut request: Request<Body>, session: Arc<EngineSession>) -> Response {
    let response = handshake(&request);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return response;
    }
    let Some(probe) = Probe::start(session) else { return empty_response(StatusCode::BAD_REQUEST) };
    let wire = exclusive_wire_of(&request);
    let upgraded = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    tokio::spawn(async move {
        let open = async { upgraded.await.map(TokioIo::new) };
        if let Some((io, session)) = probe.run(open, inner.limits.probe).await {
            session.progress.begin_websocket(wire);
            let stream = SessionStream::new(io, session, inner.limits);
            run(inner, Handover::after_probe(stream), parts).await;
        }
    });
    response
}

/// Runs the session of this request on its websocket.
async fn run(mut inner: Inner, stream: Handover<SessionStream<TokioIo<Upgraded>>>, parts: http::request::Parts) {
    if let Err(error) = Service::call(&mut inner.service, (stream, Request::from_parts(parts, ()))).await {
        tracing::debug!(%error, "a websocket was refused after its handshake");
    }
}

/// Returns the response to a websocket's handshake (RFC 6455 §4.2.2), or the error response.
fn handshake(request: &Request<Body>) -> Response {
    create_response_with_body(&websocket_request(request), Body::empty).unwrap_or_else(|error| {
        tracing::debug!(%error, "a websocket handshake was refused");
        let mut response = empty_response(StatusCode::BAD_REQUEST);
        response.headers_mut().insert(header::SEC_WEBSOCKET_VERSION, header::HeaderValue::from_static("13"));
        response
    })
}
