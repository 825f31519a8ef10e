//! A node's side of a log: appends records, and passes the log's records to its providers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

use futures_core::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use crate::log::backplane::{Backplane, LogState};
use crate::log::counters::kind_of;
use crate::log::directory::Directory;
use crate::log::feed::{Beginning, Feed};
use crate::log::follow::Progress;
use crate::log::memory::MemoryDirectory;
use crate::log::record::{Body, Providers, Record};
use crate::log::shared::{Applied, Shared, Tip};
use crate::log::stored::Stored;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::node::{NodeId, NodeInfo};

/// The longest time that an attach waits for the window to be filled.
const FILL: Duration = Duration::from_secs(10);
/// The delay before an attach checks a log again that is about to begin a new epoch.
const RECHECK_DELAY: Duration = Duration::from_millis(50);

/// A node's side of a log, the same for all providers of a service: one loop reads each record
/// once, and passes it to the providers that it is for. Cheap to clone.
///
/// The loop runs while a provider is attached.
#[derive(Clone)]
pub struct Log(pub(super) Arc<Shared>);

impl Log {
    /// Creates the log of this backplane on a node that is known to no other one.
    pub fn new(backplane: Arc<dyn Backplane>) -> Self {
        Self::of_node(NodeInfo::new(NodeId::random()), backplane, Arc::new(MemoryDirectory::new()))
    }

    /// Creates this node's side of a log that it shares with the nodes of a directory.
    pub fn of_node(node: NodeInfo, backplane: Arc<dyn Backplane>, directory: Arc<dyn Directory>) -> Self {
        Self(Arc::new(Shared::new(node, backplane, directory)))
    }

    /// Returns a state that the log had after this call began, as soon as the log answers.
    pub(crate) async fn state_when_answered(&self) -> LogState {
        self.0.extent.state(&self.0.backplane).await
    }

    /// Returns this node.
    #[must_use]
    pub fn node(&self) -> &NodeInfo {
        &self.0.node
    }

    /// Returns the directory.
    #[must_use]
    pub fn directory(&self) -> &Arc<dyn Directory> {
        &self.0.directory
    }

    /// Returns the backplane.
    #[must_use]
    pub fn backplane(&self) -> &Arc<dyn Backplane> {
        &self.0.backplane
    }

    /// Attaches this provider for as long as it exists, and waits until it has all records that the
    /// log holds. `set_number` receives the number to call [`Log::leave`] with.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the log cannot be read.
    pub(crate) async fn join(&self, feed: &Arc<dyn Feed>, set_number: impl FnOnce(u64)) -> Result<()> {
        let shared = &self.0;
        let deadline = Instant::now() + FILL;
        let unread = || Error::Backplane("the log could not be read in time".into());
        {
            let _guard = shared.joining.lock().await;
            loop {
                let is_first = shared.state().running.is_none();
                // Subscribe before anything can be published for this node.
                let pipe = if is_first { Some(shared.backplane.subscribe(shared.node.id).await?) } else { None };
                let state = shared.backplane.state().await?;
                let beginning = shared.beginning(feed.start_in(&state)).await?;
                if let Some(number) = shared.attach(feed, &state, &beginning, pipe) {
                    set_number(number);
                    break;
                }
                // The running loop is about to find that the log has a new epoch.
                if Instant::now() > deadline {
                    return Err(unread());
                }
                shared.check_requested.notify_one();
                tokio::time::sleep(RECHECK_DELAY).await;
            }
        }
        let filled = self.until_read(|| feed.is_ready());
        tokio::time::timeout_at(deadline, filled).await.map_err(|_| unread())?;
        // The records of those that come later are read by the tail.
        shared.load_revocations().await
    }

    /// Waits until this holds; asked again whenever records have been read.
    pub(crate) async fn until_read(&self, holds: impl Fn() -> bool) {
        loop {
            let read = self.0.read.notified();
            if holds() {
                return;
            }
            read.await;
        }
    }

    /// Detaches the provider with this number; the loops end with the last provider.
    pub(crate) fn leave(&self, number: u64) {
        let mut state = self.0.state();
        state.feeds.retain(|(other, _)| *other != number);
        if state.feeds.is_empty()
            && let Some(running) = state.running.take()
        {
            running.cancel();
        }
    }

    /// Publishes to the other nodes through the pipe, which skips the log.
    pub(crate) async fn publish(&self, providers: Providers, id: EventId, body: Body) -> Result<()> {
        let sent = kind_of(&body);
        self.0.backplane.publish(Arc::new(Record::new(id, self.0.node.id, providers, body)), None).await?;
        sent.into_iter().for_each(|kind| self.0.counters.published(kind));
        Ok(())
    }

    /// Returns the attached providers.
    pub(crate) fn feeds(&self) -> Vec<Arc<dyn Feed>> {
        self.0.feeds()
    }

    /// Returns whether a provider was ever attached.
    pub(crate) fn had_providers(&self) -> bool {
        self.0.state().next > 0
    }

    /// Keeps all other tasks from applying records.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> std::sync::MutexGuard<'_, Applied> {
        self.0.lock_applied()
    }

    /// Returns the number of sends that wait for their record.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.waiters().len()
    }
}

impl Shared {
    /// Adds a provider after its start position in this state, and starts the loops if they do not
    /// run; returns `None` when the running loop has another epoch of the log.
    fn attach(
        self: &Arc<Self>,
        feed: &Arc<dyn Feed>,
        found: &LogState,
        beginning: &Beginning,
        pipe: Option<BoxStream<'static, Stored>>,
    ) -> Option<u64> {
        // Nothing is applied while this lock is held.
        let mut applied = self.lock_applied();
        let mut state = self.state();
        let number = state.next;
        match (&state.running, pipe) {
            (Some(_), _) if state.epoch != Some(found.epoch) => return None,
            (Some(_), _) => {
                feed.reset(found, beginning);
                applied.held = true;
                self.rewind_requested.notify_one();
            }
            // The loops have ended meanwhile.
            (None, None) => return None,
            (None, Some(pipe)) => {
                feed.reset(found, beginning);
                let stop = CancellationToken::new();
                state.epoch = Some(found.epoch);
                self.counters.note_state(found);
                self.first_read.store(found.last.get(), Ordering::Release);
                state.running = Some(stop.clone());
                *applied = Applied { tip: Tip::new(feed.start_in(found), beginning.before), held: true };
                let progress = Progress::new(applied.tip, found.last);
                tokio::spawn(stop.clone().run_until_cancelled_owned(Arc::clone(self).follow(progress)));
                tokio::spawn(stop.clone().run_until_cancelled_owned(Arc::clone(self).watch_health()));
                tokio::spawn(stop.clone().run_until_cancelled_owned(Arc::clone(self).follow_revocations()));
                tokio::spawn(stop.run_until_cancelled_owned(Arc::clone(self).follow_pipe(pipe)));
            }
        }
        state.next += 1;
        state.known.insert(feed.provider());
        state.feeds.push((number, Arc::downgrade(feed)));
        Some(number)
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}
