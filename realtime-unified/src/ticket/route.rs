//! The route that exchanges a client's credentials for a ticket.

use axum::Json;
use axum::Router;
use axum::extract::{Request, State};
use axum::http::header::{ALLOW, CACHE_CONTROL};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use realtime_core::{Refusal, Result};
use realtime_http::Rejection;
use realtime_http::spi::method_response;

use crate::service::NotificationService;
use crate::ticket::issuer::TicketIssuer;

/// The methods of the route.
const METHODS: &str = "OPTIONS, POST";

type Issuer = State<(NotificationService, TicketIssuer)>;

/// Returns the route of a service's tickets.
pub(crate) fn route(service: NotificationService, issuer: TicketIssuer) -> Router {
    let path = issuer.path().to_owned();
    let methods = post(exchange).options(preflight).fallback(wrong_method);
    Router::new().route(&path, methods).with_state((service, issuer))
}

/// Answers with a ticket for the client that the request's credentials identify.
async fn exchange(State((service, issuer)): Issuer, request: Request) -> Response {
    let parts = request.into_parts().0;
    let issued = issue(&service, &issuer, &parts).await.map_err(Rejection::from);
    let mut response = issued.into_response();
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    service.origins().allow(&parts, headers);
    response
}

async fn issue(service: &NotificationService, issuer: &TicketIssuer, parts: &Parts) -> Result<Json<serde_json::Value>> {
    let identity = service.identify_handshake(parts).await?;
    let ticket = issuer.issue(&identity).await?;
    Ok(Json(serde_json::json!({ "ticket": ticket.text, "expiresIn": ticket.lifetime.as_secs() })))
}

/// Answers the preflight of a page of another origin, whose request has a header of its own.
async fn preflight(State((service, _)): Issuer, request: Request) -> Response {
    let mut response = (StatusCode::NO_CONTENT, [(ALLOW, METHODS)]).into_response();
    service.origins().allow_preflight(&request.into_parts().0, "POST", response.headers_mut());
    response
}

async fn wrong_method() -> Response {
    method_response(&Refusal::bad_request("a ticket is requested with the method POST"), METHODS)
}
