//! One-time tickets, on one node and on several.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::routing::post;
use futures_util::SinkExt;
use futures_util::future::join_all;
use realtime_testkit::{FaultyBackplane, eventually, in_time};
use realtime_unified::memory::{MemoryBackplane, MemoryDirectory};
use realtime_unified::prelude::*;
use realtime_unified::{Event, NotificationServiceBuilder, TicketConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::support::{Collector, UPGRADE, answer, get, served, sse_client, start, text_with, websocket, ws_client};

#[derive(Serialize, Deserialize)]
struct Roles(Vec<String>);

/// Identifies a client by its `Authorization`, whose token is the user's name.
async fn login(request: ConnectRequest) -> Result<Identity, Refusal> {
    let user = request.bearer().ok_or_else(|| Refusal::unauthorized("who is it?"))?;
    let identity = Identity::user(user).with_tenant("acme").with_token_id("t-1").with_rooms(["lobby"]);
    Ok(match user {
        "short" => identity.with_expiry(SystemTime::now() + Duration::from_secs(10)),
        "roles" => identity.with_claims(Roles(vec!["editor".to_owned()])),
        "odd" => identity.with_claims(7_u8),
        "long" => identity.with_claims(Roles(vec!["x".repeat(6_000)])),
        _ => identity,
    })
}

fn builder(tickets: TicketConfig) -> NotificationServiceBuilder {
    NotificationService::builder()
        .provider(SseProvider::default())
        .provider(WsProvider::default())
        .provider(SocketIoProvider::default())
        .authenticator(login)
        .origins(Origins::same_host().and("https://app.example"))
        .tickets(tickets)
        .on("who", async |cx: Context, _: Value| {
            let who = cx.identity();
            let roles = who.claims::<Roles>().map(|roles| roles.0.clone());
            Reply(json!([who.user_name(), who.tenant_name(), who.token_id(), who.rooms().collect::<Vec<_>>(), roles]))
        })
}

fn tickets() -> TicketConfig {
    TicketConfig::default().with_claims::<Roles>()
}

/// Returns a ticket for this user, as text.
async fn ticket(address: SocketAddr, user: &str) -> String {
    let (head, body) = answer(address, "POST /ticket", &format!("authorization: Bearer {user}\r\n")).await;
    assert!(head.starts_with("http/1.1 200 ") && head.contains("\r\ncache-control: no-store\r\n"), "{head} {body}");
    body["ticket"].as_str().unwrap().to_owned()
}

/// Returns the status, and the code of a refusal, of an event stream with this ticket.
async fn refused(address: SocketAddr, ticket: &str) -> (u16, String) {
    let (head, body) = answer(address, &format!("GET /sse?ticket={ticket}"), "").await;
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body["error"]["code"].as_str().unwrap().to_owned())
}

async fn status(address: SocketAddr, ticket: &str) -> String {
    get(address, &format!("/sse?ticket={ticket}"), "").await.split(' ').nth(1).unwrap().to_owned()
}

fn code(status: u16, code: &str) -> (u16, String) {
    (status, code.to_owned())
}

#[tokio::test]
async fn ticket_connects_once_over_any_transport() {
    let (service, address) = start(builder(tickets())).await;
    let [one, two, three] = [ticket(address, "ann").await, ticket(address, "ann").await, ticket(address, "ann").await];
    assert_eq!(HashSet::from([&one, &two, &three]).len(), 3);
    let mut sse = sse_client(address, &format!("/sse?ticket={one}")).await;
    let mut ws = ws_client(address, &format!("/ws?ticket={two}")).await;
    let mut socket = websocket(address, "/socket.io/?EIO=4&transport=websocket").await;
    text_with(&mut socket, "0{").await;
    socket.send(Message::text(format!(r#"40{{"ticket":"{three}"}}"#))).await.unwrap();
    text_with(&mut socket, "40").await;

    let receipt = service.send(Target::user_in("acme", "ann"), Event::json("x", &1).unwrap()).await.unwrap();
    assert_eq!(receipt.delivered.unwrap().matched, 3);
    assert_eq!(sse.next_of("x").await.unwrap().json::<u8>(), 1);
    assert_eq!(ws.request("who", &Value::Null).await.unwrap(), json!(["ann", "acme", "t-1", ["lobby"], null]));
    for used in [&one, &two, &three] {
        assert_eq!(refused(address, used).await, code(401, "ticket_used"));
    }
    // A token that the client presents itself counts instead.
    let head = get(address, &format!("/sse?ticket={one}"), "authorization: Bearer ann\r\n").await;
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
}

#[tokio::test]
async fn one_of_many_clients_with_a_ticket_connects() {
    let (_, address) = start(builder(tickets())).await;
    let ticket = ticket(address, "ann").await;
    let statuses = in_time("all answers", join_all((0..30).map(|_| status(address, &ticket)))).await;
    let accepted = statuses.iter().filter(|status| *status == "200").count();
    assert_eq!((accepted, statuses.iter().filter(|status| *status == "401").count()), (1, 29), "{statuses:?}");
}

#[tokio::test]
async fn ticket_of_one_node_is_used_once_on_all() {
    let (backplane, directory) = (MemoryBackplane::default(), Arc::new(MemoryDirectory::new()));
    for secret in [None, Some("a secret of sixteen bytes")] {
        let node = async || {
            let node = builder(tickets()).backplane(backplane.clone()).directory(Arc::clone(&directory));
            start(if let Some(secret) = secret { node.cursor_secret(secret) } else { node }).await
        };
        let ((_one, a), (_two, b)) = (node().await, node().await);
        let made = ticket(a, "ann").await;
        let used = join_all([status(a, &made), status(b, &made), status(a, &made), status(b, &made)]).await;
        assert_eq!(used.iter().filter(|status| *status == "200").count(), 1, "{used:?}");
        assert_eq!(status(b, &ticket(a, "ann").await).await, "200");
        assert_eq!(status(a, &ticket(b, "ann").await).await, "200");
    }
}

#[tokio::test]
async fn ticket_that_was_not_made_here_is_refused() {
    let ((_one, address), (_two, other)) = (start(builder(tickets())).await, start(builder(tickets())).await);
    let foreign = ticket(other, "ann").await;
    let own = ticket(address, "ann").await;
    let altered = format!("{}{}", if own.starts_with('B') { 'C' } else { 'B' }, &own[1..]);
    let long = "A".repeat(20_000);
    for text in [&foreign, &altered, &own[..own.len() - 1], &format!("{own}A"), "", "x", "%00", "é", &long] {
        assert_eq!(refused(address, text).await, code(401, "ticket_invalid"), "{text}");
    }
    assert!(!own.contains("ann") && !own.contains("YW5u"), "{own}");
    assert_eq!(status(address, &own).await, "200", "what was tried does not use it up");
}

#[tokio::test]
async fn ticket_ends_with_its_time_and_its_identity() {
    let (_, address) = start(builder(tickets().with_lifetime(Duration::from_nanos(1)))).await;
    assert_eq!(refused(address, &ticket(address, "ann").await).await, code(401, "ticket_expired"));
    let (_, address) = start(builder(tickets())).await;
    let (_, body) = answer(address, "POST /ticket", "authorization: Bearer ann\r\n").await;
    assert_eq!(body["expiresIn"], 30);
    let (_, body) = answer(address, "POST /ticket", "authorization: Bearer short\r\n").await;
    assert!((8..=10).contains(&body["expiresIn"].as_u64().unwrap()), "{body}");
}

#[tokio::test]
async fn claims_are_in_a_ticket_if_their_type_is_known() {
    let (collector, _guard) = Collector::install();
    let (_, address) = start(builder(tickets())).await;
    let mut ws = ws_client(address, &format!("/ws?ticket={}", ticket(address, "roles").await)).await;
    assert_eq!(ws.request("who", &Value::Null).await.unwrap()[4], json!(["editor"]));
    for (user, said) in [("odd", "u8 need TicketConfig::with_claims"), ("long", "too long for a ticket")] {
        let (head, body) = answer(address, "POST /ticket", &format!("authorization: Bearer {user}\r\n")).await;
        assert!(head.starts_with("http/1.1 500 ") && body["error"]["code"] == "internal", "{head} {body}");
        assert_eq!(collector.lines(&["a request failed", said]).len(), 1, "{user}");
    }
}

#[tokio::test]
async fn tickets_wait_for_a_log_that_is_away() {
    let faulty = FaultyBackplane::new(MemoryBackplane::default());
    let (_service, address) = start(builder(tickets()).backplane(faulty.clone())).await;
    let made = ticket(address, "ann").await;
    faulty.set_up(false);
    let websocket = async || answer(address, &format!("GET /ws?ticket={made}"), UPGRADE).await;
    let (head, body) = websocket().await;
    assert!(head.starts_with("http/1.1 503 ") && head.contains("\r\nretry-after: "), "{head}");
    assert!(["unavailable", "draining"].contains(&body["error"]["code"].as_str().unwrap()), "{body}");
    faulty.set_up(true);
    in_time("the log", async { while websocket().await.0.starts_with("http/1.1 503 ") {} }).await;
    assert_eq!(refused(address, &made).await, code(401, "ticket_used"));
}

#[tokio::test]
async fn ticket_of_an_earlier_epoch_is_refused() {
    let faulty = FaultyBackplane::new(MemoryBackplane::default());
    let (service, address) = start(builder(tickets()).backplane(faulty.clone())).await;
    let (used, unused) = (ticket(address, "ann").await, ticket(address, "ann").await);
    assert_eq!(status(address, &used).await, "200");
    // The new log has no keys of the old one.
    faulty.exchange(MemoryBackplane::default());
    service.to_all("x", &1).await.unwrap_err();
    for old in [&used, &unused] {
        in_time("a refusal", async {
            loop {
                match status(address, old).await.as_str() {
                    "503" => tokio::task::yield_now().await,
                    status => break assert_eq!(status, "401"),
                }
            }
        })
        .await;
    }
    eventually("the new log", || service.is_ready()).await;
    assert_eq!(status(address, &ticket(address, "ann").await).await, "200");
}

#[tokio::test]
async fn only_the_route_for_it_makes_tickets_of_credentials() {
    let (service, address) = start(builder(tickets())).await;
    let (head, _) = answer(address, "POST /ticket", "").await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    let (head, _) = answer(address, "GET /ticket", "authorization: Bearer ann\r\n").await;
    assert!(head.starts_with("http/1.1 405 ") && head.contains("\r\nallow: options, post\r\n"), "{head}");
    // A ticket is for a connection: neither for another ticket, nor for a route of the application.
    let made = ticket(address, "ann").await;
    let (head, _) = answer(address, &format!("POST /ticket?ticket={made}"), "").await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    let route = post(async |Caller(who): Caller| who.user_name().unwrap_or_default().to_owned());
    let (own, _) = served(Router::new().route("/who", route).with_state(service)).await;
    let (head, _) = answer(own, &format!("POST /who?ticket={made}"), "").await;
    assert!(head.starts_with("http/1.1 401 "), "{head}");
    assert_eq!(status(address, &made).await, "200");
}

#[tokio::test]
async fn pages_that_may_connect_get_tickets() {
    let (_, address) = start(builder(tickets())).await;
    let from = async |origin: &str| {
        let headers = format!("authorization: Bearer ann\r\norigin: {origin}\r\n");
        answer(address, "POST /ticket", &headers).await
    };
    let (head, body) = from("https://app.example").await;
    assert!(head.starts_with("http/1.1 200 ") && body["ticket"].is_string(), "{head}");
    assert!(head.contains("\r\naccess-control-allow-origin: https://app.example\r\n"), "{head}");
    let (head, _) = from("https://evil.example").await;
    assert!(head.starts_with("http/1.1 403 ") && !head.contains("access-control-allow-origin"), "{head}");
    let asked = "origin: https://app.example\r\naccess-control-request-method: POST\r\n\
                 access-control-request-headers: authorization\r\n";
    let (head, _) = answer(address, "OPTIONS /ticket", asked).await;
    assert!(head.starts_with("http/1.1 204 "), "{head}");
    for header in ["access-control-allow-methods: post", "access-control-allow-headers: authorization"] {
        assert!(head.contains(&format!("\r\n{header}\r\n")), "{header} {head}");
    }
}

#[tokio::test]
async fn tickets_that_cannot_work_are_rejected() {
    for (config, what) in [
        (tickets().with_lifetime(Duration::ZERO), "lifetime"),
        (tickets().with_lifetime(Duration::from_secs(601)), "lifetime"),
        (tickets().with_path("ticket"), "slash"),
        (tickets().with_path("/sse"), "with_path"),
    ] {
        let error = builder(config).build().await.unwrap_err().to_string();
        assert!(error.contains(what), "{what}: {error}");
    }
    let (_, address) = start(builder(tickets().with_path("/api/ticket"))).await;
    let (head, _) = answer(address, "POST /api/ticket", "authorization: Bearer ann\r\n").await;
    assert!(head.starts_with("http/1.1 200 "), "{head}");
    let head = get(address, "/ws?ticket=x", UPGRADE).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}
