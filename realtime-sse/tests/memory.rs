//! The memory cost of clients that do not read; alone in its process, whose memory is measured.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(target_os = "linux")]

mod support;

use realtime_core::{Event, MemoryBackplane, RealtimeProvider, WindowConfig};
use realtime_sse::SseConfig;
use support::{Setup, http2, runtime};

#[tokio::test]
async fn clients_that_do_not_read_use_bounded_memory() {
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap() * 1024
    }
    let sse = SseConfig::default().with_window(WindowConfig::default().with_bytes(4 << 20));
    let runtime = runtime().with_backplane(MemoryBackplane::new(4));
    let server = Setup { sse, runtime, ..Setup::default() }.start().await;
    let mut client = http2::client(server.address(), 1000).await;
    let mut stuck = Vec::new();
    let mut raw = Vec::new();
    for i in 0..20 {
        stuck.push(http2::get(&mut client, server.url(&format!("/sse?user=h2-{i}"))).await);
        raw.push(server.open_raw(&format!("user=h1-{i}")).await);
    }
    server.connections(40).await;
    let before = resident();
    let event = Event::json("n", &"x".repeat(1 << 20)).unwrap();

    for _ in 0..100 {
        server.provider.broadcast().to_all(event.clone()).await.unwrap();
    }

    let grown = resident().saturating_sub(before);
    assert!(grown < 30 << 20, "expected less than 30 MiB, got {} MiB of the 100 MiB sent", grown >> 20);
    assert_eq!(server.stats().connections, 40);
}
