//! The route of the WebSocket, and the opening handshake (RFC 6455 §4.2) on a request of axum's.

use std::borrow::Cow;
use std::sync::Arc;

use ::http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use ::http::request::Parts;
use ::http::{HeaderValue, Method, StatusCode, Version};
use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use axum::routing::get;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use realtime_core::spi::{Admitted, RefusedClient, SessionOutlet, SubprotocolError, Subprotocols};
use realtime_core::{Identity, Refusal};
use realtime_http::spi::{ProviderOrigins, admit, admit_as, method_response, refusal_response, websocket_request};
use realtime_http::{HttpProvider, TrustedProxies, WireInfo};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

use crate::config::WsConfig;
use crate::provider::{Shared, WsProvider};
use crate::session::Session;

impl HttpProvider for WsProvider {
    /// Returns a route for every method, so that a wrong one is answered and counted like any other
    /// refusal.
    fn router(self: Arc<Self>) -> axum::Router {
        let path = self.config().path.clone();
        // `GET` by name, so that axum rejects an application's own route of the same path instead
        // of preferring it.
        axum::Router::new().route(&path, get(accept).fallback(accept)).with_state(self)
    }

    fn paths(&self) -> Vec<String> {
        vec![self.config().path.clone()]
    }

    fn origins(&self) -> Option<&ProviderOrigins> {
        Some(self.origins())
    }

    fn trusted_proxies(&self) -> Option<&TrustedProxies> {
        Some(&self.config().trusted_proxies)
    }

    fn is_ready(&self) -> bool {
        self.shared().dispatcher.is_ready()
    }
}

impl WsProvider {
    /// Answers a request on a route of the application's own, which knows the user and the rooms to
    /// enter.
    ///
    /// The origin and the limits are checked as on the provider's own route, and `?lastEventId=` is
    /// understood; rooms named in the URL are not entered.
    pub async fn open<R>(&self, request: Request, identity: Identity, rooms: R) -> Response
    where
        R: IntoIterator<Item: Into<String>>,
    {
        let rooms: Vec<String> = rooms.into_iter().map(Into::into).collect();
        let proxies = &self.config().trusted_proxies;
        let handshake = match self.handshake(request) {
            Ok(handshake) => handshake,
            Err(invalid) => return invalid.response(),
        };
        let (dispatcher, origins, parts) = (&self.shared().dispatcher, self.origins().get(), &handshake.parts);
        let admitted = admit_as(dispatcher, origins, proxies, parts, identity, &rooms, None);
        self.respond(handshake, admitted)
    }

    fn handshake(&self, request: Request) -> Result<Handshake, InvalidHandshake> {
        let (parts, body) = request.into_parts();
        let address = self.config().trusted_proxies.client(&parts);
        let handshake = Handshake::of(Request::from_parts(parts, body), self.config());
        if let Err(invalid) = &handshake {
            // A valid one is counted when it is admitted.
            self.shared().dispatcher.check_handshake_rate(address)?;
            self.shared().dispatcher.refuse(invalid.refusal(), RefusedClient::at(address));
        }
        handshake
    }

    fn respond(&self, handshake: Handshake, admitted: Result<Admitted, Refusal>) -> Response {
        match admitted {
            Ok(admitted) => start(self.shared(), handshake, admitted),
            Err(refusal) => refusal_response(&refusal),
        }
    }
}

/// Answers a request on the provider's own route.
async fn accept(State(provider): State<Arc<WsProvider>>, request: Request) -> Response {
    let handshake = match provider.handshake(request) {
        Ok(handshake) => handshake,
        Err(invalid) => return invalid.response(),
    };
    let (origins, proxies) = (provider.origins().get(), &provider.config().trusted_proxies);
    let admitted = admit(&provider.shared().dispatcher, origins, proxies, &handshake.parts, None).await;
    provider.respond(handshake, admitted)
}

/// Answers a handshake. The connection is registered once the client has the answer; its slot is
/// released if that never happens.
fn start(shared: &Shared, handshake: Handshake, admitted: Admitted) -> Response {
    let Shared { dispatcher, settings, sessions } = shared.clone();
    let Handshake { parts, stream, response } = handshake;
    let wire = parts.extensions.get::<ConnectInfo<WireInfo>>().map(|ConnectInfo(info)| Arc::clone(info.wire()));
    // A slow client does not keep the provider alive.
    let dispatcher = dispatcher.unowned();
    sessions.spawn(async move {
        let stream = match tokio::time::timeout(settings.write_stall, stream).await {
            Ok(Ok(stream)) => TokioIo::new(stream),
            Ok(Err(error)) => return tracing::debug!(%error, "the client disconnected during the handshake"),
            Err(_) => return tracing::debug!("the handshake timed out"),
        };
        let outlet = Arc::new(SessionOutlet::new());
        let registration = dispatcher.register(admitted, Arc::clone(&outlet) as _);
        drop(dispatcher);
        Session::new(stream, settings, registration, outlet, wire).await;
    });
    response
}

/// A valid request for a WebSocket.
struct Handshake {
    /// The head of the request.
    parts: Parts,
    /// The stream, once the response has been sent.
    stream: OnUpgrade,
    /// The response.
    response: Response,
}

/// The reason why a request is no valid handshake, or one too many.
struct InvalidHandshake {
    refusal: Refusal,
    status: StatusCode,
}

impl Handshake {
    /// Checks everything but the user.
    fn of(request: Request, config: &WsConfig) -> Result<Self, InvalidHandshake> {
        let (mut parts, _) = request.into_parts();
        if parts.method != Method::GET {
            return Err(InvalidHandshake::new(StatusCode::METHOD_NOT_ALLOWED, "a websocket is requested with GET"));
        }
        if parts.version != Version::HTTP_11 {
            return Err(InvalidHandshake::new(StatusCode::BAD_REQUEST, "a websocket needs HTTP/1.1"));
        }
        let stream = parts.extensions.remove::<OnUpgrade>();
        let request = Request::from_parts(parts, ());
        let plain = websocket_request(&request);
        let mut response = create_response_with_body(&plain, Body::empty).map_err(InvalidHandshake::from)?;
        let Some(stream) = stream else {
            return Err(InvalidHandshake::new(StatusCode::BAD_REQUEST, "this connection cannot become a websocket"));
        };
        let (parts, ()) = request.into_parts();
        if let Some(subprotocol) = subprotocol(&parts, config)? {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
        }
        Ok(Self { parts, stream, response })
    }
}

impl InvalidHandshake {
    fn new(status: StatusCode, message: impl Into<Cow<'static, str>>) -> Self {
        Self { refusal: Refusal::bad_request(message), status }
    }

    /// Returns the refusal, to be counted.
    fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }

    /// Returns the response to the client.
    fn response(&self) -> Response {
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            return method_response(&self.refusal, "GET");
        }
        let mut response = refusal_response(&self.refusal);
        *response.status_mut() = self.status;
        if self.status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            // RFC 9110 §15.5.22 requires the first two, RFC 6455 §4.4 the third.
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

impl From<Refusal> for InvalidHandshake {
    fn from(refusal: Refusal) -> Self {
        Self { status: refusal.kind().status(), refusal }
    }
}

impl From<Error> for InvalidHandshake {
    fn from(error: Error) -> Self {
        use ProtocolError::{
            MissingConnectionUpgradeHeader, MissingSecWebSocketVersionHeader, MissingUpgradeWebSocketHeader,
        };
        match error {
            Error::Protocol(MissingConnectionUpgradeHeader | MissingUpgradeWebSocketHeader) => {
                Self::new(StatusCode::UPGRADE_REQUIRED, "only websocket connections are accepted here")
            }
            Error::Protocol(MissingSecWebSocketVersionHeader) => {
                Self::new(StatusCode::UPGRADE_REQUIRED, "only version 13 of the websocket protocol is supported")
            }
            _ => Self::new(StatusCode::BAD_REQUEST, "the sec-websocket-key is missing or wrong"),
        }
    }
}

/// Returns the subprotocol to answer: the first of the client's that is spoken here (RFC 6455
/// §4.2.2), or `bearer`, which carried a token.
fn subprotocol(parts: &Parts, config: &WsConfig) -> Result<Option<HeaderValue>, InvalidHandshake> {
    let malformed = |error: SubprotocolError| InvalidHandshake::new(StatusCode::BAD_REQUEST, error.to_string());
    let offered = Subprotocols::read_up_to(&parts.headers, config.max_subprotocols);
    let answer = offered.and_then(|offered| offered.answer(&config.subprotocols)).map_err(malformed)?;
    Ok(answer.and_then(|answer| HeaderValue::from_str(answer).ok()))
}
