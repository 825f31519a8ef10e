//! Names of events from clients: the same rules as on every transport.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use realtime_core::spi::RESERVED_EVENTS;
use realtime_core::{Context, Handlers, Inbound, Reply};
use serde_json::{Value, json};

use crate::TRANSPORTS;
use crate::support::Setup;

#[tokio::test]
async fn invalid_event_names_never_reach_a_handler() {
    let handled = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&handled);
    let setup = Setup::default().with_handlers(move |provider| {
        provider.on("fine", async |_: Context, value: Value| Reply(value)).fallback(move |_: Context, _: Inbound| {
            count.fetch_add(1, Ordering::Relaxed);
            async {}
        })
    });
    let server = setup.start().await;
    let long = "x".repeat(500_000);
    // Clients may send the names for rooms.
    let reserved = RESERVED_EVENTS.iter().filter(|name| !name.ends_with("subscribe"));
    let reserved = reserved.map(|name| (*name, "reserved_name"));
    let names = ["", "a\u{85}b", "\u{7f}", &long].map(|name| (name, "invalid_name"));
    for transport in TRANSPORTS {
        let (mut client, _) = server.client(transport, "ann").await;
        for (id, (name, code)) in names.into_iter().chain(reserved.clone()).enumerate() {
            client.emit(name, &[json!(1)], Some(id as u64)).await;
            let answer = client.ack(id as u64).await;
            assert_eq!(answer[0]["error"]["code"], code, "{:?}: {answer}", name.get(..20).unwrap_or(name));
            assert!(answer.to_string().len() < 500, "the answer does not repeat the name");
        }
        client.emit("fine", &[json!(2)], Some(99)).await;
        assert_eq!(client.ack(99).await, json!([2]), "the connection stays open");
    }
    assert_eq!(handled.load(Ordering::Relaxed), 0);
}
