//! The first program: `NotificationService::serve` until SIGTERM, tokens, and a send as a member.

use std::process::Command;
use std::time::Duration;

use axum::extract::State;
use axum::routing::post;
use realtime_testkit::{in_time, read_head};
use realtime_unified::{
    AllowRooms, Drain, Handlers, Identity, NotificationService, NotificationServiceBuilder, Rejection, SseProvider,
    StaticTokens, WsProvider,
};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::support::{get, sse_client, start, ws_client};

async fn hello(State(service): State<NotificationService>, text: String) -> Result<(), Rejection> {
    Ok(service.to_user("ann", "hello", &text).await.map(drop)?)
}

fn builder() -> NotificationServiceBuilder {
    NotificationService::builder()
        .provider(SseProvider::default())
        .provider(WsProvider::default())
        .authenticator(StaticTokens::new([("secret", Identity::user("ann")), ("other", Identity::user("bob"))]))
        .room_policy(AllowRooms)
        .on("say", async |cx, text: String| cx.to_room_as_member("lobby").send("said", &text).await)
}

/// The only test of this process that sends a signal to it, which all of its servers would get.
#[tokio::test]
async fn server_has_both_routes_and_drains_on_sigterm() {
    let service = builder().build().await.unwrap();
    let app = axum::Router::new().route("/hello", post(hello)).with_state(service.clone());
    let drain = Drain::over(Duration::ZERO).with_hold(Duration::ZERO);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(service.serve(listener, app, drain).into_future());
    assert!(get(address, "/sse?token=wrong", "").await.starts_with("HTTP/1.1 401"));
    let mut ann = sse_client(address, "/sse?token=secret").await;
    let mut bob = ws_client(address, "/ws?token=other").await;
    let mut client = TcpStream::connect(address).await.unwrap();
    client.write_all(b"POST /hello HTTP/1.1\r\nhost: x\r\ncontent-length: 4\r\n\r\nhi!\n").await.unwrap();
    assert!(read_head(&mut client).await.starts_with("HTTP/1.1 200"));
    assert_eq!(ann.next_of("hello").await.unwrap().json::<String>(), "hi!\n");

    assert!(service.listener_stats().open >= 2, "{:?}", service.listener_stats());

    let killed = Command::new("kill").args(["-TERM", &std::process::id().to_string()]).status();
    assert!(killed.unwrap().success());

    in_time("the end of the server", server).await.unwrap().unwrap();
    bob.next_of("reconnect").await.unwrap();
    assert!(TcpStream::connect(address).await.is_err(), "expected no listener");
}

#[tokio::test]
async fn only_members_send_to_their_room() {
    let (_service, address) = start(builder()).await;
    let mut ann = ws_client(address, "/ws?token=secret&channel=lobby").await;
    let mut bob = ws_client(address, "/ws?token=other").await;

    let refused = bob.request("say", "from outside").await.unwrap_err().to_string();
    assert!(refused.contains("not_in_room") && refused.contains("not in the room"), "{refused}");
    bob.request("subscribe", "lobby").await.unwrap();
    bob.request("say", "from a member").await.unwrap();

    for client in [&mut ann, &mut bob] {
        assert_eq!(client.next_of("said").await.unwrap().payload, json!("from a member"));
    }
}
