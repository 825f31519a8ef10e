//! Responses that are not a session's packets.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use realtime_http::spi::refusal_response;

use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::engine::sessions;

/// Content type of packets, as engineioxide sends it.
pub(crate) const TEXT: [(header::HeaderName, &str); 1] = [(header::CONTENT_TYPE, "text/plain; charset=UTF-8")];

/// Header that has the client reconnect on a new TCP connection, which a load balancer can route to
/// another node.
pub(crate) const CLOSE_CONNECTION: (header::HeaderName, header::HeaderValue) =
    (header::CONNECTION, header::HeaderValue::from_static("close"));

/// Creates the response with Engine.IO's close packet.
pub(crate) fn close_packet() -> Response {
    (TEXT, "1").into_response()
}

/// Creates the response to a request of a closed session, upon which the client reconnects by
/// itself. After Engine.IO's close packet only socket.io-client would: python-engineio does not
/// (`_receive_packet`).
pub(crate) fn session_closed(session: &EngineSession) -> Response {
    let response = match session.cause() {
        Some(Cause::ConnectTimeout) => refusal_response(&sessions::timeout_refusal()),
        Some(Cause::Malformed) => close_packet(),
        _ => unknown_session(),
    };
    ([CLOSE_CONNECTION], response).into_response()
}

/// Creates the response to a request without a session, with the error of npm's engine.io (`errors`
/// of its server).
pub(crate) fn bad_request(code: u8, message: &str) -> Response {
    let body = format!(r#"{{"code":{code},"message":"{message}"}}"#);
    (StatusCode::BAD_REQUEST, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}

pub(crate) fn unknown_session() -> Response {
    bad_request(1, "Session ID unknown")
}

/// Creates a response without a body.
pub(crate) fn empty_response(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
