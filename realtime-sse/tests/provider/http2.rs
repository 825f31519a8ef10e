//! Many streams on one HTTP/2 connection.

use std::time::Duration;

use futures_util::FutureExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use realtime_core::{CloseReason, Drain, RealtimeProvider, Target};
use realtime_http::WireConfig;
use realtime_sse::SseConfig;
use realtime_testkit::{eventually, in_time};
use tokio::time::timeout;

use crate::support::http2::{client, get};
use crate::support::{Server, Setup};

/// Reads until this text has come.
async fn read_until(stream: &mut Incoming, text: &str) {
    let mut read = Vec::new();
    while !String::from_utf8_lossy(&read).contains(text) {
        let frame = in_time("a frame", stream.frame()).await.unwrap().unwrap();
        read.extend_from_slice(&frame.into_data().unwrap());
    }
}

#[tokio::test]
async fn reset_stream_frees_its_registration_alone() {
    let server = Server::start().await;
    let mut requests = client(server.address(), 1 << 16).await;
    let mut streams = Vec::new();
    for number in 0..60 {
        streams.push(get(&mut requests, server.url(&format!("/sse?user=user-{number}"))).await);
    }
    server.connections(60).await;

    streams.truncate(20);

    server.connections(20).await;
    assert_eq!(server.hooks.close_of("user-59").await, CloseReason::CONNECTION_LOST);
    server.send(Target::all(), "n", "for those that stay").await;
    for stream in &mut streams {
        read_until(stream, "for those that stay").await;
    }
}

#[tokio::test]
async fn streams_beyond_the_limit_wait_for_a_free_one() {
    let wire = WireConfig::default().with_http2_max_streams(3);
    let server = Setup { wire, ..Setup::default() }.start().await;
    let mut requests = client(server.address(), 1 << 16).await;
    let mut streams = Vec::new();
    for number in 0..3 {
        streams.push(get(&mut requests, server.url(&format!("/sse?user=user-{number}"))).await);
    }
    let mut waiting = get(&mut requests, server.url("/sse?user=late")).boxed();
    assert!(timeout(Duration::from_millis(300), &mut waiting).await.is_err(), "expected no fourth stream");

    streams.pop();

    streams.push(in_time("the fourth stream", waiting).await);
    server.connections(3).await;
}

#[tokio::test]
async fn each_stream_has_a_heartbeat() {
    let server = Setup::from(SseConfig::default().with_heartbeat(Duration::from_millis(100))).start().await;
    let mut requests = client(server.address(), 1 << 16).await;
    for user in ["ann", "bob"] {
        let mut stream = get(&mut requests, server.url(&format!("/sse?user={user}"))).await;
        read_until(&mut stream, "\n\n:\n:\n").await;
    }
}

#[tokio::test]
async fn drain_tells_the_client_to_connect_again() {
    let server = Server::start().await;
    let mut requests = client(server.address(), 1 << 16).await;
    let mut streams =
        [get(&mut requests, server.url("/sse?user=ann")).await, get(&mut requests, server.url("/sse?user=bob")).await];

    server.provider.shutdown(Drain::over(Duration::ZERO).with_hold(Duration::ZERO)).await;

    for stream in &mut streams {
        while let Some(frame) = in_time("the end", stream.frame()).await {
            frame.unwrap();
        }
    }
    eventually("no further requests", || requests.is_closed()).await;
}
