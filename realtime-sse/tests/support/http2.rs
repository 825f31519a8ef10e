//! An HTTP/2 client that reads a response only when a test does.

use std::net::SocketAddr;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};

use realtime_testkit::in_time;

/// Connects, and grants each stream this many bytes.
pub(crate) async fn client(address: SocketAddr, window: u32) -> http2::SendRequest<Empty<Bytes>> {
    let tcp = tokio::net::TcpStream::connect(address).await.unwrap();
    let (client, connection) = http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(window)
        .initial_connection_window_size(1 << 20)
        .handshake(TokioIo::new(tcp))
        .await
        .unwrap();
    tokio::spawn(connection);
    client
}

/// Opens a stream and leaves it unread.
pub(crate) async fn get(client: &mut http2::SendRequest<Empty<Bytes>>, uri: String) -> hyper::body::Incoming {
    let request = http::Request::get(uri).body(Empty::new()).unwrap();
    let response = in_time("a response", client.send_request(request)).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body()
}
