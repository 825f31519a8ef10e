//! The directory conformance suite, for the in-memory directory.

use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::spi::Directory;
use realtime_testkit::FaultyDirectory;
use realtime_testkit::conformance::DirectoryUnderTest;

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
