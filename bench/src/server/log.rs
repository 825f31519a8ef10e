//! The logs that a server of this workspace can have.

use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use realtime_unified::disk::{DiskBackplane, DiskConfig, SyncMode};
use realtime_unified::memory::MemoryBackplane;
use realtime_unified::nats::{NatsBackplane, NatsConfig};
use realtime_unified::redis::{RedisBackplane, RedisConfig};
use realtime_unified::spi::{Backplane, Directory};
use serde::{Deserialize, Serialize};

use crate::Result;

/// The kinds of logs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum LogKind {
    /// In memory.
    #[default]
    Memory,
    /// On disk, synced every 100 ms.
    Disk,
    /// On disk, synced before each append is answered.
    DiskAlways,
    /// In Redis.
    Redis,
    /// In NATS.
    Nats,
}

/// An open log.
#[expect(missing_debug_implementations, reason = "not every log can be shown")]
pub struct Log {
    /// The log.
    pub backplane: Arc<dyn Backplane>,
    /// The directory of users beside it, if it is for several nodes.
    pub directory: Option<Arc<dyn Directory>>,
}

impl LogKind {
    /// Opens a log, in a directory or at the URL of a broker, where it has this name.
    ///
    /// # Errors
    /// Those of [`DiskBackplane::open_with`], [`RedisBackplane::connect`] and
    /// [`NatsBackplane::connect`].
    pub async fn open(self, at: &str, name: &str) -> Result<Log> {
        let disk = |options| DiskBackplane::open_with(Path::new(at), options);
        Ok(match self {
            Self::Memory => Log::of_node(MemoryBackplane::default()),
            Self::Disk => Log::of_node(disk(DiskConfig::default())?),
            Self::DiskAlways => Log::of_node(disk(DiskConfig::default().with_sync(SyncMode::Always))?),
            Self::Redis => {
                let log = RedisBackplane::connect(at, RedisConfig::default().with_prefix(name)).await?;
                Log { directory: Some(Arc::new(log.directory())), backplane: Arc::new(log) }
            }
            Self::Nats => {
                let log = NatsBackplane::connect(at, NatsConfig::default().with_prefix(name)).await?;
                Log { directory: Some(Arc::new(log.directory())), backplane: Arc::new(log) }
            }
        })
    }
}

impl Log {
    /// Returns a log of one node, which needs no directory.
    fn of_node(backplane: impl Backplane) -> Self {
        Self { backplane: Arc::new(backplane), directory: None }
    }
}
