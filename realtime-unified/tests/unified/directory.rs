//! The online users, after a directory has lost its entries.

use std::time::Duration;

use futures_util::sink;
use realtime_testkit::FaultyDirectory;
use realtime_unified::stats::Presence;
use realtime_unified::{
    Identity, NotificationService, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, WsConfig, WsProvider,
};
use tokio::time::{Instant, sleep};

/// The interval at which a node renews its lease.
const RENEWAL: Duration = Duration::from_secs(2);

/// Waits until ann has `count` connections, and returns them.
async fn until_online(service: &NotificationService, count: usize) -> Vec<Presence> {
    let deadline = Instant::now() + RENEWAL + Duration::from_millis(20);
    loop {
        let mut online = service.online("ann").await.unwrap();
        if online.len() == count {
            online.sort_by_key(|presence| presence.connection);
            return online;
        }
        assert!(Instant::now() < deadline, "{count} connections are expected, not {online:?}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn user_is_online_again_after_directory_loss() {
    let directory = FaultyDirectory::new();
    let service = NotificationService::builder()
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .directory(directory.clone())
        .allow_anonymous()
        .build()
        .await
        .unwrap();
    let ann = || Identity::user("ann").with_tenant("acme");
    let _links = [
        service.socket().unwrap().connect(ann(), sink::drain()).unwrap(),
        service.sse().unwrap().connect(ann(), sink::drain()).unwrap(),
        service.ws().unwrap().connect(Identity::user("ann"), sink::drain()).unwrap(),
    ];
    let before = until_online(&service, 3).await;
    for _ in 0..3 {
        directory.lose();
        assert!(service.online("ann").await.unwrap().is_empty());
        assert_eq!(until_online(&service, 3).await, before);
        assert_eq!(service.online_in("acme", "ann").await.unwrap().len(), 2);
    }
}
