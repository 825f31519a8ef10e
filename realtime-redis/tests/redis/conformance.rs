use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::spi::Backplane;
use realtime_redis::RedisConfig;
use realtime_testkit::brokers::SharedServer;
use realtime_testkit::conformance::BackplaneUnderTest;

use crate::server::Server;
use crate::support::connect_with;

static SHARED: SharedServer<Server> = SharedServer::new();

/// Returns the shared server, and a prefix that no other test has.
pub(crate) async fn shared() -> (Arc<Server>, String) {
    let (server, number) = SHARED.get().await;
    (server, format!("test {number}"))
}

/// A log with a prefix of its own; every node has its own connections.
struct InRedis {
    server: Arc<Server>,
    options: RedisConfig,
}

#[async_trait]
impl BackplaneUnderTest for InRedis {
    async fn start_with(records: usize) -> Self {
        let (server, prefix) = shared().await;
        Self { server, options: RedisConfig::default().with_prefix(prefix).with_records(records) }
    }

    async fn node(&self) -> Arc<dyn Backplane> {
        Arc::new(connect_with(&self.server, self.options.clone()).await)
    }
}

realtime_testkit::backplane_conformance!(InRedis);
