//! The shutdown of a service whose connections have no network.

use std::time::Duration;

use realtime_testkit::{eventually, in_time};
use realtime_unified::{Drain, Error, Identity, NotificationService, SseConfig, SseProvider, WsConfig, WsProvider};

#[tokio::test]
async fn sends_work_until_the_last_provider_is_drained() {
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .allow_anonymous()
        .build()
        .await
        .unwrap();
    let sse = service.sse().unwrap();
    let connect = || sse.connect(Identity::anonymous(), futures_util::sink::drain()).unwrap();
    let _links = [connect(), connect()];
    let shutdown = tokio::spawn({
        let service = service.clone();
        async move { service.shutdown(Drain::over(Duration::from_secs(2)).with_hold(Duration::ZERO)).await }
    });
    eventually("one is disconnected", || service.stats()["sse"].connections < 2).await;
    assert!(!service.is_ready());
    // The WebSocket provider has no connections, and is already drained.
    let receipt = service.broadcast_to_all("ws", "news", &1).await.unwrap();
    assert!(receipt.position.is_some());
    let receipt = service.broadcast_to_all("sse", "news", &1).await.unwrap();
    assert_eq!(receipt.delivered.unwrap().matched, 1);
    in_time("the shutdown", shutdown).await.unwrap();
    for provider in ["sse", "ws"] {
        let late = service.broadcast_to_all(provider, "news", &2).await;
        assert!(matches!(late, Err(Error::Closed { .. })), "{late:?}");
    }
}
