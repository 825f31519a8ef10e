//! The provider suite over real connections.

use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::{Handlers, RealtimeProvider};
use realtime_testkit::conformance::{ProviderUnderTest, Refused, Setup, Visitor};
use realtime_testkit::{Served, WsClient};
use realtime_ws::{WsConfig, WsProvider};

struct Ws(Served<WsProvider>);

#[async_trait]
impl ProviderUnderTest for Ws {
    type Client = WsClient;

    async fn start(setup: Setup) -> Self {
        let fallback = setup.fallback();
        let config = WsConfig::default().with_delivery(setup.delivery);
        Self(Served::unattached(WsProvider::new(config).fallback(fallback)).await)
    }

    fn provider(&self) -> Arc<dyn RealtimeProvider> {
        Arc::clone(&self.0.provider) as _
    }

    async fn connect(&self, visitor: Visitor) -> Result<WsClient, Refused> {
        WsClient::visit(&self.0.websocket_url("/ws"), &visitor).await
    }
}

realtime_testkit::provider_conformance!(Ws);
