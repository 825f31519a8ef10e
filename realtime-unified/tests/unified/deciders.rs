//! An authenticator or a room policy that panics or never answers: the client is refused in time,
//! over every transport.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::support::{Collector, UPGRADE, get, line, socket, start, text_with};
use realtime_unified::{
    Authenticator, ConnectRequest, Context, Identity, NotificationService, Refusal, RoomAccess, RoomPolicy,
    SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WsConfig, WsProvider, async_trait,
};
use tracing::Level;

/// An authenticator and policy that panics or hangs for the users and rooms with these names.
struct ByName;

async fn decide(name: &str) {
    match name {
        "panics" => panic!("on purpose"),
        "hangs" => std::future::pending().await,
        _ => {}
    }
}

#[async_trait]
impl Authenticator for ByName {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let user = request.token().ok_or(Refusal::unauthorized("no token"))?;
        decide(&user).await;
        Ok(Identity::user(&*user))
    }
}

#[async_trait]
impl RoomPolicy for ByName {
    async fn access(&self, _: &Context, room: &str) -> RoomAccess {
        decide(room).await;
        RoomAccess::Allow
    }
}

const TIMEOUT: Duration = Duration::from_millis(200);

async fn started() -> (NotificationService, SocketAddr) {
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .authenticator(ByName)
        .room_policy(ByName)
        .decision_timeout(TIMEOUT);
    start(service).await
}

#[tokio::test(flavor = "current_thread")]
async fn panicking_or_hanging_decider_refuses_in_time() {
    for (name, status, code, text) in
        [("panics", 500, "internal", "panicked"), ("hangs", 503, "unavailable", "did not answer in time")]
    {
        for (kind, user, room) in [("authenticator", name, "r"), ("room policy", "ann", name)] {
            let (collector, _guard) = Collector::install();
            let (service, address) = started().await;
            let start = Instant::now();
            for (path, headers) in [("/sse", ""), ("/ws", UPGRADE)] {
                let answer = get(address, &format!("{path}?token={user}&channel={room}"), headers).await;
                assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{kind} {name} {path}: {answer}");
                assert_eq!(answer.contains("retry-after:"), status == 503, "{answer}");
            }
            let mut client = socket(address, user, &format!(r#"{{"room":"{room}"}}"#)).await;
            let refused = text_with(&mut client, "44").await;
            assert!(refused.contains(&format!(r#""code":"{code}""#)), "{kind} {name}: {refused}");
            assert_eq!(refused.contains("retryAfterMs"), status == 503, "{refused}");
            assert!(start.elapsed() < 3 * TIMEOUT + Duration::from_secs(2), "{kind} {name}: {:?}", start.elapsed());
            // One line for the fault and one for the refusal, for each transport.
            for provider in ["sse", "ws", "socket"] {
                let provider_field = format!("provider=\"{provider}\"");
                let refusal = ["connection refused", &provider_field, &format!("reason=\"{code}\"")];
                assert_eq!(line(&collector, &refusal).await.level, Level::INFO);
                let stats = &service.stats()[provider];
                assert_eq!((stats.panics, stats.overdue), if name == "panics" { (1, 0) } else { (0, 1) }, "{provider}");
            }
            let errors = collector.lines(&[kind, text]);
            assert_eq!(errors.len(), 3, "{errors:?}");
            assert!(errors.iter().all(|error| error.level == Level::ERROR), "{errors:?}");
        }
    }
}
