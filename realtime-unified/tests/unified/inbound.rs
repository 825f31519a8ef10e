//! A tenant whose clients send too much, over every transport that takes messages.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use crate::support::{WebSocket, accepted_socket, start, websocket, ws_client};
use futures_util::SinkExt;
use realtime_testkit::eventually;
use realtime_unified::config::{InboundRate, Limits};
use realtime_unified::{
    ConnectRequest, Context, Handlers, Identity, NotificationService, Refusal, Reply, SocketIoConfig, SocketIoProvider,
    WsConfig, WsProvider,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

/// Identifies the user, and the tenant of the same name, by `?token=`.
async fn by_token(request: ConnectRequest) -> Result<Identity, Refusal> {
    let token = request.token().ok_or_else(|| Refusal::unauthorized("no token"))?;
    let (tenant, user) = token.split_once('.').unwrap_or(("", &token));
    let identity = Identity::user(user);
    Ok(if tenant.is_empty() { identity } else { identity.with_tenant(tenant) })
}

type Seen = Arc<Mutex<Vec<(String, u64)>>>;

/// Returns 100 messages per second, and 20 at once.
fn messages() -> InboundRate {
    InboundRate::of_tenant().with_events_per_second(100).with_events_burst(20)
}

/// Starts a service whose tenants may send so much, and each connection any number.
async fn started(of_tenant: InboundRate) -> (NotificationService, SocketAddr, Seen) {
    let seen = Seen::default();
    let numbers = Arc::clone(&seen);
    let limits = Limits::default().with_inbound_per_connection(InboundRate::unlimited());
    let builder = NotificationService::builder()
        .provider(WsProvider::new(WsConfig::default().with_limits(limits)))
        .provider(SocketIoProvider::new(SocketIoConfig::default().with_limits(limits)))
        .inbound_per_tenant(of_tenant)
        .authenticator(by_token)
        .on("echo", async |_: Context, value: Value| Reply(value))
        .on("count", move |cx: Context, n: u64| {
            numbers.lock().unwrap().push((cx.identity().user_name().unwrap_or_default().to_owned(), n));
            std::future::ready(())
        });
    let (service, address) = start(builder).await;
    (service, address, seen)
}

async fn flood(socket: &mut WebSocket, messages: impl Iterator<Item = String>) {
    for message in messages {
        socket.feed(Message::text(message)).await.unwrap();
    }
    socket.flush().await.unwrap();
}

#[tokio::test]
async fn tenant_over_its_rate_slows_no_other_tenant() {
    let (service, address, seen) = started(messages()).await;
    let mut healthy = ws_client(address, "/ws?token=globex.healthy").await;
    let mut ws = websocket(address, "/ws?token=acme.ann").await;
    let mut io = accepted_socket(address, "acme.bob", "").await;
    flood(&mut ws, (0..150).map(|n| json!({"type": "count", "payload": n}).to_string())).await;
    flood(&mut io, (0..150).map(|n| format!("42[\"count\",{n}]"))).await;
    let held = |provider: &str| service.stats()[provider].throttled_now;
    eventually("both are held back", || held("ws") == 1 && held("socket") == 1).await;
    for n in 0..20 {
        assert_eq!(healthy.request("echo", &n).await.unwrap(), json!(n));
    }
    assert!(seen.lock().unwrap().len() < 300, "the tenant is still held back");
    eventually("all are handled", || seen.lock().unwrap().len() == 300).await;
    for user in ["ann", "bob"] {
        let of_user = |seen: &[(String, u64)]| seen.iter().filter(|(of, _)| of == user).map(|(_, n)| *n).collect();
        let numbers: Vec<u64> = of_user(&seen.lock().unwrap());
        assert_eq!(numbers, (0..150).collect::<Vec<_>>(), "{user}");
    }
    let stats = service.stats();
    for provider in ["ws", "socket"] {
        assert!(stats[provider].throttled_by_tenant > 0 && stats[provider].throttled == 0, "{provider}");
        assert_eq!(stats[provider].rate_limited, 0);
    }
}

#[tokio::test]
async fn bytes_of_a_tenant_slow_no_other_tenant() {
    let of_tenant = InboundRate::unlimited().with_bytes_per_second(64 * 1024).with_bytes_burst(16 * 1024);
    let (service, address, seen) = started(of_tenant).await;
    let mut healthy = ws_client(address, "/ws?token=globex.healthy").await;
    let mut ws = websocket(address, "/ws?token=acme.ann").await;
    let mut io = accepted_socket(address, "acme.bob", "").await;
    // Each flood is larger than what comes at once.
    let blank = " ".repeat(8 * 1024);
    flood(&mut ws, (0..10).map(|n| format!("{{\"type\":\"count\",{blank}\"payload\":{n}}}"))).await;
    flood(&mut io, (0..10).map(|n| format!("42[\"count\",{blank}{n}]"))).await;
    let held = |provider: &str| service.stats()[provider].throttled_now;
    eventually("both are held back", || held("ws") == 1 && held("socket") == 1).await;
    for n in 0..20 {
        assert_eq!(healthy.request("echo", &n).await.unwrap(), json!(n));
    }
    assert!(seen.lock().unwrap().len() < 20, "the tenant is still held back");
    eventually("all are handled", || seen.lock().unwrap().len() == 20).await;
    let stats = service.stats();
    for provider in ["ws", "socket"] {
        assert!(stats[provider].throttled_by_tenant > 0 && stats[provider].throttled == 0, "{provider}");
    }
}

/// A tenant whose only client connects again does not begin with a full budget.
#[tokio::test]
async fn budget_of_a_tenant_outlives_its_last_connection() {
    let of_tenant = InboundRate::unlimited().with_events_per_second(10).with_events_burst(100);
    let (service, address, seen) = started(of_tenant).await;
    let count = |n: usize| json!({"type": "count", "payload": n}).to_string();
    let mut first = websocket(address, "/ws?token=acme.ann").await;
    flood(&mut first, (0..100).map(count)).await;
    eventually("all are handled", || seen.lock().unwrap().len() == 100).await;
    drop(first);
    eventually("nobody is connected", || service.stats()["ws"].connections == 0).await;
    let mut second = websocket(address, "/ws?token=acme.ann").await;
    flood(&mut second, (0..60).map(count)).await;
    eventually("it is held back", || service.stats()["ws"].throttled_now == 1).await;
}
