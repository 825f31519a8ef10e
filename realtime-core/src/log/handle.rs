//! A node's side of a log: who appends to it, and who gets what is in it.

use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use futures_core::stream::BoxStream;
use tokio_util::sync::CancellationToken;

use crate::log::backplane::{Backplane, LogState};
use crate::log::directory::NodeId;
use crate::log::feed::Feed;
use crate::log::follow::Progress;
use crate::log::record::{Body, Providers, Record};
use crate::log::shared::{Applied, Shared, Tip};
use crate::log::stored::Stored;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;

/// How long an attach waits for the window to be filled.
const FILL: Duration = Duration::from_secs(10);
/// How long it waits before it looks again at a log that is just beginning anew.
const AGAIN: Duration = Duration::from_millis(50);

/// A node's side of a log, the same for all providers of a service: one loop reads each record once, and hands it to the
/// providers that it is for. Cheap to clone.
///
/// It runs while a provider is attached to it.
#[derive(Clone)]
pub struct Log(pub(super) Arc<Shared>);

impl Log {
    /// The log of this backplane.
    pub fn new(backplane: Arc<dyn Backplane>) -> Self {
        Self(Arc::new(Shared::new(backplane)))
    }

    /// What it is the log of.
    pub fn backplane(&self) -> &Arc<dyn Backplane> {
        &self.0.backplane
    }

    /// Begins to hand this provider its records, for as long as it is there, and waits until it has all that are there. `seat` is
    /// told the number by which it leaves.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the log cannot be read.
    pub(crate) async fn join(&self, feed: &Arc<dyn Feed>, node: NodeId, seat: impl FnOnce(u64)) -> Result<()> {
        let shared = &self.0;
        let deadline = Instant::now() + FILL;
        let unread = || Error::Backplane("the log could not be read in time".into());
        {
            let _one = shared.joining.lock().await;
            loop {
                let begins = shared.state().running.is_none();
                // Subscribed before anything can be published for us.
                let pipe = if begins { Some(shared.backplane.subscribe().await?) } else { None };
                let state = shared.backplane.state().await?;
                let before = shared.before(feed.start_in(&state)).await?;
                if let Some(number) = shared.enter(feed, &state, before, pipe, node) {
                    seat(number);
                    break;
                }
                // The loop that runs is about to find that the log has begun anew.
                if Instant::now() > deadline {
                    return Err(unread());
                }
                shared.look_wanted.notify_one();
                tokio::time::sleep(AGAIN).await;
            }
        }
        let filled = async {
            loop {
                let read = shared.read.notified();
                if feed.is_ready() {
                    return;
                }
                read.await;
            }
        };
        tokio::time::timeout_at(deadline, filled).await.map_err(|_| unread())
    }

    /// Hands the provider with this number no more records; the loops end with the last provider.
    pub(crate) fn leave(&self, seat: u64) {
        let mut state = self.0.state();
        state.feeds.retain(|(number, _)| *number != seat);
        if state.feeds.is_empty()
            && let Some(running) = state.running.take()
        {
            running.cancel();
        }
    }

    /// Tells the other nodes, past the log.
    pub(crate) async fn publish(&self, providers: Providers, id: EventId, body: Body) -> Result<()> {
        let (node, _) = self.0.life();
        self.0.backplane.publish(Arc::new(Record::new(id, node, providers, body))).await
    }

    /// The providers that are attached.
    pub(crate) fn feeds(&self) -> Vec<Arc<dyn Feed>> {
        self.0.feeds()
    }

    /// Whether a provider was ever attached.
    pub(crate) fn had_providers(&self) -> bool {
        self.0.state().next > 0
    }

    /// Keeps everybody else from applying records.
    #[cfg(test)]
    pub(crate) fn hold(&self) -> std::sync::MutexGuard<'_, Applied> {
        self.0.lock_applied()
    }

    /// How many sends wait for their record.
    #[cfg(test)]
    pub(crate) fn waiting(&self) -> usize {
        self.0.waiters().len()
    }
}

impl Shared {
    /// Takes a provider in after its start in this state, and begins to read where nobody does; nothing when the loop that runs
    /// is in another life of the log.
    fn enter(
        self: &Arc<Self>,
        feed: &Arc<dyn Feed>,
        found: &LogState,
        before: Option<EventId>,
        pipe: Option<BoxStream<'static, Stored>>,
        node: NodeId,
    ) -> Option<u64> {
        // Nothing is applied meanwhile.
        let mut applied = self.lock_applied();
        let mut state = self.state();
        let number = state.next;
        match (&state.running, pipe) {
            (Some(_), _) if state.epoch != Some(found.epoch) => return None,
            (Some(_), _) => {
                feed.take_up(found, before);
                applied.held = true;
                self.rewind_wanted.notify_one();
            }
            // The loops have ended meanwhile.
            (None, None) => return None,
            (None, Some(pipe)) => {
                feed.take_up(found, before);
                let stop = CancellationToken::new();
                (state.epoch, state.node) = (Some(found.epoch), Some(node));
                state.running = Some(stop.clone());
                *applied = Applied { tip: Tip::new(feed.start_in(found), before), held: true };
                let progress = Progress::new(applied.tip, found.last);
                tokio::spawn(stop.clone().run_until_cancelled_owned(Arc::clone(self).follow(progress)));
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
