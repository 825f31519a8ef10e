//! The interface of the page: the state of the nodes, and their ends and starts.

use std::sync::Arc;

use axum::extract::{Path, Request, State};
use axum::http::{StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post};
use axum::{Json, Router};
use realtime_http::Origins;
use serde_json::{Value, json};

use crate::node::Node;
use crate::nodes::Nodes;
use crate::proxy::{self, failure};

#[derive(Clone)]
struct Cluster {
    nodes: Arc<Nodes>,
    broker: Arc<str>,
}

/// Returns the routes, all under `/cluster/`.
pub(crate) fn router(nodes: Arc<Nodes>, broker: String) -> Router {
    Router::new()
        .route("/cluster/state", get(state))
        .route("/cluster/nodes/{node}/kill", post(kill))
        .route("/cluster/nodes/{node}/stop", post(stop))
        .route("/cluster/nodes/{node}/start", post(start))
        .route("/cluster/nodes/{node}/api/{*path}", any(to_node))
        .layer(axum::middleware::from_fn(same_origin))
        .with_state(Cluster { nodes, broker: broker.into() })
}

/// Rejects other pages, which a browser lets post anywhere.
async fn same_origin(request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match Origins::same_host().check(&parts) {
        Ok(()) => next.run(Request::from_parts(parts, body)).await,
        Err(_) => failure(StatusCode::FORBIDDEN, "origin", "another page may not do this"),
    }
}

async fn state(State(cluster): State<Cluster>) -> Json<Value> {
    let nodes = cluster.nodes.iter().map(|node| json!({ "name": node.name(), "state": node.snapshot() }));
    Json(json!({ "broker": cluster.broker, "nodes": nodes.collect::<Vec<_>>() }))
}

async fn kill(State(cluster): State<Cluster>, Path(name): Path<String>) -> Response {
    with_node(&cluster, &name, |node| node.kill())
}

async fn stop(State(cluster): State<Cluster>, Path(name): Path<String>) -> Response {
    with_node(&cluster, &name, |node| node.stop())
}

async fn start(State(cluster): State<Cluster>, Path(name): Path<String>) -> Response {
    let Some(node) = cluster.nodes.named(&name).map(Arc::clone) else { return unknown() };
    // In a task, so that the node starts also when the page is closed meanwhile.
    match tokio::spawn(async move { node.start().await }).await {
        Ok(Ok(())) => Json(json!({})).into_response(),
        Ok(Err(error)) => failure(StatusCode::CONFLICT, "not_started", &error),
        Err(error) => failure(StatusCode::INTERNAL_SERVER_ERROR, "not_started", &error.to_string()),
    }
}

/// Calls the API of one node.
async fn to_node(
    State(cluster): State<Cluster>,
    Path((name, path)): Path<(String, String)>,
    mut request: Request,
) -> Response {
    let Some(node) = cluster.nodes.named(&name) else { return unknown() };
    let query = request.uri().query().map(|query| format!("?{query}")).unwrap_or_default();
    let Ok(uri) = format!("/api/{path}{query}").parse::<Uri>() else { return unknown() };
    *request.uri_mut() = uri;
    proxy::to_node(node, request).await
}

fn with_node(cluster: &Cluster, name: &str, act: impl FnOnce(&Node)) -> Response {
    let Some(node) = cluster.nodes.named(name) else { return unknown() };
    act(node);
    Json(json!({})).into_response()
}

fn unknown() -> Response {
    failure(StatusCode::NOT_FOUND, "not_found", "no such node or path")
}
