//! The reverse proxy: a request goes to the ready nodes in turn, one of an Engine.IO session to the
//! node that opened it, which long polling needs.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::copy_bidirectional;
use tokio::net::TcpStream;

use crate::node::Node;
use crate::nodes::Nodes;
use crate::upstream;

/// Headers that are between two hosts, and not for those behind them.
const BETWEEN: [&str; 6] = ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"];

/// Returns the route of everything that is no other route's.
pub(crate) fn router(nodes: Arc<Nodes>) -> Router {
    Router::new().fallback(to_any).with_state(nodes)
}

/// The part of an Engine.IO query that says where a request belongs.
#[derive(Default, Deserialize)]
struct Session {
    sid: Option<String>,
    transport: Option<String>,
}

async fn to_any(State(nodes): State<Arc<Nodes>>, request: Request) -> Response {
    let session: Session = match request.uri().query() {
        Some(query) if request.uri().path().starts_with("/socket.io") => {
            serde_urlencoded::from_str(query).unwrap_or_default()
        }
        _ => Session::default(),
    };
    // The owner gets its requests also while it is not ready, which is when its sessions end.
    let owner = session.sid.as_deref().and_then(|sid| nodes.owner(sid));
    let candidates = owner.map_or_else(|| nodes.in_turn(), |owner| vec![owner]);
    let opens_polling = session.sid.is_none() && session.transport.as_deref() == Some("polling");
    for node in candidates {
        let Some(stream) = connect(&node).await else { continue };
        let response = forward(stream, request).await;
        return if opens_polling { note_session(&nodes, node, response).await } else { response };
    }
    failure(StatusCode::SERVICE_UNAVAILABLE, "no_node", "no node is ready")
}

/// Sends a request to one node.
pub(crate) async fn to_node(node: &Node, request: Request) -> Response {
    match connect(node).await {
        Some(stream) => forward(stream, request).await,
        None => failure(StatusCode::BAD_GATEWAY, "no_node", "the node does not accept connections"),
    }
}

async fn connect(node: &Node) -> Option<TcpStream> {
    let stream = upstream::connect(node.address()?).await;
    if stream.is_err() {
        node.mark_unreachable();
    }
    stream.ok()
}

/// Forwards a request, and the protocol that both sides change to, if they do.
async fn forward(stream: TcpStream, mut request: Request) -> Response {
    let upgrade = remove_between(request.headers_mut());
    if let Some(protocol) = &upgrade {
        set_upgrade(request.headers_mut(), protocol);
    }
    *request.version_mut() = Version::HTTP_11;
    let client = hyper::upgrade::on(&mut request);
    let Ok(mut response) = upstream::send(stream, request).await else {
        return failure(StatusCode::BAD_GATEWAY, "node_lost", "the node has ended before it answered");
    };
    let upgraded = remove_between(response.headers_mut());
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let server = hyper::upgrade::on(&mut response);
        tokio::spawn(async move {
            if let (Ok(client), Ok(server)) = (client.await, server.await) {
                let _ = copy_bidirectional(&mut TokioIo::new(client), &mut TokioIo::new(server)).await;
            }
        });
        upgraded.iter().for_each(|protocol| set_upgrade(response.headers_mut(), protocol));
    }
    response
}

/// Removes the headers that are between two hosts; returns the protocol that is changed to.
fn remove_between(headers: &mut HeaderMap) -> Option<HeaderValue> {
    let upgrade = headers.get(header::UPGRADE).cloned();
    BETWEEN.iter().for_each(|name| drop(headers.remove(*name)));
    upgrade
}

fn set_upgrade(headers: &mut HeaderMap, protocol: &HeaderValue) {
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, protocol.clone());
}

/// Remembers the node that opened a session, which its first response names.
async fn note_session(nodes: &Nodes, node: Arc<Node>, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let Ok(body) = axum::body::to_bytes(body, upstream::MOST_BYTES).await else {
        return failure(StatusCode::BAD_GATEWAY, "node_lost", "the node has ended while it answered");
    };
    let text = String::from_utf8_lossy(&body);
    if let Some((sid, _)) = text.split_once(r#""sid":""#).and_then(|(_, rest)| rest.split_once('"')) {
        nodes.assign(sid.to_owned(), node);
    }
    Response::from_parts(parts, Body::from(body))
}

pub(crate) fn failure(status: StatusCode, code: &str, message: &str) -> Response {
    let body = serde_json::json!({ "error": { "code": code, "message": message } });
    let mut response = (status, axum::Json(body)).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
    response
}
