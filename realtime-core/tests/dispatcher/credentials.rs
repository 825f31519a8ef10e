//! Credentials that end while something else is going on: a refresh, an outage of the log.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use crate::support::{CoreProvider, FaultyBackplane, Guest, eventually, runtime};
use async_trait::async_trait;
use realtime_core::{
    Authenticator, CloseReason, ConnectRequest, Identity, MemoryBackplane, RealtimeProvider, Refusal, RefusalKind,
};
use realtime_testkit::conformance::{Setup, Visitor, VisitorAuthenticator};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep};

const LONG: &str = "lifetimeMs=3600000";

/// Decides about a refresh only when it has a permit.
struct Gated {
    permits: Semaphore,
    /// The number of refreshes that it was asked about.
    asked: AtomicUsize,
}

impl Gated {
    fn new() -> Arc<Self> {
        Arc::new(Self { permits: Semaphore::new(0), asked: AtomicUsize::new(0) })
    }
}

struct Gate(Arc<Gated>);

#[async_trait]
impl Authenticator for Gate {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        if request.is_refresh() {
            self.0.asked.fetch_add(1, Ordering::SeqCst);
            self.0.permits.acquire().await.unwrap().forget();
        }
        VisitorAuthenticator.authenticate(request).await
    }
}

fn request() -> ConnectRequest {
    ConnectRequest::new("core", &http::Request::get("/").body(()).unwrap().into_parts().0)
}

fn brief(milliseconds: u64) -> Visitor {
    Visitor::user("ann").with_lifetime(Duration::from_millis(milliseconds))
}

#[tokio::test]
async fn one_refresh_of_a_connection_is_decided_at_a_time() {
    let gate = Gated::new();
    let provider =
        CoreProvider::attached(Setup::default(), runtime().with_authenticator(Gate(Arc::clone(&gate)))).await;
    let ann = Guest::by_session(&provider, brief(3_600_000)).await;
    let (first, id) = (provider.clone(), ann.id);
    let pending = tokio::spawn(async move { first.dispatcher.refresh(id, LONG, &request()).await });
    eventually("the first one is decided", || gate.asked.load(Ordering::SeqCst) == 1).await;
    let refused = provider.dispatcher.refresh(id, LONG, &request()).await.unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::RefreshPending);
    gate.permits.add_permits(2);
    assert!(pending.await.unwrap().unwrap().expires_in.is_some());
    assert!(provider.dispatcher.refresh(id, LONG, &request()).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn refresh_that_is_decided_after_the_end_is_refused() {
    let gate = Gated::new();
    let provider =
        CoreProvider::attached(Setup::default(), runtime().with_authenticator(Gate(Arc::clone(&gate)))).await;
    let mut ann = Guest::by_session(&provider, brief(2_000)).await;
    let (other, id) = (provider.clone(), ann.id);
    let pending = tokio::spawn(async move { other.dispatcher.refresh(id, LONG, &request()).await });
    ann.closed().await;
    gate.permits.add_permits(1);
    assert_eq!(pending.await.unwrap().unwrap_err().kind(), RefusalKind::UnknownConnection);
    assert_eq!(provider.stats().closed.get(&CloseReason::EXPIRED.code()), Some(&1));
}

#[tokio::test(start_paused = true)]
async fn credentials_end_and_are_refreshed_while_the_log_is_away() {
    let log = FaultyBackplane::new(MemoryBackplane::default());
    let provider = CoreProvider::on(log.clone()).await;
    let start = Instant::now();
    let mut ann = Guest::by_session(&provider, brief(10_000)).await;
    let mut bob = Guest::by_session(&provider, Visitor::user("bob").with_lifetime(Duration::from_secs(10))).await;
    provider.lose_log(&log).await;
    provider.dispatcher.refresh(bob.id, LONG, &request()).await.unwrap();
    assert_eq!(ann.next().await.name, "expiring");
    assert!(ann.next_or_close().await.is_err());
    let ended = start.elapsed();
    assert!((9_900..10_200).contains(&ended.as_millis()), "{ended:?}");
    sleep(Duration::from_secs(20)).await;
    provider.regain_log(&log).await;
    bob.texts(&provider).await;
}

#[tokio::test]
async fn revocation_beside_the_log_reaches_a_node_without_its_record() {
    let log = FaultyBackplane::new(MemoryBackplane::default());
    let provider = CoreProvider::on(log.clone()).await;
    let mut ann = Guest::by_session(&provider, Visitor::user("ann").with_token_id("stolen")).await;
    // As by another node whose record was lost with the log.
    let revocation = realtime_core::spi::Revocation::new("stolen", SystemTime::now() + Duration::from_secs(600));
    realtime_core::spi::Backplane::revoke(&log, &revocation, 10).await.unwrap();
    let later = CoreProvider::on(log.clone()).await;
    let refused = later.admit(Visitor::user("ann").with_token_id("stolen")).await.unwrap_err();
    assert_eq!((refused.kind(), refused.message()), (RefusalKind::Unauthorized, "the token has been revoked"));
    assert!(later.admit(Visitor::user("ann").with_token_id("other")).await.is_ok());
    tokio::time::pause();
    // It is read again within 30 s, which is also the longest wait of a test.
    sleep(Duration::from_secs(31)).await;
    ann.closed().await;
    eventually("the close is counted", || provider.stats().closed.get(&CloseReason::REVOKED.code()) == Some(&1)).await;
}

#[tokio::test]
async fn handler_of_the_application_replaces_the_one_of_refresh() {
    let router = realtime_core::Router::new().on("refresh", async |cx: realtime_core::Context, what: String| {
        realtime_core::Reply(json!([what, cx.refresh(LONG).await.is_ok()]))
    });
    let provider = CoreProvider::started(Setup::default().with_router(router)).await;
    let mut ann = Guest::by_session(&provider, brief(3_600_000)).await;
    realtime_testkit::conformance::ClientUnderTest::send(&mut ann.client, "refresh", &json!("mine"), Some(1)).await;
    assert_eq!(ann.next().await.payload, json!(["mine", true]));
}

#[tokio::test]
async fn token_longer_than_allowed_is_not_presented() {
    let mut runtime = runtime();
    runtime.max_token_bytes = LONG.len();
    let provider = CoreProvider::attached(Setup::default(), runtime).await;
    let ann = Guest::by_session(&provider, brief(3_600_000)).await;
    let refreshed = |token: String| {
        let (provider, id) = (provider.clone(), ann.id);
        async move { provider.dispatcher.refresh(id, &token, &request()).await }
    };
    let refusal = refreshed(format!("{LONG}0")).await.unwrap_err();
    assert_eq!((refusal.kind(), refusal.setting()), (RefusalKind::BadRequest, Some("max_token_bytes")));
    assert!(refreshed(LONG.to_owned()).await.is_ok());
}
