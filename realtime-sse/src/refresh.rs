//! The route by which a client refreshes the credentials of its stream, over which it can send
//! nothing.

use std::sync::Arc;

use ::http::header::{ALLOW, CACHE_CONTROL};
use ::http::request::Parts;
use ::http::{HeaderValue, StatusCode};
use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, post};
use realtime_core::spi::{Dispatched, MAX_TOKEN_BYTES, RefusedClient};
use realtime_core::{ConnectRequest, Refreshed, Refusal};
use realtime_http::spi::{method_response, refusal_response};
use serde_json::Value;

use crate::provider::SseProvider;

/// The methods of the route.
const METHODS: &str = "POST, OPTIONS";

/// Returns the path of the route beside the stream's; none beside one that ends with a capture of
/// all the rest.
pub(crate) fn path(stream: &str) -> Option<String> {
    (!stream.contains("{*")).then(|| format!("{}/refresh", stream.trim_end_matches('/')))
}

/// Returns the route.
pub(crate) fn route() -> MethodRouter<Arc<SseProvider>> {
    post(refresh).options(preflight).fallback(wrong_method)
}

impl SseProvider {
    /// Refreshes the credentials of a stream, as `POST` to the path of the streams with `/refresh`
    /// behind it does: for a route of the application's own.
    ///
    /// The request names the stream by `connectionId` and has the new token as `Authorization:
    /// Bearer`, as `token` beside it, or as the cookie `token`; both names are in a JSON body or in
    /// the query. It is answered with `{"expiresInMs"}`, or with the refusal's status.
    pub async fn refresh(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let mut response = match self.try_refresh(&parts, body).await {
            Ok(refreshed) => Json(refreshed.to_json()).into_response(),
            Err(refusal) => refusal_response(&refusal),
        };
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        self.origins().get().allow(&parts, response.headers_mut());
        response
    }

    async fn try_refresh(&self, parts: &Parts, body: Body) -> Result<Refreshed, Refusal> {
        let dispatcher = self.dispatcher();
        let address = self.config().trusted_proxies.client(parts);
        let refuse = |refusal| dispatcher.refuse(refusal, RefusedClient::at(address));
        let origins = self.origins().get();
        origins.check(parts).map_err(refuse)?;
        dispatcher.check_handshake_rate(address)?;
        let seen = origins.without_foreign_cookies(parts);
        let request = ConnectRequest::new(dispatcher.config().provider(), &seen).with_address(address);
        let max_token_bytes = dispatcher.runtime().map_or(MAX_TOKEN_BYTES, |runtime| runtime.max_token_bytes);
        let body = read(body, max_token_bytes.saturating_mul(2)).await.map_err(refuse)?;
        let text = |name: &str| {
            let named = body.get(name).and_then(Value::as_str).map(str::to_owned);
            named.or_else(|| request.query(name).map(Into::into))
        };
        let id = text("connectionId").ok_or_else(|| refuse(Refusal::bad_request("connectionId is missing")))?;
        let id = id.parse().map_err(|_| refuse(Refusal::bad_request("connectionId is not a connection's id")))?;
        let token = body.get("token").and_then(Value::as_str).map(Into::into).or_else(|| request.token());
        let token = token.ok_or_else(|| refuse(Refusal::unauthorized("no token")))?;
        dispatcher.refresh(id, &token, &request).await
    }
}

/// Reads a body of up to `most` bytes, a token and an id: a JSON object, or nothing.
async fn read(body: Body, most: usize) -> Result<Value, Refusal> {
    let bytes = to_bytes(body, most).await;
    let too_large = || Refusal::bad_request(format!("the body exceeds {most} bytes"));
    let bytes = bytes.map_err(|_| too_large().with_setting("max_token_bytes"))?;
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&bytes).map_err(|_| Refusal::bad_request("the body is not json"))
}

async fn refresh(State(sse): State<Arc<SseProvider>>, request: Request) -> Response {
    sse.refresh(request).await
}

/// Answers the preflight of a browser.
async fn preflight(State(sse): State<Arc<SseProvider>>, request: Request) -> Response {
    let mut response = (StatusCode::NO_CONTENT, [(ALLOW, METHODS)]).into_response();
    sse.origins().get().allow_preflight(&request.into_parts().0, "POST", response.headers_mut());
    response
}

/// Answers any other method.
async fn wrong_method(State(sse): State<Arc<SseProvider>>, request: Request) -> Response {
    let parts = request.into_parts().0;
    let address = sse.config().trusted_proxies.client(&parts);
    let refusal = Refusal::bad_request("a refresh requires the method POST");
    let refusal = sse.dispatcher().refuse(refusal, RefusedClient::at(address));
    let mut response = method_response(&refusal, METHODS);
    sse.origins().get().allow(&parts, response.headers_mut());
    response
}
