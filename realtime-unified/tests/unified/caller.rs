//! Routes of the application's own that ask the service who it is.

use std::net::SocketAddr;
use std::time::Duration;

use crate::support::served;
use axum::Router;
use axum::extract::{FromRef, State};
use axum::routing::{get, post};
use realtime_testkit::SseClient;
use realtime_unified::{
    Authenticator, Caller, ConnectRequest, Identity, NotificationService, Origins, Refusal, Rejection, SseConfig,
    SseProvider, async_trait,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The cookie `token` is the user; some of them are trouble.
struct ByToken;

#[async_trait]
impl Authenticator for ByToken {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        assert_eq!(request.address(), Some([127, 0, 0, 1].into()));
        match request.token().as_deref() {
            Some("panics") => panic!("on purpose"),
            Some("hangs") => std::future::pending().await,
            Some("over") => Ok(Identity::user("ann").with_expiry(std::time::SystemTime::UNIX_EPOCH)),
            Some(user) => Ok(Identity::user(user).with_claims(request.provider())),
            None => Err(Refusal::unauthorized("no token")),
        }
    }
}

/// More than the service.
#[derive(Clone)]
struct App {
    service: NotificationService,
}

impl FromRef<App> for NotificationService {
    fn from_ref(app: &App) -> Self {
        app.service.clone()
    }
}

async fn say(Caller(who): Caller, State(service): State<NotificationService>) -> Result<String, Rejection> {
    service.to_user("bob", "said", &who.user_name()).await?;
    Ok((*who.claims::<&str>().unwrap()).to_owned())
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
    let routes = Router::new().route("/say", post(say)).route("/teapot", get(teapot));
    let app = routes.with_state(App { service: service.clone() }).merge(service.router());
    let (address, _) = served(app).await;
    address
}

/// The status and the body of the answer.
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
async fn a_route_knows_who_it_is_by_the_services_authenticator() {
    let address = started().await;
    let mut bob = SseClient::new(format!("http://{address}/sse?token=bob"));
    bob.next_of("connected").await.unwrap();
    assert_eq!(request(address, "POST /say", "cookie: token=ann\r\n").await, (200, "http".to_owned()));
    assert_eq!(bob.next_of("said").await.unwrap().json::<String>(), "ann");

    let refusals =
        [("", 401, "no token"), ("panics", 500, "internal"), ("hangs", 503, "unavailable"), ("over", 401, "expired")];
    for (token, status, says) in refusals {
        let cookie = if token.is_empty() { String::new() } else { format!("cookie: token={token}\r\n") };
        let (answered, body) = request(address, "POST /say", &cookie).await;
        assert!(answered == status && body.contains(says), "{token}: {answered} {body}");
    }
}

#[tokio::test]
async fn a_page_that_may_not_connect_may_not_post_either() {
    let address = started().await;
    let from = async |origin: &str| {
        let (status, body) = request(address, "POST /say", &format!("cookie: token=ann\r\norigin: {origin}\r\n")).await;
        assert!(status == 200 || body.contains("\"origin\""), "{body}");
        status
    };
    assert_eq!(from("https://evil.example").await, 403);
    assert_eq!(from("http://localhost:5173").await, 200);
    assert_eq!(from(&format!("http://{address}")).await, 200);
}

#[tokio::test]
async fn a_refusal_is_an_answer() {
    let (status, body) = request(started().await, "GET /teapot", "").await;
    assert_eq!((status, body.as_str()), (403, r#"{"error":{"code":"forbidden","message":"no tea"}}"#));
}
