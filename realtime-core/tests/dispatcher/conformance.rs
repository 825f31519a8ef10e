//! The conformance suites: for the in-memory backplane and directory, and for the dispatcher with
//! bidirectional sessions and with connections into a sink.

use std::sync::Arc;

use crate::support::{Client, CoreProvider, FaultyDirectory, refused};
use async_trait::async_trait;
use realtime_core::spi::{Backplane, Directory};
use realtime_core::{MemoryBackplane, RealtimeProvider};
use realtime_testkit::conformance::{
    BackplaneUnderTest, DirectoryUnderTest, ProviderUnderTest, Refused, Setup, Visitor,
};

mod backplane {
    use super::*;

    struct Memory(MemoryBackplane);

    #[async_trait]
    impl BackplaneUnderTest for Memory {
        async fn start_with(records: usize) -> Self {
            Self(MemoryBackplane::new(records))
        }

        async fn node(&self) -> Arc<dyn Backplane> {
            Arc::new(self.0.clone())
        }
    }

    realtime_testkit::backplane_conformance!(Memory);
}

mod directory {
    use super::*;

    /// An in-memory directory that can be replaced by an empty one.
    struct Memory(FaultyDirectory);

    #[async_trait]
    impl DirectoryUnderTest for Memory {
        async fn start() -> Self {
            Self(FaultyDirectory::new())
        }

        async fn node(&self) -> Arc<dyn Directory> {
            Arc::new(self.0.clone())
        }

        async fn lose(&self) {
            self.0.lose();
        }
    }

    realtime_testkit::directory_conformance!(Memory);
}

/// A provider whose connections are sessions, or sinks.
struct Core<const SESSIONS: bool>(CoreProvider);

#[async_trait]
impl<const SESSIONS: bool> ProviderUnderTest for Core<SESSIONS> {
    type Client = Client;

    async fn start(setup: Setup) -> Self {
        Self(if SESSIONS { CoreProvider::full(setup) } else { CoreProvider::one_way(setup) })
    }

    fn provider(&self) -> Arc<dyn RealtimeProvider> {
        Arc::new(self.0.clone())
    }

    async fn connect(&self, visitor: Visitor) -> Result<Client, Refused> {
        let admitted = self.0.admit(visitor).await.map_err(|refusal| refused(&refusal))?;
        let by = if SESSIONS { Client::by_session } else { Client::by_sink };
        Ok(by(&self.0.dispatcher, admitted))
    }
}

mod sessions {
    use super::*;

    realtime_testkit::provider_conformance!(Core<true>);
}

mod sinks {
    use super::*;

    realtime_testkit::provider_conformance!(Core<false>);
}
