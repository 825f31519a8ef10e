//! The backplane conformance suite, for the in-memory backplane.

use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::MemoryBackplane;
use realtime_core::spi::Backplane;
use realtime_testkit::conformance::BackplaneUnderTest;

struct Memory(MemoryBackplane);

#[async_trait]
impl BackplaneUnderTest for Memory {
    async fn start() -> Self {
        Self(MemoryBackplane::default())
    }

    async fn node(&self) -> Arc<dyn Backplane> {
        Arc::new(self.0.clone())
    }
}

realtime_testkit::backplane_conformance!(Memory);
