use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::response::Response;
use http::{Method, Request, StatusCode};
use realtime_http::TrustedProxies;
use socketioxide::service::SocketIoService;
use tower_service::Service;

use crate::engine::adapter::DirectAdapter;
use crate::engine::inner::{Inner, NotFound};
use crate::engine::query::{self, Query, SessionParam, Transport};
use crate::engine::requests::{wire_of, with_session_uri};
use crate::engine::responses::{close_packet, empty_response};
use crate::engine::session::cause::Cause;
use crate::engine::sessions::Sessions;
use crate::engine::settings::{Heartbeat, Limits};
use crate::engine::{polling, websocket};

/// HTTP service of Socket.IO: opens sessions, serves long polling, upgrades to websockets.
///
/// This service wraps socketioxide's: it performs the upgrade itself, to run the websocket on a
/// [`SessionStream`](crate::engine::websocket::stream::SessionStream), and inspects requests and
/// responses of long polling. It works behind any listener that supports upgrades.
#[derive(Clone)]
pub(crate) struct EngineService(Inner);

impl EngineService {
    pub(crate) fn new(
        service: SocketIoService<NotFound, DirectAdapter>,
        sessions: Arc<Sessions>,
        limits: Limits,
        heartbeat: Heartbeat,
        proxies: TrustedProxies,
    ) -> Self {
        Self(Inner { service, sessions, limits, heartbeat, proxies: Arc::new(proxies) })
    }

    /// Returns the open session with this secret.
    #[cfg(test)]
    pub(crate) fn session(&self, secret: &str) -> Arc<crate::engine::session::EngineSession> {
        let secret = crate::engine::sessions::secret::Secret::parse(secret).expect("a session's id");
        self.0.sessions.find(&[secret]).expect("an open session").1
    }

    async fn respond(self, mut request: Request<Body>) -> Response {
        let inner = self.0;
        let Query { protocol, transport, sid, t_values } = Query::of(&request);
        let Some(transport) = transport else { return inner.refuse(request, 0, "Transport unknown") };
        if !protocol {
            return inner.refuse(request, 5, "Unsupported protocol version");
        }
        let secrets = match sid {
            SessionParam::Session(secrets) => secrets,
            SessionParam::Foreign => return inner.refuse_unknown(request),
            SessionParam::None if request.method() != Method::GET => {
                return inner.refuse(request, 2, "Bad handshake method");
            }
            SessionParam::None => {
                match query::opening_uri(request.uri(), transport) {
                    Ok(None) => {}
                    Ok(Some(uri)) => *request.uri_mut() = uri,
                    Err(query::TooLong) => return inner.refuse(request, 3, "Bad request"),
                }
                return match transport {
                    Transport::Websocket => websocket::open(inner, request),
                    Transport::Polling => polling::open(inner, request, t_values).await,
                };
            }
        };
        // From here on engineioxide, which knows the session by the id that Socket.IO shows, only
        // sees URIs of this crate.
        let Some((sid, session)) = inner.sessions.find(&secrets) else {
            let polls = request.method() == Method::GET && transport == Transport::Polling;
            let has_ended = polls && inner.sessions.take_unnotified(&secrets);
            return if has_ended { close_packet() } else { inner.refuse_unknown(request) };
        };
        session.note_received();
        let get = request.method() == Method::GET;
        match (request.method().as_str(), transport) {
            ("GET", Transport::Websocket) => {
                websocket::upgrade(inner, with_session_uri(request, transport, sid), session)
            }
            ("GET" | "POST", Transport::Polling) if session.repeats.is_repeat(get, &t_values, wire_of(&request)) => {
                tracing::debug!("a request was repeated: the response to the first one is lost");
                session.close_for(Cause::Lost);
                empty_response(StatusCode::BAD_REQUEST)
            }
            ("GET", Transport::Polling) => {
                polling::poll(inner, with_session_uri(request, transport, sid), session).await
            }
            ("POST", Transport::Polling) => {
                polling::post(inner, with_session_uri(request, transport, sid), session).await
            }
            _ => empty_response(StatusCode::BAD_REQUEST),
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
        Box::pin(async move { Ok(this.respond(request).await) })
    }
}
