//! The provider suite over real connections.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::{Handlers, RealtimeProvider};
use realtime_http::{HttpProvider, serve};
use realtime_testkit::WsClient;
use realtime_testkit::conformance::{ProviderUnderTest, Refused, Setup, Visitor};
use realtime_ws::{WsConfig, WsProvider};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

struct Served {
    provider: Arc<WsProvider>,
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
    type Client = WsClient;

    async fn start(setup: Setup) -> Self {
        let config = WsConfig::default()
            .with_limits(setup.limits)
            .with_outbox(setup.outbox)
            .with_window(setup.window)
            .with_max_event_bytes(setup.max_event_bytes)
            .with_write_stall(setup.write_stall);
        let router = Arc::new(setup.router);
        let provider = Arc::new(WsProvider::new(config).fallback(move |cx, inbound| {
            let router = Arc::clone(&router);
            async move { router.handle(cx, inbound).await }
        }));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("ws://{}/ws", listener.local_addr().unwrap());
        let running = tokio::spawn(serve(listener, Arc::clone(&provider).router()).into_future());
        Self { provider, url, running }
    }

    fn provider(&self) -> Arc<dyn RealtimeProvider> {
        Arc::clone(&self.provider) as _
    }

    async fn connect(&self, visitor: Visitor) -> Result<WsClient, Refused> {
        WsClient::visit(&self.url, &visitor).await
    }
}

realtime_testkit::provider_conformance!(Served);
