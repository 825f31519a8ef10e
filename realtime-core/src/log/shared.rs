//! The state that the handles and the loops of a log share: the applied position, the attached
//! providers, and the sends that wait for a record.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, TryLockError, Weak};

use tokio::sync::{Notify, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::log::backplane::Backplane;
use crate::log::collector::Collector;
use crate::log::counters::LogCounters;
use crate::log::directory::Directory;
use crate::log::explain::Explains;
use crate::log::extent::Extent;
use crate::log::feed::Feed;
use crate::log::lives::Lives;
use crate::log::offline::state::Offline;
use crate::log::probes::Probes;
use crate::log::propagator::Propagator;
use crate::log::refresh::Refreshes;
use crate::log::report::Received;
use crate::log::revocations::Revocations;
use crate::log::stored::RecordError;
use crate::values::ack::Ask;
use crate::values::cursor::Epoch;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::node::NodeInfo;
use crate::values::position::Position;
use crate::values::receipt::Receipt;
use crate::values::stamp::Stamp;

/// The state that the handles and the loops of a log share.
pub(crate) struct Shared {
    pub(crate) backplane: Arc<dyn Backplane>,
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) node: NodeInfo,
    /// The applied position. Where both are locked, this is locked before the state.
    pub(crate) applied: Mutex<Applied>,
    state: Mutex<State>,
    /// Sends of this node that wait for their record to arrive through the log.
    waiters: Mutex<HashMap<EventId, Waiter>>,
    /// Notified when a check of the log's state is due before the next interval.
    pub(crate) check_requested: Notify,
    /// Notified when a provider was attached that has to read from an earlier position than the
    /// others.
    pub(crate) rewind_requested: Notify,
    /// Notified when a provider may have read all that it waits for.
    pub(crate) read: Notify,
    /// The reports of other nodes that are awaited here, by the ids of the records.
    pub(super) collectors: Mutex<HashMap<EventId, Weak<Collector>>>,
    /// The reports of this node that are not all received, by the ids of the records.
    pub(super) reporters: Mutex<HashMap<EventId, watch::Sender<Received>>>,
    pub(super) probes: Probes,
    /// Set before the first provider is attached, if at all.
    pub(super) propagator: OnceLock<Arc<dyn Propagator>>,
    pub(super) extent: Arc<Extent>,
    pub(super) counters: LogCounters,
    /// The refreshes that other nodes are asked for.
    pub(super) refreshes: Refreshes,
    pub(super) revocations: Revocations,
    /// The explanations that other nodes are asked for.
    pub(super) explains: Explains,
    /// The connections of this node that have ended.
    pub(crate) lives: Lives,
    /// Set if this node has an offline sink.
    pub(super) offline: OnceLock<Arc<Offline>>,
    /// `true` if this node only publishes: it has no connections, and does not read the log.
    pub(super) publishes: AtomicBool,
    /// The end of the log when this node began to read it: no other node awaits reports about
    /// records up to here.
    pub(super) first_read: AtomicU64,
    /// A lock that makes attaches sequential.
    pub(super) joining: tokio::sync::Mutex<()>,
}

pub(super) struct State {
    /// The providers, by the numbers of their attaches.
    pub(super) feeds: Vec<(u64, Weak<dyn Feed>)>,
    pub(super) next: u64,
    /// The names of the providers that are or were attached.
    pub(super) known: BTreeSet<&'static str>,
    /// Cancelled when the loops are to end; `None` while they do not run.
    pub(super) running: Option<CancellationToken>,
    /// The epoch of the log that is read.
    pub(super) epoch: Option<Epoch>,
}

/// A record that was applied here, and its position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) position: Position,
    /// The id; all zeros at the start, and for a record that this node never saw: such a position
    /// counts as lost only beyond the log's end.
    pub(crate) id: EventId,
}

/// The reason why a tail is no longer followed.
pub(crate) enum TailEnd {
    /// A new epoch of the log, to which the feeds have been switched.
    NewEpoch,
    /// A record of a newer node that changes what all nodes hold, and that this one cannot read.
    Outdated(RecordError),
    /// A provider that was attached and reads from an earlier position.
    Rewind,
    Error(Error),
}

/// The applied position of the log. A task that applies a record holds its lock.
pub(crate) struct Applied {
    /// The last record that was applied.
    pub(crate) tip: Tip,
    /// Set while the tail loop does not read, or has to open a new tail: no other task applies
    /// then, and records that were read before are not applied either. While it is not set, one of
    /// the backplane's tails is this node's.
    pub(crate) held: bool,
}

/// A send that waits for its record to be applied.
pub(crate) struct Waiting {
    shared: Arc<Shared>,
    id: EventId,
    applied: oneshot::Receiver<Receipt>,
}

pub(crate) struct Waiter {
    pub(crate) done: oneshot::Sender<Receipt>,
    /// The ask that collects the connections its record matches.
    pub(crate) ask: Option<Arc<Ask>>,
    /// The moment of the send, if it is timed.
    pub(crate) sent: Stamp,
}

impl Tip {
    /// Creates the tip at a position after which nothing has been read yet, and at which there is a
    /// record with this id.
    pub(crate) fn new(position: Position, id: Option<EventId>) -> Self {
        Self { position, id: id.unwrap_or(EventId::from_bytes([0; 16])) }
    }
}

impl Shared {
    pub(super) fn new(node: NodeInfo, backplane: Arc<dyn Backplane>, directory: Arc<dyn Directory>) -> Self {
        let state = State { feeds: Vec::new(), next: 0, known: BTreeSet::new(), running: None, epoch: None };
        Self {
            backplane,
            directory,
            node,
            applied: Mutex::new(Applied { tip: Tip::new(Position::START, None), held: true }),
            state: Mutex::new(state),
            waiters: Mutex::default(),
            check_requested: Notify::new(),
            rewind_requested: Notify::new(),
            read: Notify::new(),
            collectors: Mutex::default(),
            reporters: Mutex::default(),
            probes: Probes::default(),
            propagator: OnceLock::new(),
            extent: Arc::default(),
            counters: LogCounters::default(),
            refreshes: Refreshes::default(),
            revocations: Revocations::default(),
            explains: Explains::default(),
            lives: Lives::default(),
            offline: OnceLock::new(),
            publishes: AtomicBool::new(false),
            first_read: AtomicU64::new(0),
            joining: tokio::sync::Mutex::default(),
        }
    }

    /// Locks the applied position: no other task applies meanwhile.
    pub(crate) fn lock_applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Locks the applied position, unless another task is applying a record.
    pub(crate) fn try_lock_applied(&self) -> Option<MutexGuard<'_, Applied>> {
        match self.applied.try_lock() {
            Ok(applied) => Some(applied),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// Returns the attached providers that still exist.
    pub(crate) fn feeds(&self) -> Vec<Arc<dyn Feed>> {
        self.state().feeds.iter().filter_map(|(_, feed)| feed.upgrade()).collect()
    }

    /// Sets the epoch of the log.
    pub(crate) fn set_epoch(&self, epoch: Epoch) {
        self.state().epoch = Some(epoch);
    }

    /// Returns the epoch of the log that this node reads; before any provider was attached a random
    /// one, which no log has.
    pub(crate) fn epoch(&self) -> Epoch {
        self.state().epoch.unwrap_or_else(Epoch::random)
    }

    /// Registers a send that waits for its record; must be called before the record can be applied.
    pub(crate) fn wait_for(self: &Arc<Self>, id: EventId, ask: Option<Arc<Ask>>, sent: Stamp) -> Waiting {
        let (done, applied) = oneshot::channel();
        self.waiters().insert(id, Waiter { done, ask, sent });
        Waiting { shared: Arc::clone(self), id, applied }
    }

    /// Removes and returns the waiting send of this event, if it is one of this node.
    pub(crate) fn take_waiter(&self, id: EventId) -> Option<Waiter> {
        self.waiters().remove(&id)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn waiters(&self) -> MutexGuard<'_, HashMap<EventId, Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Waits until the record is applied.
    pub(super) async fn applied(&mut self) -> Result<Receipt> {
        (&mut self.applied).await.map_err(|_| Error::OutcomeUnknown { id: self.id })
    }
}

impl Drop for Waiting {
    /// Removes the waiter when its send ends, however it ends.
    fn drop(&mut self) {
        self.shared.waiters().remove(&self.id);
    }
}
