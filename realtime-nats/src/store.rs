//! The state that the parts of a log in NATS share: the connections, the names, and the life that
//! is known.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use realtime_core::EventId;
use realtime_core::spi::{Epoch, LogState, Position};

use crate::api::{self, StreamInfo};
use crate::config::NatsConfig;
use crate::connector::Connector;
use crate::error::Fault;
use crate::life::{self, Known, Life, Old};
use crate::link::Link;
use crate::pipe::Numbers;
use crate::record;
use crate::streams::Names;

/// The number of locks that all users share.
const USER_LOCKS: usize = 64;

/// The log of a service, as one node knows it.
#[derive(Debug)]
pub(crate) struct Store {
    pub(crate) connector: Connector,
    pub(crate) link: Link,
    /// For the answers with many messages, which would hold up others.
    pub(crate) reads: Link,
    pub(crate) names: Names,
    pub(crate) config: NatsConfig,
    /// The numbers of what this node publishes in the pipe.
    pub(crate) numbers: Numbers,
    /// The life that was found last. Locked only briefly, never across an await.
    life: Mutex<Option<Arc<Life>>>,
    /// Held while this node changes a user's rooms, by the user: its changes wait for each other
    /// rather than for another try.
    pub(crate) users: Vec<tokio::sync::Mutex<()>>,
    /// The age in milliseconds up to which the stream of keys is known to keep them.
    keys_age: AtomicU64,
}

impl Store {
    pub(crate) fn new(connector: Connector, link: Link, reads: Link, config: NatsConfig) -> Self {
        let names = Names::new(&config.prefix);
        let users = (0..USER_LOCKS).map(|_| tokio::sync::Mutex::new(())).collect();
        let (life, keys_age) = (Mutex::new(None), AtomicU64::new(0));
        Self { connector, link, reads, names, config, numbers: Numbers::new(), life, users, keys_age }
    }

    fn lock_life(&self) -> MutexGuard<'_, Option<Arc<Life>>> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the life of an epoch; `None` if the log has another one.
    pub(crate) async fn life_of(&self, epoch: Epoch) -> Result<Option<Arc<Life>>, Fault> {
        let known = self.lock_life().clone().filter(|life| life.epoch == epoch);
        match known {
            Some(life) => Ok(Some(life)),
            None => Ok(self.load().await?.filter(|life| life.epoch == epoch)),
        }
    }

    /// Returns the life that is known, or asks for it.
    pub(crate) async fn life(&self) -> Result<Arc<Life>, Fault> {
        let known = self.lock_life().clone();
        match known {
            Some(life) => Ok(life),
            None => self.load().await?.ok_or(Fault::Lost),
        }
    }

    /// Asks for the current life; `None` if the log has none.
    pub(crate) async fn load(&self) -> Result<Option<Arc<Life>>, Fault> {
        match life::load(&self.link, &self.names).await? {
            Known::Life(life) => Ok(Some(self.remember(life))),
            Known::Nothing(_) => {
                *self.lock_life() = None;
                Ok(None)
            }
        }
    }

    fn remember(&self, life: Life) -> Arc<Life> {
        let mut known = self.lock_life();
        if let Some(same) = known.as_ref().filter(|known| known.name == life.name) {
            return Arc::clone(same);
        }
        self.keys_age.store(0, Ordering::Relaxed);
        let life = Arc::new(life);
        *known = Some(Arc::clone(&life));
        life
    }

    /// Returns the age up to which the stream of keys is known to keep them.
    pub(crate) fn keys_age(&self) -> Duration {
        Duration::from_millis(self.keys_age.load(Ordering::Relaxed))
    }

    pub(crate) fn set_keys_age(&self, age: Duration) {
        self.keys_age.store(u64::try_from(age.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Returns the extent of a life's log; `None` when its stream is missing.
    pub(crate) async fn extent(&self, life: &Life) -> Result<Option<StreamInfo>, Fault> {
        match api::info(&self.link, &self.names.log(&life.name)).await {
            Ok(info) => {
                life.extent.note_last(info.state.last_seq);
                life.extent.note_start(info.state.start());
                Ok(Some(info))
            }
            Err(fault) if fault.is_missing_stream() => Ok(None),
            Err(fault) => Err(fault),
        }
    }

    /// Returns the log's state. Begins a life if there is none, if its stream is missing, or if it
    /// is the one that was seen and has lost the record that was seen.
    pub(crate) async fn state(&self, seen: Option<(Epoch, Position, EventId)>) -> Result<LogState, Fault> {
        loop {
            let known = match life::load(&self.link, &self.names).await? {
                Known::Life(life) => Ok(self.remember(life)),
                Known::Nothing(revision) => Err(revision),
            };
            if let Ok(life) = &known
                && let Some(info) = self.extent(life).await?
            {
                let lost = match seen {
                    Some((epoch, position, id)) if epoch == life.epoch => {
                        self.has_lost(life, &info, position.get(), id).await?
                    }
                    _ => false,
                };
                if !lost {
                    return Ok(life.state(&info));
                }
            }
            let old = known.as_ref().map_or_else(|revision| Old::Nothing(*revision), |life| Old::Life(life));
            if let Some(life) = life::begin(&self.link, &self.names, &self.config, old).await? {
                self.remember(life);
            }
        }
    }

    async fn has_lost(&self, life: &Life, info: &StreamInfo, position: u64, id: EventId) -> Result<bool, Fault> {
        if position <= info.state.start() {
            return Ok(false);
        }
        if position > info.state.last_seq {
            return Ok(true);
        }
        match api::message(&self.link, &self.names.log(&life.name), position).await? {
            Some(found) => Ok(record::id_of(|name| found.header(name)) != id),
            // Dropped meanwhile, or else missing from the middle.
            None => Ok(self.extent(life).await?.is_none_or(|info| position > info.state.start())),
        }
    }
}
