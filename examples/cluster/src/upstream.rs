//! Requests to a node, each over a TCP connection of its own.

use std::io;
use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::Response;
use hyper::client::conn::http1::handshake;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

/// The largest answer that is read as a whole, in bytes.
pub(crate) const MOST_BYTES: usize = 64 * 1024;

/// Connects to a node.
pub(crate) async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Sends a request over a connection of its own, which ends with the response's body.
pub(crate) async fn send(stream: TcpStream, request: Request<Body>) -> hyper::Result<Response> {
    let (mut sender, connection) = handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection.with_upgrades());
    Ok(sender.send_request(request).await?.map(Body::new))
}

/// Requests JSON from a node.
pub(crate) async fn get_json(address: SocketAddr, path: &str) -> io::Result<(StatusCode, Value)> {
    let mut request = Request::new(Body::empty());
    *request.uri_mut() = path.parse().map_err(io::Error::other)?;
    request.headers_mut().insert(header::HOST, HeaderValue::from_static("cluster"));
    let response = send(connect(address).await?, request).await.map_err(io::Error::other)?;
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), MOST_BYTES).await.map_err(io::Error::other)?;
    Ok((status, serde_json::from_slice(&body).unwrap_or_default()))
}
