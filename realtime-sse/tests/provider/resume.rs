//! Clients that reconnect.

use crate::support::{Reader, Server};
use realtime_core::Target;

async fn resume(server: &Server, query: &str, id: &str) -> Reader {
    Reader::of(server.get(&format!("/sse?{query}")).header("last-event-id", id)).await
}

#[tokio::test]
async fn cursor_in_the_header_wins_over_the_query() {
    let server = Server::start().await;
    let mut ann = server.open("user=ann").await;
    let mut ids = Vec::new();
    for i in 0..4 {
        server.send(Target::all(), "n", i).await;
        ids.push(ann.expect("n", i).await.id().to_owned());
    }

    let mut by_query = Reader::of(server.get(&format!("/sse?user=ann&lastEventId={}", ids[0]))).await;
    assert_eq!(by_query.connected().await["resumed"], true);
    by_query.expect("n", 1).await;
    let mut by_header = resume(&server, &format!("user=ann&lastEventId={}", ids[0]), &ids[2]).await;
    assert_eq!(by_header.connected().await["cursor"], ids[2]);
    by_header.expect("n", 3).await;
    let mut empty_header = resume(&server, &format!("user=ann&lastEventId={}", ids[1]), "").await;
    assert_eq!(empty_header.connected().await["cursor"], ids[1]);
    empty_header.expect("n", 2).await;
}

/// The conformance suite has the cursors that are text.
#[tokio::test]
async fn cursor_that_is_no_text_is_invalid() {
    let server = Server::start().await;
    let bytes = http::HeaderValue::from_bytes(b"\xff\xfe\x80").unwrap();
    let mut reader = Reader::of(server.get("/sse?user=ann").header("last-event-id", bytes)).await;
    assert_eq!(reader.connected().await["reason"], "invalid");
}
