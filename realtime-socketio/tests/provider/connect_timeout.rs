//! Sessions that are not connected in time.

use std::time::Duration;

use realtime_socketio::SocketIoConfig;
use realtime_testkit::PendingAuthenticator;
use serde_json::Value;

use crate::TRANSPORTS;
use crate::admission::assert_temporary;
use crate::support::{Setup, Wire, eventually, in_time};

const BRIEF: Duration = Duration::from_millis(500);

#[tokio::test]
async fn unconnected_session_is_closed_with_connect_timeout() {
    let server = Setup::from(SocketIoConfig::default().with_connect_timeout(BRIEF)).start().await;
    for (transport, count) in TRANSPORTS.into_iter().zip(1..) {
        let mut client = server.open(transport).await;
        match &mut client.wire {
            Wire::Websocket(websocket) => {
                assert_eq!(websocket.close_frame().await, (1013, "connect_timeout".to_owned()));
            }
            Wire::Polling(polling) => {
                let response = in_time("a refusal", async {
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
    assert_eq!(server.stats().connected, 0);
}

#[tokio::test]
async fn slow_authenticator_leads_to_connect_timeout_error() {
    let config = SocketIoConfig::default().with_connect_timeout(BRIEF);
    let server = Setup::from(config).with_authenticator(PendingAuthenticator::default()).start().await;
    for (transport, count) in TRANSPORTS.into_iter().zip(1..) {
        let mut client = server.open(transport).await;
        client.send("40{\"user\":\"ann\"}").await;
        let answer = client.message().await;
        assert_temporary(&answer, "connect_timeout");
        assert!(answer.data["message"].as_str().unwrap().starts_with("connect_timeout: "), "{answer:?}");
        client.closed().await;
        eventually("the count", || server.stats().refused.get("connect_timeout") == Some(&count)).await;
        assert_eq!(server.stats().refused.len(), 1, "{:?}", server.stats().refused);
    }
}
