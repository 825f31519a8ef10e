//! The provider suite over real connections.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::RealtimeProvider;
use realtime_http::{HttpProvider, serve};
use realtime_sse::{SseConfig, SseProvider};
use realtime_testkit::SseClient;
use realtime_testkit::conformance::{ProviderUnderTest, Refused, Setup, Visitor};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

struct Served {
    provider: Arc<SseProvider>,
    url: String,
    running: JoinHandle<std::io::Result<()>>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.running.abort();
    }
}

#[async_trait]
impl ProviderUnderTest for Served {
    type Client = SseClient;

    async fn start(setup: Setup) -> Self {
        let config = SseConfig::default()
            .with_limits(setup.limits)
            .with_outbox(setup.outbox)
            .with_window(setup.window)
            .with_max_event_bytes(setup.max_event_bytes)
            .with_room_delivery(setup.room_delivery)
            .with_write_stall(setup.write_stall);
        let provider = Arc::new(SseProvider::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/sse", listener.local_addr().unwrap());
        let running = tokio::spawn(serve(listener, Arc::clone(&provider).router()).into_future());
        Self { provider, url, running }
    }

    fn provider(&self) -> Arc<dyn RealtimeProvider> {
        Arc::clone(&self.provider) as _
    }

    async fn connect(&self, visitor: Visitor) -> Result<SseClient, Refused> {
        SseClient::visit(&self.url, &visitor).await
    }
}

realtime_testkit::provider_conformance!(Served);
