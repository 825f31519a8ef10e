//! The life of a log: its epoch and key, and the stream that has its records.

use std::sync::atomic::{AtomicU64, Ordering};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use realtime_core::spi::{CursorKey, Epoch, LogState, Position};
use serde::{Deserialize, Serialize};

use crate::api::{self, Found, RESPONSE, StreamInfo};
use crate::config::NatsConfig;
use crate::error::Fault;
use crate::link::Link;
use crate::streams::{Names, ensure};

/// The version of the streams and of what they hold.
const FORMAT: u64 = 1;

/// One life of a log, which ends with its epoch.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) epoch: Epoch,
    pub(crate) key: CursorKey,
    /// The part of its names: its number, which grows, and its epoch.
    pub(crate) name: String,
    number: u64,
    /// The sequence at which the life is stored.
    revision: u64,
    pub(crate) extent: Extent,
}

/// The known extent of a life's log: the log itself may be further.
#[derive(Debug, Default)]
pub(crate) struct Extent {
    last: AtomicU64,
    start: AtomicU64,
    complete: AtomicU64,
}

impl Extent {
    /// Notes that the log has reached a position.
    pub(crate) fn note_last(&self, position: u64) {
        self.last.fetch_max(position, Ordering::Relaxed);
    }

    /// Notes that the log begins behind a position.
    pub(crate) fn note_start(&self, position: u64) {
        self.start.fetch_max(position, Ordering::Relaxed);
    }

    /// Notes that all changes of rooms up to a position are in users' values.
    pub(crate) fn note_complete(&self, position: u64) {
        self.complete.fetch_max(position, Ordering::Relaxed);
    }

    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    pub(crate) fn start(&self) -> u64 {
        self.start.load(Ordering::Relaxed)
    }

    pub(crate) fn complete(&self) -> u64 {
        self.complete.load(Ordering::Relaxed)
    }
}

/// A life as it is stored.
#[derive(Deserialize, Serialize)]
struct StoredLife {
    format: u64,
    number: u64,
    epoch: String,
    key: String,
}

/// The content of the place where the current life is stored.
pub(crate) enum Known {
    Life(Life),
    /// Nothing, or something that cannot be read, at this revision.
    Nothing(u64),
}

impl Life {
    fn new(number: u64) -> Self {
        let LogState { epoch, key, .. } = LogState::begin();
        Self {
            epoch,
            key,
            name: format!("{number:x}-{:016x}", epoch.get()),
            number,
            revision: 0,
            extent: Extent::default(),
        }
    }

    fn read(found: &Found, prefix: &str) -> Result<Option<Self>, Fault> {
        let Ok(stored) = serde_json::from_slice::<StoredLife>(&found.data) else { return Ok(None) };
        if stored.format != FORMAT {
            return Err(Fault::Format { prefix: prefix.to_owned(), found: stored.format, known: FORMAT });
        }
        let epoch = u64::from_str_radix(&stored.epoch, 16).ok().map(Epoch::new);
        let key = STANDARD.decode(&stored.key).ok().and_then(|key| CursorKey::try_from(&key[..]).ok());
        let (Some(epoch), Some(key)) = (epoch, key) else { return Ok(None) };
        let name = format!("{:x}-{:016x}", stored.number, epoch.get());
        Ok(Some(Self { epoch, key, name, number: stored.number, revision: found.sequence, extent: Extent::default() }))
    }

    fn to_json(&self) -> String {
        let stored = StoredLife {
            format: FORMAT,
            number: self.number,
            epoch: format!("{:016x}", self.epoch.get()),
            key: STANDARD.encode(self.key.as_bytes()),
        };
        serde_json::to_string(&stored).unwrap_or_default()
    }

    /// Returns the state of the log with this extent.
    pub(crate) fn state(&self, info: &StreamInfo) -> LogState {
        let mut state = LogState::begin();
        (state.epoch, state.key) = (self.epoch, self.key.clone());
        state.last = Position::new(info.state.last_seq);
        state.start = Position::new(info.state.start());
        state
    }
}

/// The stored content that another life replaces.
#[derive(Clone, Copy)]
pub(crate) enum Old<'a> {
    Life(&'a Life),
    /// Nothing, at this revision.
    Nothing(u64),
}

/// Returns the current life.
pub(crate) async fn load(link: &Link, names: &Names) -> Result<Known, Fault> {
    match api::last_of_new(link, &names.state, &names.life()).await {
        Ok(Some(found)) => Ok(Life::read(&found, &names.prefix)?.map_or(Known::Nothing(found.sequence), Known::Life)),
        Ok(None) => Ok(Known::Nothing(0)),
        Err(fault) if fault.is_missing_stream() => Ok(Known::Nothing(0)),
        Err(fault) => Err(fault),
    }
}

/// Begins another life in place of the known one, unless another node does; then removes what the
/// old one has left. Returns `None` when another node was faster.
pub(crate) async fn begin(
    link: &Link,
    names: &Names,
    config: &NatsConfig,
    old: Old<'_>,
) -> Result<Option<Life>, Fault> {
    let (number, revision) = match old {
        Old::Life(life) => (life.number + 1, life.revision),
        // What an earlier one has left is removed by its number.
        Old::Nothing(revision) => {
            let numbers = logs(link, names).await?.into_iter().map(|(number, _)| number);
            (numbers.max().unwrap_or(0) + 1, revision)
        }
    };
    ensure_shared(link, names, config).await?;
    let mut life = Life::new(number);
    // First, so that whoever finds the life finds its stream.
    match (ensure_log(link, names, config, &life).await, old) {
        (Err(Fault::NoRoom { .. }), Old::Life(old)) => {
            // There is no room for both, and the old one is lost, whoever begins another.
            api::delete(link, &names.log(&old.name)).await?;
            ensure_log(link, names, config, &life).await?;
        }
        (Err(fault @ Fault::Api { .. }), _) => {
            // Whoever was faster may have removed the stream while it was created.
            let current = match load(link, names).await? {
                Known::Life(life) => life.revision,
                Known::Nothing(revision) => revision,
            };
            return if current == revision { Err(fault) } else { Ok(None) };
        }
        (ensured, _) => ensured?,
    }
    let stored = api::store_after(link, &names.life(), revision, life.to_json().into(), RESPONSE).await?;
    let Some(stored) = stored else {
        api::delete(link, &names.log(&life.name)).await?;
        return Ok(None);
    };
    life.revision = stored;
    tracing::info!(prefix = names.prefix, epoch = life.epoch.get(), "the log begins an epoch");
    if let Old::Life(old) = old {
        forget(link, names, &old.name).await?;
    }
    clean_up(link, names, &life).await?;
    Ok(Some(life))
}

/// Creates the streams that every life shares, where they are missing.
pub(crate) async fn ensure_shared(link: &Link, names: &Names, config: &NatsConfig) -> Result<(), Fault> {
    for settings in names.shared(config) {
        ensure(link, &settings).await?;
    }
    Ok(())
}

/// Gives the log of a life the bounds of this configuration; creates it if it is missing.
pub(crate) async fn ensure_log(link: &Link, names: &Names, config: &NatsConfig, life: &Life) -> Result<(), Fault> {
    let largest = link.connection()?.client.max_payload();
    ensure(link, &names.log_settings(&life.name, config, largest)).await
}

/// Removes the streams, keys and rooms of earlier lives. A node that tried to begin one in place of
/// this one removes its stream itself.
pub(crate) async fn clean_up(link: &Link, names: &Names, current: &Life) -> Result<(), Fault> {
    for (number, name) in logs(link, names).await? {
        if number < current.number {
            forget(link, names, &name).await?;
        }
    }
    Ok(())
}

/// Returns the numbers and names of the lives that have a stream.
async fn logs(link: &Link, names: &Names) -> Result<Vec<(u64, String)>, Fault> {
    let stem = names.log("");
    let lives = api::names(link, &names.logs()).await?.into_iter().filter_map(|stream| {
        let name = stream.strip_prefix(&stem)?;
        let number = u64::from_str_radix(name.split('-').next()?, 16).ok()?;
        Some((number, name.to_owned()))
    });
    Ok(lives.collect())
}

/// Removes the stream, the keys and the rooms of a life.
async fn forget(link: &Link, names: &Names, life: &str) -> Result<(), Fault> {
    api::delete(link, &names.log(life)).await?;
    api::purge(link, &names.keys, Some(&names.key(life, ">")), None).await?;
    api::purge(link, &names.state, Some(&names.rooms(life, ">")), None).await?;
    api::purge(link, &names.state, Some(&names.complete(life)), None).await
}
