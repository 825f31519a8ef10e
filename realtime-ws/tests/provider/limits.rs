//! A user's limit, where dead connections free their slots; and events of a closed client.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::support::{Server, handshake_of};
use futures_util::SinkExt;
use realtime_core::{CloseReason, Context, Handlers, RealtimeProvider, Target};
use realtime_testkit::{blackhole, eventually};
use realtime_ws::{WsConfig, WsProvider};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

#[tokio::test]
async fn connections_of_unreachable_hosts_free_their_slots() {
    let server = Server::start(WsProvider::new(WsConfig::default())).await;
    let mut dead = Vec::new();
    for _ in 0..9 {
        let client = server.client("ann").await;
        blackhole(client.socket.get_ref());
        dead.push(client);
    }
    let mut alive = server.client("ann").await;
    let answering = tokio::spawn(async move {
        let close = alive.closed().await;
        panic!("expected an open connection, got {close:?}");
    });

    let begun = Instant::now();
    let (_, head) = server.request(&handshake_of("/ws?user=ann")).await;
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let after = head.lines().find_map(|line| line.strip_prefix("retry-after: ")).unwrap();
    assert!((5..=10).contains(&after.parse::<u32>().unwrap()), "{head}");
    server.connections(1).await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    assert_eq!(server.stats().closed[&4002], 9);
    for _ in 0..9 {
        server.client("ann").await;
    }
    assert!(!answering.is_finished());
    answering.abort();
}

#[tokio::test]
async fn events_of_a_closed_client_are_not_handled() {
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
    eventually("one event is handled", || handled.load(Ordering::SeqCst) == 1).await;
    // More than all buffers on the way hold.
    for _ in 0..40 {
        server.send(Target::user("ann"), "n", &"x".repeat(1024 * 1024)).await;
    }
    assert_eq!(server.provider.close(Target::user("ann"), CloseReason::KICKED).await.unwrap(), 1);
    let begun = Instant::now();
    let mut sent = 0;
    while begun.elapsed() < Duration::from_secs(3) && server.stats().connections > 0 {
        // The session may have closed the connection.
        let text = json!({"type": "count", "payload": sent}).to_string();
        if client.socket.send(Message::text(text)).await.is_err() {
            break;
        }
        sent += 1;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(sent > 20, "{sent}");
    assert_eq!(handled.load(Ordering::SeqCst), 1, "of {sent}");
}
