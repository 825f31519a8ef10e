//! The provider conformance suite, for the dispatcher with bidirectional sessions.

use std::sync::Arc;

use crate::support::{Client, CoreProvider, refused};
use async_trait::async_trait;
use realtime_core::RealtimeProvider;
use realtime_testkit::conformance::{ProviderUnderTest, Refused, Setup, Visitor};

struct Sessions(CoreProvider);

#[async_trait]
impl ProviderUnderTest for Sessions {
    type Client = Client;

    async fn start(setup: Setup) -> Self {
        Self(CoreProvider::full(setup))
    }

    fn provider(&self) -> Arc<dyn RealtimeProvider> {
        Arc::new(self.0.clone())
    }

    async fn connect(&self, visitor: Visitor) -> Result<Client, Refused> {
        let admitted = self.0.admit(visitor).await.map_err(|refusal| refused(&refusal))?;
        Ok(Client::by_session(&self.0.dispatcher, admitted))
    }
}

realtime_testkit::provider_conformance!(Sessions);
