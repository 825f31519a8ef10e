use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::spi::Backplane;
use realtime_disk::{DiskBackplane, DiskConfig};
use realtime_testkit::conformance::BackplaneUnderTest;
use tempfile::TempDir;

use crate::support::open_with;

/// A log in a directory of its own; every node is a clone, since one process has the directory.
struct OnDisk {
    log: DiskBackplane,
    _directory: TempDir,
}

#[async_trait]
impl BackplaneUnderTest for OnDisk {
    async fn start_with(records: usize) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let log = open_with(directory.path(), DiskConfig::default().with_records(records));
        Self { log, _directory: directory }
    }

    async fn node(&self) -> Arc<dyn Backplane> {
        Arc::new(self.log.clone())
    }
}

realtime_testkit::backplane_conformance!(OnDisk);
