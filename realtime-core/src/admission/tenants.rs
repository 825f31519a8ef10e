//! The inbound budgets of tenants on a node: what one tenant's clients may send, with all providers
//! of a service together.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::admission::by_tenant::{ByTenant, OfTenant};
use crate::admission::rate::{Budget, Owed};
use crate::admission::slots::Waiting;
use crate::values::inbound_rate::InboundRate;

/// The budgets of the tenants that are connected to a node of a service.
pub struct Tenants {
    rate: InboundRate,
    budgets: Arc<ByTenant<TenantBudget>>,
}

/// The budget of one tenant. Connections that wait for it are served in turn.
pub(crate) struct TenantBudget {
    budget: Budget,
    /// One permit: who has it is the first of those that wait.
    turn: Semaphore,
    waiting: AtomicUsize,
}

/// A connection's turn at its tenant's budget.
pub(crate) struct Turn<'a> {
    tenant: &'a TenantBudget,
    _waiting: Waiting<'a>,
    _permit: Option<SemaphorePermit<'a>>,
}

impl Tenants {
    /// Creates the budgets of a service; each tenant has this rate.
    #[must_use]
    pub fn new(rate: InboundRate) -> Arc<Self> {
        // A tenant gets no new budget by reconnecting, as long as the table has room for its own.
        let budgets = ByTenant::keeping(rate.refill_time());
        Arc::new(Self { rate, budgets })
    }

    /// Returns the budget of a tenant; none if there is no bound.
    pub(crate) fn budget_of(&self, tenant: Option<&str>) -> Option<Arc<OfTenant<TenantBudget>>> {
        let tenant = tenant.filter(|_| !self.rate.is_unlimited())?;
        Some(self.budgets.of(tenant, || TenantBudget {
            budget: Budget::new(&self.rate, 0),
            turn: Semaphore::new(1),
            waiting: AtomicUsize::new(0),
        }))
    }
}

impl TenantBudget {
    /// Pays what is owed if nobody waits. Returns whether nothing is owed any more.
    pub(crate) fn try_pay(&self, owed: &mut Owed) -> bool {
        owed.is_paid() || (self.waiting.load(Ordering::Relaxed) == 0 && self.budget.pay(owed).is_none())
    }

    /// Waits until those that came before have paid.
    pub(crate) async fn turn(&self) -> Turn<'_> {
        let waiting = Waiting::new(&self.waiting);
        // It is never closed.
        Turn { tenant: self, _waiting: waiting, _permit: self.turn.acquire().await.ok() }
    }
}

impl Turn<'_> {
    /// Pays what is owed, as [`Budget::pay`].
    pub(crate) fn pay(&self, owed: &mut Owed) -> Option<Duration> {
        self.tenant.budget.pay(owed)
    }
}

impl std::fmt::Debug for Tenants {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tenants").field("rate", &self.rate).finish_non_exhaustive()
    }
}
