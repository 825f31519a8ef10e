use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admission::by_tenant::OfTenant;
use crate::admission::counts::{Bounds, Counts, Place};
use crate::admission::slots::{NodeSlots, Slots, SlotsOfHandlers};
use crate::values::config::Limits;
use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::refusal::{Refusal, RefusalKind};
use crate::values::service_limits::ServiceLimits;

/// The time within which a probed client must give a sign of life.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The default limit of one user's connections, per tenant, with all providers of a service on a
/// node.
const OF_USER: usize = 30;
/// The default limit of the connections of one address with all providers of a service on a node.
const OF_ADDRESS: usize = 1_000;

/// Counts connections against their limits. Apart from the hub, so that a transport can refuse
/// before an upgrade.
#[derive(Debug)]
pub struct Admission {
    /// The limits of connections in all, of a tenant and of an address.
    bounds: Bounds,
    /// The limit of one user's connections.
    of_user: AtomicUsize,
    /// The setting that the log names when a user has too many.
    setting: &'static str,
    /// `true` if the limit of a provider may raise the user's.
    is_default: bool,
    /// `true` if the limit of a tenant was set, and so replaces those of the providers.
    sets_tenants: bool,
    handlers: SlotsOfHandlers,
    /// Check and insert are one critical section, so that no race admits one too many.
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    counts: Counts,
    users: HashMap<Member, OfUser>,
}

/// The counts of one tenant's user, or of one without a tenant.
#[derive(Debug, Default)]
struct OfUser {
    connections: usize,
    /// New connections that wait for a slot, the first one first.
    waiting: VecDeque<oneshot::Sender<UserSlot>>,
    /// Shared by the workers.
    slots: Weak<HandlerSlots>,
    /// The time when the connections were last asked for a sign of life.
    probed: Option<Instant>,
}

/// The handlers that one user may have running at a time.
#[derive(Debug)]
pub(crate) struct HandlerSlots {
    pub(crate) slots: Slots,
    admission: Arc<Admission>,
    owner: Member,
}

/// A connection's counted slot; dropping it frees the slot.
#[derive(Debug)]
pub struct Ticket {
    user: Option<UserSlot>,
    node: NodeSlot,
    /// The slot of the service.
    _of_service: Option<Box<Ticket>>,
}

/// One of a user's slots; once freed it goes to the new connection that has waited for longest.
#[derive(Debug)]
pub(crate) struct UserSlot {
    /// `None` once the slot has been passed on.
    admission: Option<Arc<Admission>>,
    owner: Member,
}

/// One of the slots of the node, of a tenant and of an address.
#[derive(Debug)]
pub(crate) struct NodeSlot {
    admission: Arc<Admission>,
    place: Place,
}

/// The answer to a new connection that would wait.
#[derive(Debug)]
pub(crate) enum Entry {
    Admitted(Ticket),
    /// At the user's limit: the next free slot is sent here.
    Waits(oneshot::Receiver<UserSlot>),
}

impl Admission {
    /// Creates the counts for these limits. One tenant may have half of the connections, unless the
    /// service's limit of a tenant is set.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        let bounds = Bounds {
            connections: limits.connections,
            of_tenant: AtomicUsize::new(limits.connections.div_ceil(2)),
            of_address: usize::MAX,
            address_is_default: false,
        };
        Self::counting(bounds, limits, "limits.connections_per_user", false, false)
    }

    /// Creates the counts with all providers of a service on a node. Of a user whose limit is not
    /// set there are 30, and at least as many as with any one of its providers; of an address
    /// 1,000, except of this host.
    #[must_use]
    pub fn of_service(limits: ServiceLimits) -> Arc<Self> {
        let bounds = Bounds {
            connections: usize::MAX,
            of_tenant: AtomicUsize::new(limits.connections_per_tenant.unwrap_or(usize::MAX)),
            of_address: limits.connections_per_address.unwrap_or(OF_ADDRESS),
            address_is_default: limits.connections_per_address.is_none(),
        };
        let (of_user, sets_tenants) = (limits.connections_per_user, limits.connections_per_tenant.is_some());
        let of_all = Limits::default().with_connections(usize::MAX);
        let of_all = of_all.with_connections_per_user(of_user.unwrap_or(OF_USER));
        Self::counting(bounds, of_all, "connections_per_user", of_user.is_none(), sets_tenants)
    }

    fn counting(
        bounds: Bounds,
        limits: Limits,
        setting: &'static str,
        is_default: bool,
        sets_tenants: bool,
    ) -> Arc<Self> {
        Arc::new(Self {
            bounds,
            of_user: AtomicUsize::new(limits.connections_per_user),
            setting,
            is_default,
            sets_tenants,
            handlers: SlotsOfHandlers::new(&limits),
            table: Mutex::default(),
        })
    }

    /// Has the limits of the service that were set replace the defaults of this provider, and this
    /// provider's limit of a user raise the service's, unless that was set.
    pub(crate) fn join(&self, service: &Self, of_user: usize) {
        service.raise(of_user);
        if service.sets_tenants {
            self.bounds.of_tenant.store(usize::MAX, Ordering::Relaxed);
        }
    }

    /// Raises the user's limit with the whole service to that with one of its providers, unless it
    /// was set.
    fn raise(&self, of_user: usize) {
        if self.is_default {
            self.of_user.fetch_max(of_user, Ordering::Relaxed);
        }
    }

    /// Checks that there is room for one more connection from this address, whoever it is.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::NodeLimit`] or [`RefusalKind::AddressLimit`].
    pub(crate) fn check_address(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.lock().counts.check(&self.bounds, &self.bounds.stranger(address))
    }

    /// Takes a slot for a connection of this identity, from this address if it is known. Users of
    /// one name in several tenants have slots of their own.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::NodeLimit`], [`RefusalKind::AddressLimit`],
    /// [`RefusalKind::TenantLimit`] or [`RefusalKind::UserLimit`].
    pub fn admit(self: &Arc<Self>, identity: &Identity, address: Option<IpAddr>) -> Result<Ticket, Refusal> {
        match self.enter(identity, address, false)? {
            Entry::Admitted(ticket) => Ok(ticket),
            Entry::Waits(_) => Err(self.user_limit()),
        }
    }

    /// Returns the refusal at a user's limit.
    pub(crate) fn user_limit(&self) -> Refusal {
        Refusal::new(RefusalKind::UserLimit, "this user has too many connections").with_setting(self.setting)
    }

    /// Returns how many connections a user of a tenant, or without a tenant, has, and may have.
    pub(crate) fn connections_of(&self, member: &Member) -> (usize, usize) {
        let here = self.lock().users.get(member).map_or(0, |user| user.connections);
        (here, self.of_user.load(Ordering::Relaxed))
    }

    /// Takes a slot, or waits for the next one of this user that is freed; as many may wait as
    /// there are slots.
    ///
    /// # Errors
    /// Those of [`Admission::admit`]; of kind [`RefusalKind::UserLimit`] when too many wait.
    pub(crate) fn admit_or_wait(
        self: &Arc<Self>,
        identity: &Identity,
        address: Option<IpAddr>,
    ) -> Result<Entry, Refusal> {
        self.enter(identity, address, true)
    }

    fn enter(self: &Arc<Self>, identity: &Identity, address: Option<IpAddr>, waits: bool) -> Result<Entry, Refusal> {
        let (owner, place) = (Member::of(identity), self.bounds.place(identity, address));
        let mut guard = self.lock();
        let table = &mut *guard;
        table.counts.check(&self.bounds, &place)?;
        if let Some(owner) = &owner {
            let most = self.of_user.load(Ordering::Relaxed);
            let user = table.users.entry(owner.clone()).or_default();
            if user.connections >= most {
                user.waiting.retain(|waiter| !waiter.is_closed());
                if !waits || user.waiting.len() >= most {
                    return Err(self.user_limit());
                }
                let (waiter, turn) = oneshot::channel();
                user.waiting.push_back(waiter);
                return Ok(Entry::Waits(turn));
            }
            user.connections += 1;
        }
        table.counts.add(&place);
        let user = owner.map(|owner| UserSlot { admission: Some(Arc::clone(self)), owner });
        Ok(Entry::Admitted(self.ticket(user, place)))
    }

    /// Returns the ticket of a connection that is counted.
    fn ticket(self: &Arc<Self>, user: Option<UserSlot>, place: Place) -> Ticket {
        Ticket { user, node: NodeSlot { admission: Arc::clone(self), place }, _of_service: None }
    }

    /// Completes the slot of a new connection that has waited for its user's.
    ///
    /// # Errors
    /// A [`Refusal`] of another kind than [`RefusalKind::UserLimit`].
    pub(crate) fn complete(
        self: &Arc<Self>,
        slot: UserSlot,
        identity: &Identity,
        address: Option<IpAddr>,
    ) -> Result<Ticket, Refusal> {
        let place = self.bounds.place(identity, address);
        {
            let mut table = self.lock();
            table.counts.check(&self.bounds, &place)?;
            table.counts.add(&place);
        }
        Ok(self.ticket(Some(slot), place))
    }

    /// Returns whether to ask the connections of this user for a sign of life now; `false` while an
    /// earlier round has time.
    pub(crate) fn try_start_probe(&self, identity: &Identity) -> bool {
        let mut table = self.lock();
        let Some(user) = Member::of(identity).and_then(|owner| table.users.get_mut(&owner)) else { return false };
        let now = Instant::now();
        let is_due = user.probed.is_none_or(|probed| now.saturating_duration_since(probed) >= PROBE_TIMEOUT);
        if is_due {
            user.probed = Some(now);
        }
        is_due
    }

    /// Frees a user's slot, or passes it on to the new connection that has waited for longest.
    fn give_back(self: &Arc<Self>, owner: &Member) {
        loop {
            let next = {
                let mut table = self.lock();
                let Some(user) = table.users.get_mut(owner) else { return };
                let Some(next) = user.waiting.pop_front() else {
                    user.connections -= 1;
                    table.forget(owner);
                    return;
                };
                next
            };
            // Not under the lock: if the connection does not wait any more, the slot is returned.
            let Err(mut slot) = next.send(UserSlot { admission: Some(Arc::clone(self)), owner: owner.clone() }) else {
                return;
            };
            slot.admission = None;
        }
    }

    /// Returns the handler slots of this user, created by the first worker.
    fn handler_slots(self: &Arc<Self>, owner: &Member) -> Arc<HandlerSlots> {
        let mut table = self.lock();
        let user = table.users.entry(owner.clone()).or_default();
        user.slots.upgrade().unwrap_or_else(|| {
            let most = self.handlers.of_user.unwrap_or_else(|| self.of_user.load(Ordering::Relaxed));
            let slots = Arc::new(HandlerSlots::new(most, Arc::clone(self), owner.clone()));
            user.slots = Arc::downgrade(&slots);
            slots
        })
    }

    /// Returns the number of workers that wait for a handler slot.
    pub(crate) fn waiting_workers(&self) -> usize {
        self.handlers.node.workers.load(Ordering::Relaxed)
    }

    /// Forgets a user without counts.
    pub(crate) fn forget(&self, owner: &Member) {
        self.lock().forget(owner);
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget(&mut self, owner: &Member) {
        if let Some(user) = self.users.get(owner)
            && user.connections == 0
            && user.slots.strong_count() == 0
        {
            self.users.remove(owner);
        }
    }
}

impl Ticket {
    /// Adds a slot of the service, which is freed together with this one.
    pub(crate) fn within(self, of_service: Self) -> Self {
        Self { _of_service: Some(Box::new(of_service)), ..self }
    }

    /// Returns the handler slots of the user, which the workers of its connections share.
    pub(crate) fn slots_of_user(&self) -> Option<Arc<HandlerSlots>> {
        self.user.as_ref().and_then(|slot| Some(slot.admission.as_ref()?.handler_slots(&slot.owner)))
    }

    /// Returns the handler slots of a tenant.
    pub(crate) fn slots_of_tenant(&self, tenant: &str) -> Arc<OfTenant<Slots>> {
        self.node.admission.handlers.of_tenant(tenant)
    }

    /// Returns the handler slots of the node.
    pub(crate) fn slots_of_node(&self) -> Arc<NodeSlots> {
        Arc::clone(&self.node.admission.handlers.node)
    }
}

impl HandlerSlots {
    fn new(most: usize, admission: Arc<Admission>, owner: Member) -> Self {
        Self { slots: Slots::new(most), admission, owner }
    }
}

impl Drop for HandlerSlots {
    fn drop(&mut self) {
        self.admission.forget(&self.owner);
    }
}

impl Drop for UserSlot {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.give_back(&self.owner);
        }
    }
}

impl Drop for NodeSlot {
    fn drop(&mut self) {
        self.admission.lock().counts.remove(&self.place);
    }
}

#[cfg(test)]
mod tests;
