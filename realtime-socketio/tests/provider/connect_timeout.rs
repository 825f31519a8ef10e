//! Sessions that are not connected in time.

use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use realtime_core::{Authenticator, ConnectRequest, Identity, RealtimeProvider, Refusal};
use realtime_http::{HttpProvider, serve};
use realtime_socketio::{SocketIoConfig, SocketIoProvider};
use realtime_testkit::conformance::HookLog;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;

use crate::TRANSPORTS;
use crate::support::{Server, Setup, Wire, runtime, soon, until};

const BRIEF: Duration = Duration::from_millis(500);

/// Authenticator that never returns.
struct Hanging;

#[async_trait]
impl Authenticator for Hanging {
    async fn authenticate(&self, _: &ConnectRequest) -> Result<Identity, Refusal> {
        std::future::pending().await
    }
}

#[tokio::test]
async fn unconnected_session_is_closed_with_connect_timeout() {
    let server = Setup::from(SocketIoConfig::default().with_connect_timeout(BRIEF)).start().await;
    for (transport, count) in TRANSPORTS.into_iter().zip(1..) {
        let mut client = server.open(transport).await;
        match &mut client.wire {
            Wire::Websocket(websocket) => {
                let close = soon("a close frame", async {
                    loop {
                        match websocket.0.next().await {
                            Some(Ok(Frame::Close(Some(frame)))) => return frame,
                            Some(Ok(_)) => {}
                            other => panic!("no close frame: {other:?}"),
                        }
                    }
                });
                let close = close.await;
                assert_eq!((u16::from(close.code), close.reason.as_str()), (1013, "connect_timeout"));
            }
            Wire::Polling(polling) => {
                let response = soon("a refusal", async {
                    loop {
                        let response = polling.http.get(&polling.url).send().await.unwrap();
                        if response.status() != 200 {
                            return response;
                        }
                    }
                });
                let response = response.await;
                assert_eq!(response.status().as_u16(), 503);
                let after: u64 = response.headers()["retry-after"].to_str().unwrap().parse().unwrap();
                assert!((5..=10).contains(&after), "{after}");
                assert_eq!(response.json::<Value>().await.unwrap()["error"]["code"], "connect_timeout");
            }
        }
        assert_eq!(server.stats().refused.get("connect_timeout"), Some(&count));
    }
}

#[tokio::test]
async fn slow_authenticator_leads_to_connect_timeout_error() {
    let provider = std::sync::Arc::new(SocketIoProvider::new(SocketIoConfig::default().with_connect_timeout(BRIEF)));
    let hooks = HookLog::default();
    provider.attach(runtime(&hooks).with_authenticator(Hanging)).await.unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = std::sync::Arc::clone(&provider).router();
    let server = Server::of(address, provider, hooks, tokio::spawn(serve(listener, router).into_future()));
    for (transport, count) in TRANSPORTS.into_iter().zip(1..) {
        let mut client = server.open(transport).await;
        client.send("40{\"user\":\"ann\"}").await;
        let answer = client.message().await;
        assert_eq!((answer.kind, &answer.data["data"]["code"]), (4, &json!("connect_timeout")));
        let after = answer.data["data"]["retryAfterMs"].as_u64().unwrap();
        assert!((5000..=10_000).contains(&after), "{answer:?}");
        assert!(answer.data["message"].as_str().unwrap().starts_with("connect_timeout: "), "{answer:?}");
        client.closed().await;
        until("the count", || server.stats().refused.get("connect_timeout") == Some(&count)).await;
        assert_eq!(server.stats().refused.len(), 1, "{:?}", server.stats().refused);
    }
}
