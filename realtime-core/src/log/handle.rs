//! A node's side of a log: who appends to it, and who gets what is in it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;
use tokio::time::Instant;

use futures_core::stream::BoxStream;
use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::log::apply::{Applied, AtOnce, Tip};
use crate::log::backplane::{AppendError, Appended, Backplane, LogState};
use crate::log::directory::NodeId;
use crate::log::feed::Feed;
use crate::log::follow::Progress;
use crate::log::record::{Body, Providers, Record, Stored};
use crate::log::repeat::RepeatKey;
use crate::values::ack::Ask;
use crate::values::cursor::Epoch;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::position::Position;
use crate::values::receipt::{Delivered, Receipt};

/// How long a send waits for its record to come back through the log.
const OUTCOME: Duration = Duration::from_secs(2);
/// How long an attach waits for the window to be filled.
const FILL: Duration = Duration::from_secs(10);
/// How long it waits before it looks again at a log that is just beginning anew.
const AGAIN: Duration = Duration::from_millis(50);

/// A node's side of a log, the same for all providers of a service: one loop reads each record once, and hands it to the
/// providers that it is for. Cheap to clone.
///
/// It runs while a provider is attached to it.
#[derive(Clone)]
pub struct Log(Arc<Shared>);

/// What the handles and the loops of a log share.
pub(crate) struct Shared {
    pub(crate) backplane: Arc<dyn Backplane>,
    /// How far it has been applied. Locked before the state, where both are.
    pub(crate) applied: Mutex<Applied>,
    state: Mutex<State>,
    /// Sends of this node that wait for their record to come back through the log.
    waiters: Mutex<HashMap<EventId, Waiter>>,
    /// Somebody has a reason to take the log for another one.
    pub(crate) look_wanted: Notify,
    /// A provider has come that has to read from before the place of the others.
    pub(crate) rewind_wanted: Notify,
    /// A provider may have read all that it waits for.
    pub(crate) read: Notify,
    /// One attach at a time.
    joining: tokio::sync::Mutex<()>,
}

struct State {
    /// The providers, by the numbers of their attaches.
    feeds: Vec<(u64, Weak<dyn Feed>)>,
    next: u64,
    /// Cancelled when the loops are to end; none while they do not run.
    running: Option<CancellationToken>,
    /// The life of the log that is read.
    epoch: Option<Epoch>,
    node: Option<NodeId>,
}

/// A send that waits for its record to be applied.
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    id: EventId,
    applied: oneshot::Receiver<Receipt>,
}

/// What is known of a record that waits.
enum Known {
    /// It is in the log.
    Appended(Waiting),
    /// It repeats one that is in the log.
    Repeats(Appended),
    /// It is still to be appended.
    Nothing(Waiting),
}

pub(crate) struct Waiter {
    pub(crate) done: oneshot::Sender<Receipt>,
    /// An ask to be told of the connections its record matches.
    pub(crate) ask: Option<Arc<Ask>>,
}

impl Log {
    /// The log of this backplane.
    pub fn new(backplane: Arc<dyn Backplane>) -> Self {
        let state = State { feeds: Vec::new(), next: 0, running: None, epoch: None, node: None };
        Self(Arc::new(Shared {
            backplane,
            applied: Mutex::new(Applied { tip: Tip::new(Position::START, None), held: true }),
            state: Mutex::new(state),
            waiters: Mutex::default(),
            look_wanted: Notify::new(),
            rewind_wanted: Notify::new(),
            read: Notify::new(),
            joining: tokio::sync::Mutex::default(),
        }))
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

    /// Appends a record for these providers, and waits until it has been applied here.
    pub(crate) async fn append(
        &self,
        providers: Providers,
        id: EventId,
        body: Body,
        ask: Option<Arc<Ask>>,
    ) -> Result<Receipt> {
        let shared = &self.0;
        let key = shared.repeat_key(&providers, &body);
        let (node, epoch) = shared.life();
        let record = Arc::new(Record::new(id, node, providers, body));
        let known = match shared.append_at_once(epoch, &record, key, ask.as_ref()) {
            AtOnce::Applied(receipt) => return Ok(receipt),
            AtOnce::Refused(error) => return Err(shared.refused(error, &record)),
            AtOnce::Waits(waiting) => Known::Appended(waiting),
            AtOnce::Appended(first) => Known::Repeats(first),
            // Before the append: the record may come back before the append's own answer does.
            AtOnce::No => Known::Nothing(shared.wait_for(id, ask)),
        };
        let outcome = shared.outcome(known, epoch, &record, key);
        tokio::time::timeout(OUTCOME, outcome).await.unwrap_or(Err(Error::OutcomeUnknown { id }))
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
    pub(crate) fn hold(&self) -> MutexGuard<'_, Applied> {
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
        state.feeds.push((number, Arc::downgrade(feed)));
        Some(number)
    }

    /// The providers that are there.
    pub(crate) fn feeds(&self) -> Vec<Arc<dyn Feed>> {
        self.state().feeds.iter().filter_map(|(_, feed)| feed.upgrade()).collect()
    }

    /// The log is in another life from now on.
    pub(crate) fn set_epoch(&self, epoch: Epoch) {
        self.state().epoch = Some(epoch);
    }

    /// This node, and the life of the log that it reads. Before any provider was attached nobody reads a record of this node,
    /// and no log has such a life.
    pub(crate) fn life(&self) -> (NodeId, Epoch) {
        let state = self.state();
        (state.node.unwrap_or_else(NodeId::random), state.epoch.unwrap_or_else(Epoch::random))
    }

    /// What becomes of a record of which so much is known.
    async fn outcome(
        &self,
        known: Known,
        epoch: Epoch,
        record: &Arc<Record>,
        key: Option<RepeatKey>,
    ) -> Result<Receipt> {
        let mut waiting = match known {
            Known::Appended(mut waiting) => return waiting.applied().await,
            Known::Repeats(first) => return Ok(self.repeated(first, record).await),
            Known::Nothing(waiting) => waiting,
        };
        // Whichever comes first counts: a record that has come through the log is in it, whatever its append says.
        let appended = tokio::select! {
            biased;
            receipt = waiting.applied() => return receipt,
            answer = self.backplane.append(epoch, Arc::clone(record), key) => answer,
        };
        match appended {
            Ok(first) if first.repeated => Ok(self.repeated(first, record).await),
            Ok(_) => waiting.applied().await,
            Err(error) => Err(self.refused(error, record)),
        }
    }

    /// How the log knows that this is a repeat, if it is an event with a key.
    fn repeat_key(&self, providers: &Providers, body: &Body) -> Option<RepeatKey> {
        let Body::Event { target, event, .. } = body else { return None };
        event.key()?;
        let feeds = self.feeds();
        let times = feeds.iter().filter(|feed| providers.mean(feed.provider())).map(|feed| feed.knows_repeats_for());
        RepeatKey::of(providers, target, event, times.max().unwrap_or_default())
    }

    /// What the sender of a record is told that the log has not taken, or may not have.
    fn refused(&self, error: AppendError, record: &Record) -> Error {
        tracing::debug!(event = %record.id, %error, "an append failed");
        match (&error, record.event().and_then(|(_, event)| event.key())) {
            (AppendError::KeyReused, Some(key)) => return Error::KeyReused { key: key.to_owned() },
            (AppendError::Epoch, _) => self.look_wanted.notify_one(),
            _ => {}
        }
        error.into_error(record.id)
    }

    /// The receipt for a record that repeats this one, when that has been applied.
    async fn repeated(&self, first: Appended, record: &Record) -> Receipt {
        tracing::debug!(event = %record.id, first = %first.id, "not delivered: the idempotency key is known");
        loop {
            let read = self.read.notified();
            if self.lock_applied().tip.position >= first.position {
                return Receipt::new(first.id, Some(first.position), Some(Delivered::default())).as_repeated();
            }
            read.await;
        }
    }

    /// Lets a send wait for its record; before it can be applied.
    pub(crate) fn wait_for(self: &Arc<Self>, id: EventId, ask: Option<Arc<Ask>>) -> Waiting {
        let (done, applied) = oneshot::channel();
        self.waiters().insert(id, Waiter { done, ask });
        Waiting { shared: Arc::clone(self), id, applied }
    }

    /// The waiting send of this event, if it is one of this node.
    pub(crate) fn take_waiter(&self, id: EventId) -> Option<Waiter> {
        self.waiters().remove(&id)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn waiters(&self) -> MutexGuard<'_, HashMap<EventId, Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Waits until it is applied.
    async fn applied(&mut self) -> Result<Receipt> {
        (&mut self.applied).await.map_err(|_| Error::OutcomeUnknown { id: self.id })
    }
}

impl Drop for Waiting {
    /// Takes the waiter away when its send ends, however it ends.
    fn drop(&mut self) {
        self.shared.waiters().remove(&self.id);
    }
}

impl std::fmt::Debug for Log {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}
