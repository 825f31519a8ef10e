//! What the handles and the loops of a log share: how far it has been applied, who gets its records, and who waits for one.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::{Notify, oneshot};
use tokio_util::sync::CancellationToken;

use crate::log::backplane::Backplane;
use crate::log::directory::NodeId;
use crate::log::feed::Feed;
use crate::values::ack::Ask;
use crate::values::cursor::Epoch;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::position::Position;
use crate::values::receipt::Receipt;

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
    pub(super) joining: tokio::sync::Mutex<()>,
}

pub(super) struct State {
    /// The providers, by the numbers of their attaches.
    pub(super) feeds: Vec<(u64, Weak<dyn Feed>)>,
    pub(super) next: u64,
    /// The names of the providers that are or were attached.
    pub(super) known: BTreeSet<&'static str>,
    /// Cancelled when the loops are to end; none while they do not run.
    pub(super) running: Option<CancellationToken>,
    /// The life of the log that is read.
    pub(super) epoch: Option<Epoch>,
    pub(super) node: Option<NodeId>,
}

/// A record that was applied here, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) position: Position,
    /// All zeros at the start, and for a record that this node never saw: such a place is lost only beyond the end.
    pub(crate) id: EventId,
}

/// How far the log has been applied. Whoever applies a record holds its lock.
pub(crate) struct Applied {
    /// The last record that was applied.
    pub(crate) tip: Tip,
    /// The tail loop does not read, or has to begin anew: nobody else applies, and what it has read before is not applied
    /// either. While it is not set, one of the backplane's tails is this node's.
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
    /// An ask to be told of the connections its record matches.
    pub(crate) ask: Option<Arc<Ask>>,
}

impl Tip {
    /// Nothing has been read yet after this place, at which there is a record with this id.
    pub(crate) fn new(position: Position, id: Option<EventId>) -> Self {
        Self { position, id: id.unwrap_or(EventId::from_bytes([0; 16])) }
    }
}

impl Shared {
    pub(super) fn new(backplane: Arc<dyn Backplane>) -> Self {
        let state =
            State { feeds: Vec::new(), next: 0, known: BTreeSet::new(), running: None, epoch: None, node: None };
        Self {
            backplane,
            applied: Mutex::new(Applied { tip: Tip::new(Position::START, None), held: true }),
            state: Mutex::new(state),
            waiters: Mutex::default(),
            look_wanted: Notify::new(),
            rewind_wanted: Notify::new(),
            read: Notify::new(),
            joining: tokio::sync::Mutex::default(),
        }
    }

    /// Keeps everybody else from applying.
    pub(crate) fn lock_applied(&self) -> MutexGuard<'_, Applied> {
        self.applied.lock().unwrap_or_else(PoisonError::into_inner)
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

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn waiters(&self) -> MutexGuard<'_, HashMap<EventId, Waiter>> {
        self.waiters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Waits until it is applied.
    pub(super) async fn applied(&mut self) -> Result<Receipt> {
        (&mut self.applied).await.map_err(|_| Error::OutcomeUnknown { id: self.id })
    }
}

impl Drop for Waiting {
    /// Takes the waiter away when its send ends, however it ends.
    fn drop(&mut self) {
        self.shared.waiters().remove(&self.id);
    }
}
