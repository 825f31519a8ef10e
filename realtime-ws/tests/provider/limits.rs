//! At a user's limit, and after a close: dead connections make room, and who was closed is not heard.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Server, eventually, handshake_of, vanish, within};
use realtime_core::{CloseReason, Context, Handlers, RealtimeProvider, Target};
use realtime_ws::{WsConfig, WsProvider};
use serde_json::{Value, json};

#[tokio::test]
async fn dead_connections_of_a_user_make_room_for_it() {
    let server = Server::start(WsProvider::new(WsConfig::default())).await;
    let mut dead = Vec::new();
    for _ in 0..9 {
        let client = server.client("ann").await;
        vanish(client.socket.get_ref());
        dead.push(client);
    }
    let mut alive = server.client("ann").await;
    let answering = tokio::spawn(async move {
        let end = alive.closed().await;
        panic!("the one that lives was closed: {end:?}");
    });

    let begun = Instant::now();
    let (_, head) = server.request(&handshake_of("/ws?user=ann")).await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let after = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((5..=10).contains(&after.parse::<u32>().unwrap()), "{head}");
    eventually(|| server.stats().connections == 1).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(server.stats().closed[&4002], 9);
    for _ in 0..9 {
        server.client("ann").await;
    }
    assert!(!answering.is_finished());
    answering.abort();
}

#[tokio::test]
async fn a_closed_client_that_does_not_read_is_not_heard() {
    let handled = Arc::new(AtomicUsize::new(0));
    let provider = WsProvider::new(WsConfig::default()).on("count", {
        let handled = Arc::clone(&handled);
        move |_: Context, _: Value| {
            handled.fetch_add(1, Ordering::SeqCst);
            std::future::ready(())
        }
    });
    let server = Server::start(provider).await;
    let mut client = server.client("ann").await;
    client.send(&json!({"type": "count", "payload": 0})).await;
    eventually(|| handled.load(Ordering::SeqCst) == 1).await;
    // More than all buffers on the way hold.
    for _ in 0..40 {
        server.send(Target::user("ann"), "n", &"x".repeat(1024 * 1024)).await;
    }
    assert_eq!(server.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 1);
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < Duration::from_secs(3) && server.stats().connections > 0 {
        // Its session may have ended it.
        let text = json!({"type": "count", "payload": sent}).to_string();
        if futures_util::SinkExt::send(&mut client.socket, tokio_tungstenite::tungstenite::Message::text(text))
            .await
            .is_err()
        {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(sent > 20, "it could send {sent}");
    assert_eq!(handled.load(Ordering::SeqCst), 1, "of {sent}");
    within(async { drop(client) }).await;
}
