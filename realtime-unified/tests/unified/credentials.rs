//! Credentials that end: refreshes at another node, closes by the application with a text of its
//! own, and revoked tokens, over every transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::support::{WebSocket, accepted_socket, get, socket, sse_client, start, text_with, ws_client};
use axum::extract::{Request, State};
use axum::routing::get as route;
use realtime_testkit::{ClientError, SseClient, WsClient, in_time};
use realtime_unified::memory::{MemoryBackplane, MemoryDirectory};
use realtime_unified::{
    ConnectRequest, Error, Identity, NotificationService, NotificationServiceBuilder, Refusal, SocketIoConfig,
    SocketIoProvider, SseConfig, SseProvider, WsConfig, WsProvider,
};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(3_600);

/// Identifies by a token `user.id`, valid for an hour, or `user.id.milliseconds`.
async fn by_parts(request: ConnectRequest) -> Result<Identity, Refusal> {
    let token = request.token().ok_or_else(|| Refusal::unauthorized("no token"))?;
    let mut parts = token.split('.');
    let (Some(user), Some(id)) = (parts.next(), parts.next()) else { return Err(Refusal::unauthorized("bad token")) };
    let life = parts.next().map_or(LONG, |life| Duration::from_millis(life.parse().unwrap()));
    Ok(Identity::user(user).with_token_id(id).with_expiry(SystemTime::now() + life))
}

#[derive(Clone, Default)]
struct Nodes {
    backplane: MemoryBackplane,
    directory: Arc<MemoryDirectory>,
}

impl Nodes {
    fn builder(&self) -> NotificationServiceBuilder {
        NotificationService::builder()
            .provider(SseProvider::new(SseConfig::default()))
            .provider(WsProvider::new(WsConfig::default()))
            .provider(SocketIoProvider::new(SocketIoConfig::default()))
            .authenticator(by_parts)
            .backplane(self.backplane.clone())
            .directory(Arc::clone(&self.directory))
    }

    async fn node(&self) -> (NotificationService, SocketAddr) {
        start(self.builder()).await
    }
}

/// Opens an event stream with this token; returns it with its connection's id.
async fn stream(address: SocketAddr, token: &str) -> (SseClient, String) {
    let mut client = SseClient::new(format!("http://{address}/sse?token={token}")).without_reconnect();
    let connected: Value = client.next_of("connected").await.unwrap().json();
    (client, connected["connectionId"].as_str().unwrap().to_owned())
}

/// Asks the node at an address to refresh a stream of any node.
async fn refresh_at(address: SocketAddr, connection: &str, token: &str) -> (u16, Value) {
    let client = SseClient::new(format!("http://{address}/sse"));
    in_time("an answer", client.refresh_credentials(connection, token)).await
}

fn code(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["error"]["code"].as_str().unwrap_or_default())
}

/// Waits until the directory shows this many connections of a user.
async fn until_online(service: &NotificationService, user: &str, connections: usize) {
    in_time("the directory", async {
        while service.online(user).await.unwrap().len() != connections {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

/// Asserts that the clients were closed with this code and text.
async fn assert_closed(sse: &mut SseClient, ws: &mut WsClient, io: &mut WebSocket, (code, text): (u16, &str)) {
    let said = json!({"code": code, "reason": text, "reconnect": false});
    assert_eq!(sse.next_of("closed").await.unwrap().json::<Value>(), said);
    assert!(matches!(sse.next().await, Err(ClientError::Closed { .. })));
    match ws.next_event().await {
        Err(ClientError::Closed { code: Some(found), reason }) => assert_eq!((found, &*reason), (code, text)),
        other => panic!("expected a close, got {other:?}"),
    }
    let closed = text_with(io, "42[\"closed\"").await;
    assert_eq!(serde_json::from_str::<Value>(&closed[2..]).unwrap(), json!(["closed", said]));
    text_with(io, "41").await;
}

/// Returns the status with which an event stream is refused.
async fn refused(address: SocketAddr, token: &str) -> u16 {
    match SseClient::new(format!("http://{address}/sse?token={token}")).open().await {
        Err(ClientError::Refused { status, .. }) => status,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[tokio::test]
async fn stream_is_refreshed_by_way_of_another_node() {
    let nodes = Nodes::default();
    let ((one, first), (_two, second)) = (nodes.node().await, nodes.node().await);
    let (mut ann, id) = stream(first, "ann.a.2000").await;
    until_online(&one, "ann", 1).await;
    let answer = refresh_at(second, &id, "ann.b").await;
    assert!(answer.0 == 200 && answer.1["expiresInMs"].as_u64().is_some_and(|left| left > 3_500_000), "{answer:?}");
    // Later than the first expiry, and not closed.
    let (mut later, _) = stream(first, "bob.c.2000").await;
    while later.next().await.is_ok() {}
    one.to_user("ann", "news", &1).await.unwrap();
    assert_eq!(ann.next_of("news").await.unwrap().json::<u64>(), 1);
    assert_eq!(one.stats()["sse"].connected, 2, "no new connection");

    assert_eq!(code(&refresh_at(second, &id, "bob.d").await), (404, "unknown_connection"));
    assert_eq!(code(&refresh_at(first, &id, "bob.d").await), (403, "identity_changed"));
    assert_eq!(code(&refresh_at(second, &id, "bad").await), (401, "unauthorized"));
    let nobodys = "0".repeat(32);
    for address in [first, second] {
        assert_eq!(code(&refresh_at(address, &nobodys, "ann.e").await), (404, "unknown_connection"));
        assert_eq!(code(&refresh_at(address, "x", "ann.e").await), (400, "bad_request"));
    }
    // Another node's refusal arrives as it is.
    one.revoke_token("f", SystemTime::now() + LONG).await.unwrap();
    assert_eq!(code(&refresh_at(second, &id, "ann.f").await), (401, "unauthorized"));
    assert_eq!(refresh_at(second, &id, "ann.g").await.0, 200);
}

#[tokio::test]
async fn application_closes_with_a_text_of_its_own() {
    let nodes = Nodes::default();
    let ((one, first), (two, second)) = (nodes.node().await, nodes.node().await);
    let mut sse = sse_client(first, "/sse?token=ann.a").await;
    let mut ws = ws_client(second, "/ws?token=ann.b").await;
    let mut io = accepted_socket(second, "ann.c", "").await;
    let _bob = ws_client(first, "/ws?token=bob.d").await;
    assert_eq!(one.disconnect_user("ann", "your account was closed").await.unwrap(), 3);
    assert_closed(&mut sse, &mut ws, &mut io, (4000, "your account was closed")).await;
    assert_eq!(two.disconnect_user("ann", "again").await.unwrap(), 0);

    let (mut stream, id) = stream(first, "ann.a").await;
    let mut other = ws_client(first, "/ws?token=ann.a").await;
    assert_eq!(two.disconnect(id.parse().unwrap(), "x".repeat(200)).await.unwrap(), 1);
    let closed: Value = stream.next_of("closed").await.unwrap().json();
    assert_eq!(closed["reason"].as_str().map(str::len), Some(123), "{closed}");
    assert_eq!(one.disconnect_user_in("acme", "ann", "").await.unwrap(), 0, "ann has no tenant");
    one.to_user("ann", "still", &1).await.unwrap();
    other.next_of("still").await.unwrap();
    assert_eq!(one.disconnect_user("ann", "").await.unwrap(), 1);
    let Err(ClientError::Closed { reason, .. }) = other.next_event().await else { panic!("expected a close") };
    assert_eq!(reason, "closed by the server");
}

#[tokio::test]
async fn revoked_token_is_refused_at_every_node() {
    let nodes = Nodes::default();
    let ((one, first), (_two, second)) = (nodes.node().await, nodes.node().await);
    let mut sse = sse_client(first, "/sse?token=ann.stolen").await;
    let mut ws = ws_client(second, "/ws?token=ann.stolen").await;
    let mut io = accepted_socket(second, "ann.stolen", "").await;
    let mut other = ws_client(second, "/ws?token=ann.other").await;
    assert_eq!(one.revoke_token("stolen", SystemTime::now() + LONG).await.unwrap(), 3);
    assert_closed(&mut sse, &mut ws, &mut io, (4004, "the token has been revoked")).await;

    let (_three, third) = nodes.node().await;
    for address in [first, second, third] {
        assert_eq!(refused(address, "ann.stolen").await, 401);
        assert!(get(address, "/ws?token=ann.stolen", crate::support::UPGRADE).await.starts_with("HTTP/1.1 401"));
        let mut socket = socket(address, "ann.stolen", "").await;
        let refusal = text_with(&mut socket, "44").await;
        assert!(refusal.contains("unauthorized: the token has been revoked"), "{refusal}");
    }
    let answer = other.request("refresh", &json!({"token": "ann.stolen"})).await;
    assert!(answer.as_ref().is_err_and(|error| error.to_string().contains("unauthorized")), "{answer:?}");
    let answer = other.request("refresh", &json!({"token": "ann.fresh"})).await.unwrap();
    assert!(answer["expiresInMs"].as_u64().is_some_and(|left| left > 3_500_000));
    // The token that counts is the last one.
    assert_eq!(one.revoke_token("other", SystemTime::now() + LONG).await.unwrap(), 0);
    assert_eq!(one.revoke_token("fresh", SystemTime::now() + LONG).await.unwrap(), 1);
    assert!(matches!(other.next_event().await, Err(ClientError::Closed { code: Some(4004), .. })));
}

#[tokio::test]
async fn revocation_ends_at_its_time_and_is_bounded() {
    let nodes = Nodes::default();
    let (service, address) = start(nodes.builder().revocations(1)).await;
    assert_eq!(service.revoke_token("past", SystemTime::now()).await.unwrap(), 0);
    service.revoke_token("brief", SystemTime::now() + Duration::from_millis(700)).await.unwrap();
    assert_eq!(refused(address, "ann.brief").await, 401);
    let full = service.revoke_token("second", SystemTime::now() + LONG).await;
    assert!(matches!(full, Err(Error::TooManyRevocations { most: 1 })), "{full:?}");
    sse_client(address, "/sse?token=ann.second").await;
    in_time("the end of the revocation", async {
        while SseClient::new(format!("http://{address}/sse?token=ann.brief")).open().await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    service.revoke_token("second", SystemTime::now() + LONG).await.unwrap();
    assert!(matches!(service.revoke_token("", SystemTime::now()).await, Err(Error::InvalidName { .. })));
}

#[tokio::test]
async fn expired_token_is_refused_on_every_transport() {
    let (_service, address) = Nodes::default().node().await;
    assert_eq!(refused(address, "ann.a.0").await, 401);
    assert!(get(address, "/ws?token=ann.a.0", crate::support::UPGRADE).await.starts_with("HTTP/1.1 401"));
    let mut socket = socket(address, "ann.a.0", "").await;
    let refusal = text_with(&mut socket, "44").await;
    assert!(refusal.contains("unauthorized: the identity has expired"), "{refusal}");
}

#[tokio::test]
async fn stream_of_an_own_route_is_refreshed_by_the_authenticator() {
    async fn own(State(service): State<NotificationService>, request: Request) -> axum::response::Response {
        let identity = Identity::user("ann").with_expiry(SystemTime::now() + LONG);
        service.sse().unwrap().open(request, identity, ["board"]).await
    }
    let service = Nodes::default().builder().build().await.unwrap();
    let routes = axum::Router::new().route("/own", route(own)).with_state(service.clone()).merge(service.router());
    let (address, _server) = crate::support::served(routes).await;
    let mut client = SseClient::new(format!("http://{address}/own")).without_reconnect();
    let connected: Value = client.next_of("connected").await.unwrap().json();
    let id = connected["connectionId"].as_str().unwrap();
    assert_eq!(code(&refresh_at(address, id, "bob.a").await), (403, "identity_changed"));
    assert_eq!(refresh_at(address, id, "ann.a").await.0, 200);
    service.to_room("board", "news", &1).await.unwrap();
    client.next_of("news").await.unwrap();
    assert_eq!(service.revoke_token("a", SystemTime::now() + LONG).await.unwrap(), 1);
    client.next_of("closed").await.unwrap();
}
