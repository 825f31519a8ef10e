//! The opening handshake (RFC 6455 §4.2) on a request of axum's.

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use http::header::{CONNECTION, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, StatusCode, Version};
use hyper::upgrade::OnUpgrade;
use realtime_core::Refusal;
use realtime_http::{method_response, refusal_response, websocket_request};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::handshake::server::create_response_with_body;

/// A request that asks rightly for a WebSocket.
pub(crate) struct Handshake {
    /// What it was read from.
    pub(crate) parts: Parts,
    /// The stream, once the response is out.
    pub(crate) stream: OnUpgrade,
    /// What to answer.
    pub(crate) response: Response,
}

/// Why a request is none.
pub(crate) struct NoHandshake {
    refusal: Refusal,
    status: StatusCode,
}

impl Handshake {
    /// Checks everything but who asks.
    pub(crate) fn of(request: Request<Body>, subprotocols: &[String]) -> Result<Self, NoHandshake> {
        let (mut parts, _) = request.into_parts();
        if parts.method != Method::GET {
            return Err(NoHandshake::new(StatusCode::METHOD_NOT_ALLOWED, "a websocket is asked for with GET"));
        }
        if parts.version != Version::HTTP_11 {
            return Err(NoHandshake::new(StatusCode::BAD_REQUEST, "a websocket needs HTTP/1.1"));
        }
        let stream = parts.extensions.remove::<OnUpgrade>();
        let request = Request::from_parts(parts, ());
        let asked = websocket_request(&request);
        let mut response = create_response_with_body(&asked, Body::empty).map_err(NoHandshake::from)?;
        let Some(stream) = stream else {
            return Err(NoHandshake::new(StatusCode::BAD_REQUEST, "this connection cannot become a websocket"));
        };
        let (parts, ()) = request.into_parts();
        if let Some(subprotocol) = subprotocol(&parts, subprotocols) {
            response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, subprotocol);
        }
        Ok(Self { parts, stream, response })
    }
}

impl NoHandshake {
    fn new(status: StatusCode, message: &'static str) -> Self {
        Self { refusal: Refusal::bad_request(message), status }
    }

    /// What is wrong, to be counted.
    pub(crate) fn refusal(&self) -> Refusal {
        self.refusal.clone()
    }

    /// The answer to the client.
    pub(crate) fn response(&self) -> Response {
        if self.status == StatusCode::METHOD_NOT_ALLOWED {
            return method_response(&self.refusal, "GET");
        }
        let mut response = refusal_response(&self.refusal);
        *response.status_mut() = self.status;
        if self.status == StatusCode::UPGRADE_REQUIRED {
            let headers = response.headers_mut();
            // RFC 9110 §15.5.22 wants the first two, RFC 6455 §4.4 the third.
            headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        }
        response
    }
}

impl From<Error> for NoHandshake {
    fn from(error: Error) -> Self {
        use ProtocolError::{
            MissingConnectionUpgradeHeader, MissingSecWebSocketVersionHeader, MissingUpgradeWebSocketHeader,
        };
        match error {
            Error::Protocol(MissingConnectionUpgradeHeader | MissingUpgradeWebSocketHeader) => {
                Self::new(StatusCode::UPGRADE_REQUIRED, "only websocket connections are taken here")
            }
            Error::Protocol(MissingSecWebSocketVersionHeader) => {
                Self::new(StatusCode::UPGRADE_REQUIRED, "only version 13 of the websocket protocol is spoken here")
            }
            _ => Self::new(StatusCode::BAD_REQUEST, "the sec-websocket-key is missing or wrong"),
        }
    }
}

/// The first of the client's subprotocols that is spoken here (RFC 6455 §4.2.2).
fn subprotocol(parts: &Parts, spoken: &[String]) -> Option<HeaderValue> {
    let lines = parts.headers.get_all(SEC_WEBSOCKET_PROTOCOL).into_iter().map(HeaderValue::as_bytes);
    let mut offers = lines.flat_map(|line| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let chosen = offers.find(|offer| spoken.iter().any(|spoken| spoken.as_bytes() == *offer))?;
    HeaderValue::from_bytes(chosen).ok()
}

/// A route for every method, so that a wrong one is answered and counted like all else.
pub(crate) fn route<S, H, T>(path: &str, handler: H, state: S) -> Router
where
    H: axum::handler::Handler<T, S>,
    T: 'static,
    S: Clone + Send + Sync + 'static,
{
    // `GET` by name, so that axum refuses an application's own route of the same path instead of preferring it.
    let method = axum::routing::get(handler.clone()).fallback(handler);
    Router::new().route(path, method).with_state(state)
}
