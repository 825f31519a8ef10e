//! The provider suite over real connections.

use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::RealtimeProvider;
use realtime_sse::{SseConfig, SseProvider};
use realtime_testkit::conformance::{ProviderUnderTest, Refused, Setup, Visitor};
use realtime_testkit::{Served, SseClient};

struct Sse(Served<SseProvider>);

#[async_trait]
impl ProviderUnderTest for Sse {
    type Client = SseClient;

    async fn start(setup: Setup) -> Self {
        let config = SseConfig::default().with_delivery(setup.delivery).with_room_delivery(setup.room_delivery);
        Self(Served::unattached(SseProvider::new(config)).await)
    }

    fn provider(&self) -> Arc<dyn RealtimeProvider> {
        Arc::clone(&self.0.provider) as _
    }

    async fn connect(&self, visitor: Visitor) -> Result<SseClient, Refused> {
        SseClient::visit(&self.0.url("/sse"), &visitor).await
    }
}

realtime_testkit::provider_conformance!(Sse);
