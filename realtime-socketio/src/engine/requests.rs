//! TCP connection of a request, and its URI for engineioxide.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Version};
use realtime_http::{Wire, WireInfo};
use socketioxide::socket::Sid;

use crate::engine::query::{self, Transport};

/// Returns the TCP connection of a request, if the listener reports it.
pub(crate) fn wire_of<B>(request: &Request<B>) -> Option<Arc<Wire>> {
    request.extensions().get::<ConnectInfo<WireInfo>>().map(|ConnectInfo(info)| Arc::clone(info.wire()))
}

/// Returns the TCP connection of a request, if it carries nothing else meanwhile, so that the bytes
/// written to it are those of this response.
pub(crate) fn exclusive_wire_of<B>(request: &Request<B>) -> Option<Arc<Wire>> {
    wire_of(request).filter(|_| request.version() < Version::HTTP_2)
}

/// Replaces the URI of a request with the one by which engineioxide finds the session.
pub(crate) fn with_session_uri(mut request: Request<Body>, transport: Transport, sid: Sid) -> Request<Body> {
    if let Ok(uri) = query::session_uri(request.uri().path(), transport, sid).parse() {
        *request.uri_mut() = uri;
    }
    request
}
