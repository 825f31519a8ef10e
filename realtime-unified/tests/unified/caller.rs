//! The application's own routes, which get the caller from the service.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::{served, sse_client};
use axum::Router;
use axum::extract::{FromRef, State};
use axum::routing::{get, post};
use realtime_unified::{
    Authenticator, Caller, ConnectRequest, Identity, NotificationService, Origins, Refusal, Rejection, SseConfig,
    SseProvider, async_trait,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An authenticator that takes the user from the cookie `token`; some users panic, hang or are
/// expired.
struct ByToken;

#[async_trait]
impl Authenticator for ByToken {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        assert_eq!(request.address(), Some([127, 0, 0, 1].into()));
        match request.token().as_deref() {
            Some("panics") => panic!("on purpose"),
            Some("hangs") => std::future::pending().await,
            Some("expired") => Ok(Identity::user("ann").with_expiry(std::time::SystemTime::UNIX_EPOCH)),
            Some(user) => Ok(Identity::user(user).with_claims(request.provider())),
            None => Err(Refusal::unauthorized("no token")),
        }
    }
}

/// The application's state, which includes the service.
#[derive(Clone)]
struct App {
    service: NotificationService,
}

impl FromRef<App> for NotificationService {
    fn from_ref(app: &App) -> Self {
        app.service.clone()
    }
}

/// Sends the caller's name to bob, and returns the caller's claims.
async fn post_message(Caller(caller): Caller, State(service): State<NotificationService>) -> Result<String, Rejection> {
    service.to_user("bob", "message", &caller.user_name()).await?;
    Ok((*caller.claims::<&str>().unwrap()).to_owned())
}

async fn teapot() -> Result<(), Rejection> {
    Err(Refusal::forbidden("no tea").into())
}

async fn started() -> SocketAddr {
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .authenticator(ByToken)
        .origins(Origins::same_host().and("http://localhost:5173"))
        .decision_timeout(Duration::from_millis(100))
        .build()
        .await
        .unwrap();
    let routes = Router::new().route("/messages", post(post_message)).route("/teapot", get(teapot));
    let app = routes.with_state(App { service: service.clone() }).merge(service.router());
    let (address, _) = served(app).await;
    address
}

/// Sends a request and returns the status and the body of the response.
async fn request(address: SocketAddr, line: &str, headers: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request =
        format!("{line} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-length: 0\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

#[tokio::test]
async fn route_gets_caller_from_the_service_authenticator() {
    let address = started().await;
    let mut bob = sse_client(address, "/sse?token=bob").await;
    assert_eq!(request(address, "POST /messages", "cookie: token=ann\r\n").await, (200, "http".to_owned()));
    assert_eq!(bob.next_of("message").await.unwrap().json::<String>(), "ann");

    let refusals = [
        ("", 401, "no token"),
        ("panics", 500, "internal"),
        ("hangs", 503, "unavailable"),
        ("expired", 401, "expired"),
    ];
    for (token, status, text) in refusals {
        let cookie = if token.is_empty() { String::new() } else { format!("cookie: token={token}\r\n") };
        let (answered, body) = request(address, "POST /messages", &cookie).await;
        assert!(answered == status && body.contains(text), "{token}: {answered} {body}");
    }
}

#[tokio::test]
async fn origin_that_cannot_connect_cannot_post() {
    let address = started().await;
    let from = async |origin: &str| {
        let (status, body) =
            request(address, "POST /messages", &format!("cookie: token=ann\r\norigin: {origin}\r\n")).await;
        assert!(status == 200 || body.contains("\"origin\""), "{body}");
        status
    };
    assert_eq!(from("https://evil.example").await, 403);
    assert_eq!(from("http://localhost:5173").await, 200);
    assert_eq!(from(&format!("http://{address}")).await, 200);
}

#[tokio::test]
async fn refusal_becomes_a_json_response() {
    let (status, body) = request(started().await, "GET /teapot", "").await;
    assert_eq!((status, body.as_str()), (403, r#"{"error":{"code":"forbidden","message":"no tea"}}"#));
}
