//! An HTTP/2 client.

use http_body_util::{BodyExt, Empty};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use realtime_testkit::in_time;
use tokio::io::{AsyncRead, AsyncWrite};

pub type Requests = http2::SendRequest<Empty<Bytes>>;

/// Speaks HTTP/2 on this stream.
pub async fn client(stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static) -> Requests {
    let (requests, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
    tokio::spawn(connection);
    requests
}

/// Requests a path, which must be answered with 200.
pub async fn get(requests: &mut Requests, path: &str) -> Incoming {
    let request = axum::http::Request::get(format!("https://localhost{path}")).body(Empty::new()).unwrap();
    let response = in_time("a response", requests.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}

/// Reads until this text has come.
pub async fn read_until(stream: &mut Incoming, text: &str) {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let frame = in_time("a frame", stream.frame()).await.unwrap().unwrap();
        read.extend_from_slice(&frame.into_data().unwrap());
    }
}

/// Reads to the orderly end of the stream.
pub async fn to_end(stream: &mut Incoming) {
    while let Some(frame) = in_time("the end", stream.frame()).await {
        frame.unwrap();
    }
}
