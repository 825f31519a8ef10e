//! What requests of clients tell beside their query.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::ConnectInfo;
use http::{Request, Version};
use realtime_http::{Wire, WireInfo};
use socketioxide::socket::Sid;

use crate::engine::query::{self, Transport};

/// The connection that a request came on, if the listener tells.
pub(crate) fn wire_of<B>(request: &Request<B>) -> Option<Arc<Wire>> {
    request.extensions().get::<ConnectInfo<WireInfo>>().map(|ConnectInfo(info)| Arc::clone(info.wire()))
}

/// The same, if it carries nothing else meanwhile: another stream's bytes are no part of this answer.
pub(crate) fn own_wire_of<B>(request: &Request<B>) -> Option<Arc<Wire>> {
    wire_of(request).filter(|_| request.version() < Version::HTTP_2)
}

/// The same request, as engineioxide finds the session.
pub(crate) fn addressed(mut request: Request<Body>, transport: Transport, sid: Sid) -> Request<Body> {
    if let Ok(uri) = query::session_uri(request.uri().path(), transport, sid).parse() {
        *request.uri_mut() = uri;
    }
    request
}
