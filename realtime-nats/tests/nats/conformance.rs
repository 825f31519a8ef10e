use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use async_trait::async_trait;
use realtime_core::spi::Backplane;
use realtime_nats::NatsConfig;
use realtime_testkit::conformance::BackplaneUnderTest;
use tokio::sync::Mutex;

use crate::server::Server;
use crate::support::connect_with;

/// The server of the tests that run at this time; the last of them ends it.
static SHARED: Mutex<Weak<Server>> = Mutex::const_new(Weak::new());
static NEXT: AtomicUsize = AtomicUsize::new(0);

/// Returns the shared server, and a prefix that no other test has.
pub(crate) async fn shared() -> (Arc<Server>, String) {
    let mut shared = SHARED.lock().await;
    let server = match shared.upgrade() {
        Some(server) => server,
        None => Arc::new(Server::start().await),
    };
    *shared = Arc::downgrade(&server);
    (server, format!("test-{}", NEXT.fetch_add(1, Ordering::Relaxed)))
}

/// A log with a prefix of its own; every node has its own connections.
struct InNats {
    server: Arc<Server>,
    options: NatsConfig,
}

#[async_trait]
impl BackplaneUnderTest for InNats {
    async fn start_with(records: usize) -> Self {
        let (server, prefix) = shared().await;
        Self {
            server,
            options: NatsConfig::default()
                .with_prefix(prefix)
                .with_records(records)
                .with_max_event_bytes(2 * 1024 * 1024),
        }
    }

    async fn node(&self) -> Arc<dyn Backplane> {
        Arc::new(connect_with(&self.server, self.options.clone()).await)
    }
}

realtime_testkit::backplane_conformance!(InNats);
