//! Limits of running handlers: of one user, of one tenant, and on the node, those of disconnected
//! connections included.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use crate::admission::by_tenant::OfTenant;
use crate::admission::limits::{HandlerSlots, Ticket};
use crate::admission::slots::{NodeSlots, Slots, Waiting};

/// The access of one connection's worker to handler slots.
#[derive(Default)]
pub(crate) struct Work {
    /// `None` for a connection without a user.
    of_user: Option<Arc<HandlerSlots>>,
    /// `None` for a connection without a tenant.
    of_tenant: Option<Arc<OfTenant<Slots>>>,
    /// `None` for a connection that has left the hub.
    of_node: Option<Arc<NodeSlots>>,
}

/// A handler slot, of the user, the tenant and the node: the right to run handlers, one after the
/// other.
#[derive(Debug)]
pub(crate) struct Busy {
    _of_user: Option<OwnedSemaphorePermit>,
    _of_tenant: Option<OwnedSemaphorePermit>,
    _of_node: OwnedSemaphorePermit,
}

impl Work {
    /// Creates the access for the connection with this ticket.
    pub(crate) fn of(ticket: &Ticket, tenant: Option<&str>) -> Self {
        Self {
            of_user: ticket.slots_of_user(),
            of_tenant: tenant.map(|tenant| ticket.slots_of_tenant(tenant)),
            of_node: Some(ticket.slots_of_node()),
        }
    }

    /// Takes a slot; `None` when too many handlers run, of the user, the tenant or on the node.
    pub(crate) fn try_begin(&self) -> Option<Busy> {
        let of_user = match &self.of_user {
            Some(of_user) => Some(of_user.slots.try_take()?),
            None => None,
        };
        let of_tenant = match &self.of_tenant {
            Some(slots) => Some(slots.try_take()?),
            None => None,
        };
        let of_node = self.of_node.as_ref()?.slots.try_take()?;
        Some(Busy { _of_user: of_user, _of_tenant: of_tenant, _of_node: of_node })
    }

    /// Waits for a slot; `None` when the connection has left the hub.
    ///
    /// Those of a tenant wait for the node's with a slot of the tenant's, so that never more of
    /// them are before another tenant's than may run.
    pub(crate) async fn begin(&self) -> Option<Busy> {
        let node = self.of_node.as_ref()?;
        let _waiting = Waiting::new(&node.workers);
        let of_user = match &self.of_user {
            Some(of_user) => Some(of_user.slots.take().await?),
            None => None,
        };
        let of_tenant = match &self.of_tenant {
            Some(slots) => Some(slots.take().await?),
            None => None,
        };
        let of_node = node.slots.take().await?;
        Some(Busy { _of_user: of_user, _of_tenant: of_tenant, _of_node: of_node })
    }

    /// Returns whether other workers wait for a slot that this one has.
    pub(crate) fn is_contended(&self) -> bool {
        self.of_user.as_ref().is_some_and(|of_user| of_user.slots.is_contended())
            || self.of_tenant.as_ref().is_some_and(|slots| slots.is_contended())
            || self.of_node.as_ref().is_some_and(|node| node.slots.is_contended())
    }
}

impl std::fmt::Debug for Work {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").field("contended", &self.is_contended()).finish_non_exhaustive()
    }
}
