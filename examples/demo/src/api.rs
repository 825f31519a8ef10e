//! The HTTP interface that the page, scripts and curl drive the demo with.

mod ask;
mod connections;
mod explain;
mod failure;
mod nodes;
mod rooms;
mod send;
mod wire;

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use realtime_unified::{Error, NotificationService, Origins};
use serde_json::{Value, json};

use failure::Failure;

use crate::wires::Wires;

/// The largest body the API reads, in bytes.
const MAX_BODY: usize = 17 * 1024 * 1024;

pub(crate) fn router(service: NotificationService, wires: Wires) -> Router {
    Router::new()
        .merge(Router::new().route("/api/wire", post(wire::set)).with_state(wires))
        .route("/api/send", post(send::send))
        .route("/api/ask", post(ask::ask))
        .route("/api/connections", get(connections::list))
        .route("/api/explain", get(explain::explain))
        .route("/api/nodes", get(nodes::list))
        .route("/api/online", get(nodes::online))
        .route("/api/rooms", get(rooms::list))
        .route("/api/rooms/join", post(rooms::join))
        .route("/api/rooms/leave", post(rooms::leave))
        .route("/api/stats", get(stats))
        .route("/api/{*rest}", axum::routing::any(unknown))
        .route("/readyz", get(ready))
        .method_not_allowed_fallback(wrong_method)
        .layer(axum::extract::DefaultBodyLimit::max(MAX_BODY))
        .layer(axum::middleware::from_fn(same_origin))
        .with_state(service)
}

/// Rejects other pages, which a browser lets post anywhere.
async fn same_origin(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match Origins::same_host().check(&parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => Failure::from(Error::from(refusal)).into_response(),
    }
}

async fn stats(State(service): State<NotificationService>) -> Json<Value> {
    Json(json!({ "providers": service.stats() }))
}

/// Answers 200 or 503, with the health of this node.
async fn ready(State(service): State<NotificationService>) -> (StatusCode, Json<Value>) {
    let health = service.health();
    let ready = service.is_ready();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let probe = health.as_ref().and_then(|health| health.probe).map(|probe| probe.as_secs_f64() * 1_000.0);
    let error = health.as_ref().and_then(|health| health.error.as_deref());
    let node = health.as_ref().map(|health| &health.node);
    (status, Json(json!({ "ready": ready, "probeMs": probe, "error": error, "node": node })))
}

async fn unknown() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "not_found", "no such path")
}

async fn wrong_method() -> Failure {
    Failure::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "this path takes another method")
}
