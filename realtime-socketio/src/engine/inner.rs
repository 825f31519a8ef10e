use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use http::{Request, StatusCode};
use realtime_core::{Refusal, RefusalKind};
use realtime_http::TrustedProxies;
use realtime_http::spi::refusal_response;
use socketioxide::service::SocketIoService;
use tower_service::Service;

use crate::engine::adapter::DirectAdapter;
use crate::engine::opening::HandshakeData;
use crate::engine::responses::{bad_request, empty_response, unknown_session};
use crate::engine::session::heartbeat;
use crate::engine::session::registry::Registry;
use crate::engine::sessions::{SessionGuard, Sessions};
use crate::engine::settings::{Heartbeat, Limits};

/// socketioxide's service, with the state that all requests to it share.
#[derive(Clone)]
pub(crate) struct Inner {
    pub(crate) service: SocketIoService<NotFound, DirectAdapter>,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) limits: Limits,
    pub(crate) heartbeat: Heartbeat,
    pub(crate) proxies: Arc<TrustedProxies>,
}

impl Inner {
    /// Has socketioxide answer a request.
    pub(crate) async fn call<B>(&mut self, request: Request<B>) -> Response
    where
        B: http_body::Body + Send + Unpin + std::fmt::Debug + 'static,
        B::Data: Send,
        B::Error: std::fmt::Debug,
    {
        match Service::<Request<B>>::call(&mut self.service, request).await {
            Ok(response) => response.map(Body::new),
            Err(never) => match never {},
        }
    }

    /// Opens a session and puts its guard into the request. None when the node is shutting down.
    pub(crate) fn open(&self, request: &mut Request<Body>) -> Option<SessionGuard> {
        let (mut parts, body) = std::mem::take(request).into_parts();
        // All clients behind a proxy on this host have the same address.
        let client = self.proxies.client(&parts);
        let guard = self.sessions.open(client.filter(|address| !address.is_loopback()));
        if let Some(guard) = &guard {
            guard.session().set_client(client);
            parts.extensions.insert(guard.clone());
            tokio::spawn(heartbeat::run(Arc::clone(guard.session()), self.heartbeat));
        }
        *request = Request::from_parts(parts, body);
        guard
    }

    /// Returns the contents of a new session's open packet.
    pub(crate) fn handshake(&self, guard: &SessionGuard) -> HandshakeData {
        HandshakeData { secret: guard.secret(), heartbeat: self.heartbeat, max_message: self.limits.max_message }
    }

    /// Refuses a request that cannot open a session, with Engine.IO's error; counted and logged.
    pub(crate) fn refuse(&self, request: Request<Body>, code: u8, message: &'static str) -> Response {
        self.report(request, message);
        bad_request(code, message)
    }

    /// Refuses a request of a session that this node does not have; counted and logged.
    pub(crate) fn refuse_unknown(&self, request: Request<Body>) -> Response {
        let refusal = Refusal::new(RefusalKind::UnknownSession, "this node has no such session");
        self.sessions.report(refusal.into(), self.proxies.client(&request.into_parts().0));
        unknown_session()
    }

    /// Refuses a new session because the node is shutting down; counted and logged.
    pub(crate) fn refuse_draining(&self, request: Request<Body>) -> Response {
        let refusal = Refusal::new(RefusalKind::Draining, "this node is shutting down");
        self.sessions.report(refusal.clone().into(), self.proxies.client(&request.into_parts().0));
        refusal_response(&refusal)
    }

    pub(crate) fn report(&self, request: Request<Body>, message: &'static str) {
        self.sessions.report(Refusal::bad_request(message).into(), self.proxies.client(&request.into_parts().0));
    }
}

/// Service behind Socket.IO, which responds with 404.
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
        std::future::ready(Ok(empty_response(StatusCode::NOT_FOUND)))
    }
}
