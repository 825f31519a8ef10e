//! Sessions on long polling in paused time, without a network.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use http_body_util::BodyExt;
use realtime_core::spi::Runtime;
use realtime_core::{ConnectionId, Limits, RealtimeProvider, Target};
use realtime_testkit::conformance::VisitorAuthenticator;
use serde_json::json;
use tokio::time::Instant;
use tower_service::Service;

use super::*;
use crate::config::SocketIoConfig;
use crate::provider::SocketIoProvider;

fn options(query: &str, auth: Option<Value>) -> Result<ConnectOptions, Refusal> {
    let parts = Request::get(format!("/socket.io/?{query}")).body(()).unwrap().into_parts().0;
    ConnectOptions::read(&ConnectRequest::new("socket", &parts).with_auth(auth), 100)
}

#[test]
fn options_are_read_from_auth_and_query() {
    let of = |rooms: &[&str], id: Option<&str>| ConnectOptions {
        rooms: rooms.iter().map(|room| (*room).to_owned()).collect(),
        last_event_id: id.map(str::to_owned),
    };
    let auth = |auth| options("EIO=4&transport=polling", Some(auth)).unwrap();
    assert_eq!(auth(json!({"rooms": ["a", "b", "a"], "lastEventId": "x", "token": "t"})), of(&["a", "b"], Some("x")));
    assert_eq!(auth(json!({"room": "a", "channel": ["b"], "rooms": "c"})), of(&["b", "a", "c"], None));
    assert_eq!(auth(json!({"rooms": null, "lastEventId": 5})), of(&[], Some("5")));
    assert_eq!(auth(json!(7)), ConnectOptions::default());
    let query = "EIO=4&room=a&channel[]=b&rooms=a&lastEventId=x";
    assert_eq!(options(query, None).unwrap(), of(&["a", "b"], Some("x")));
    // `auth` is written for each attempt, so it is newer than the URL.
    assert_eq!(
        options(query, Some(json!({"room": "c", "lastEventId": "y"}))).unwrap(),
        of(&["a", "b", "c"], Some("y"))
    );
    for rooms in [json!([1]), json!({}), json!(1)] {
        for word in ROOM_PARAMETERS {
            let refusal = options("", Some(json!({ word: rooms }))).unwrap_err();
            assert!(refusal.message().contains(&format!("auth.{word} must be")), "{refusal}");
        }
    }
}

/// A provider with one connection per user.
async fn provider() -> Arc<SocketIoProvider> {
    let limits = Limits::default().with_connections_per_user(1);
    let provider = SocketIoProvider::new(
        SocketIoConfig::default().with_limits(limits).with_connect_timeout(Duration::from_secs(10)),
    );
    provider.attach(Runtime::in_memory().with_authenticator(VisitorAuthenticator)).await.unwrap();
    Arc::new(provider)
}

/// The body of the response to a client whose session is closed.
const UNKNOWN: &str = r#"{"code":1,"message":"Session ID unknown"}"#;

/// One session on long polling.
struct Polling {
    provider: Arc<SocketIoProvider>,
    uri: String,
}

impl Polling {
    async fn open(provider: &Arc<SocketIoProvider>) -> Self {
        let mut polling =
            Self { provider: Arc::clone(provider), uri: "/socket.io/?EIO=4&transport=polling".to_owned() };
        let open: Value = serde_json::from_str(polling.get().await.strip_prefix('0').unwrap()).unwrap();
        polling.uri += &format!("&sid={}", open["sid"].as_str().unwrap());
        // The session's first ping.
        assert_eq!(polling.get().await, "2");
        polling
    }

    /// Opens a session that is connected as ann, and returns the connection's id too.
    async fn connect(provider: &Arc<SocketIoProvider>) -> (Self, ConnectionId) {
        let polling = Self::open(provider).await;
        polling.send_connect().await;
        let mut answer = polling.get().await;
        while !answer.contains("connectionId") {
            answer = polling.get().await;
        }
        let welcome = answer.split('\u{1e}').find_map(|packet| packet.strip_prefix("42")).unwrap();
        let welcome: Value = serde_json::from_str(welcome).unwrap();
        (polling, welcome[1]["connectionId"].as_str().unwrap().parse().unwrap())
    }

    async fn send_connect(&self) {
        self.post("40{\"user\":\"ann\"}").await;
    }

    /// Polls until the session ends.
    fn keep_polling(self) {
        tokio::spawn(async move {
            while self.get().await != UNKNOWN {
                // Answers pings; a pong without a ping does no harm once the session is connected.
                self.post("3").await;
            }
        });
    }

    async fn get(&self) -> String {
        self.request(Request::get(&self.uri), "").await
    }

    async fn post(&self, packets: &'static str) {
        assert_eq!(self.request(Request::post(&self.uri), packets).await, "ok");
    }

    async fn request(&self, request: http::request::Builder, body: &'static str) -> String {
        let request: Request<Body> = request.body(body.into()).unwrap();
        let answer = self.provider.service().call(request).await.unwrap();
        String::from_utf8(answer.into_body().collect().await.unwrap().to_bytes().into()).unwrap()
    }
}

#[tokio::test(start_paused = true)]
async fn connect_at_user_limit_is_held_for_connect_timeout() {
    let provider = provider().await;
    let (inside, _) = Polling::connect(&provider).await;
    inside.keep_polling();
    let late = Polling::open(&provider).await;
    // Nearly all of its `connect_timeout`.
    tokio::time::sleep(Duration::from_secs(9)).await;
    let start = Instant::now();
    late.send_connect().await;
    let answer = late.get().await;
    assert_eq!(answer.as_bytes(), [b"6\x1e", Cause::UserLimit.last_packets().unwrap()].concat());
    assert_eq!(late.get().await, UNKNOWN);
    assert_eq!(start.elapsed().as_secs(), 10);
    assert_eq!((provider.stats().connections, provider.stats().refused["user_limit"]), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn slot_freed_at_last_moment_goes_to_held_connect() {
    let provider = provider().await;
    let (inside, id) = Polling::connect(&provider).await;
    inside.keep_polling();
    let late = Polling::open(&provider).await;
    late.send_connect().await;
    tokio::time::sleep(Duration::from_millis(9_990)).await;
    provider.close(Target::connection(id), CloseReason::KICKED).await.unwrap();
    assert!(late.get().await.starts_with("40{"));
    // The client is connected, and stays so.
    tokio::time::sleep(Duration::from_secs(20)).await;
    assert_eq!((provider.stats().connections, provider.stats().refused.len()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn client_that_stops_polling_loses_its_slot_within_two_seconds() {
    // One client whose GET waits, and one without a GET.
    for polls in [true, false] {
        let provider = provider().await;
        let (inside, _) = Polling::connect(&provider).await;
        if polls {
            tokio::spawn(async move {
                // The client does not answer, and sends no other GET.
                assert_eq!(inside.get().await, "6");
            });
        }
        let late = Polling::open(&provider).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        let start = Instant::now();
        late.send_connect().await;
        assert!(late.get().await.starts_with("40{"), "{polls}");
        assert_eq!(start.elapsed(), realtime_core::spi::PROBE_TIMEOUT, "{polls}");
        let stats = provider.stats();
        assert_eq!((stats.connections, stats.closed[&4002], stats.refused.len()), (1, 1, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn client_that_polls_or_posts_keeps_its_slot() {
    for sends in [true, false] {
        let provider = provider().await;
        let (inside, _) = Polling::connect(&provider).await;
        if sends {
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(Duration::from_millis(1_900)).await;
                    inside.post("3").await;
                }
            });
        } else {
            inside.keep_polling();
        }
        for _ in 0..10 {
            let late = Polling::open(&provider).await;
            late.send_connect().await;
            assert!(late.get().await.contains("user_limit"), "{sends}");
        }
        assert_eq!((provider.stats().connections, provider.stats().closed.len()), (1, 0), "{sends}");
    }
}

/// The response is an error, so that the client reconnects immediately.
#[tokio::test(start_paused = true)]
async fn waiting_get_of_closed_session_gets_error() {
    let provider = provider().await;
    let (inside, _) = Polling::connect(&provider).await;
    let session = {
        let (_, sid) = inside.uri.rsplit_once('=').unwrap();
        provider.service().session(sid)
    };
    let polling = tokio::spawn(async move { inside.get().await });
    tokio::time::sleep(Duration::from_secs(1)).await;
    session.close_for(Cause::Heartbeat);
    assert_eq!(polling.await.unwrap(), UNKNOWN);
    assert_eq!(provider.stats().closed[&4002], 1);
}

/// Like a client whose `auth` function calls a token service first.
#[tokio::test(start_paused = true)]
async fn session_may_connect_after_29_seconds() {
    let provider = Arc::new(SocketIoProvider::new(SocketIoConfig::default()));
    provider.attach(Runtime::in_memory().with_authenticator(VisitorAuthenticator)).await.unwrap();
    let client = Polling::open(&provider).await;
    tokio::time::sleep(Duration::from_secs(29)).await;
    client.send_connect().await;
    while !client.get().await.contains("40{\"sid\"") {}
    assert_eq!(provider.stats().connections, 1);
}
