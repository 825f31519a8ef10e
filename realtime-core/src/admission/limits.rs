use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::admission::by_tenant::{ByTenant, OfTenant};
use crate::admission::slots::{NodeSlots, Slots};
use crate::values::config::Limits;
use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::refusal::{Refusal, RefusalKind};

/// The time within which a probed client must give a sign of life.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The default limit of one user's connections, per tenant, with all providers of a service on a
/// node.
const OF_USER: usize = 30;

/// Counts connections against their limits. Apart from the hub, so that a transport can refuse
/// before an upgrade.
#[derive(Debug)]
pub struct Admission {
    /// The limit of connections in all.
    most: usize,
    /// The limit of one user's connections.
    of_user: AtomicUsize,
    /// The setting that the log names when a user has too many.
    setting: &'static str,
    /// `true` if the limit of a provider may raise the user's.
    is_default: bool,
    /// Shared by the workers of all connections.
    handlers: Arc<NodeSlots>,
    /// The handlers of one user; `None` for as many as connections.
    handlers_of_user: Option<usize>,
    handlers_of_tenant: usize,
    /// Shared by the workers of a tenant's connections.
    of_tenants: Arc<ByTenant<Slots>>,
    /// Check and insert are one critical section, so that no race admits one too many.
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
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

/// One of the node's slots.
#[derive(Debug)]
pub(crate) struct NodeSlot(Arc<Admission>);

/// The answer to a new connection that would wait.
#[derive(Debug)]
pub(crate) enum Entry {
    Admitted(Ticket),
    /// At the user's limit: the next free slot is sent here.
    Waits(oneshot::Receiver<UserSlot>),
}

impl Admission {
    /// Creates the counts for these limits.
    #[must_use]
    pub fn new(limits: Limits) -> Arc<Self> {
        Self::counting(limits, "limits.connections_per_user", false)
    }

    /// Creates the counts of each user's slots with all providers of a service on a node: so many,
    /// or 30 if `None`, and then at least as many as with any one of its providers.
    #[must_use]
    pub fn of_service(of_user: Option<usize>) -> Arc<Self> {
        let limits = Limits::default().with_connections(usize::MAX);
        let limits = limits.with_connections_per_user(of_user.unwrap_or(OF_USER));
        Self::counting(limits, "connections_per_user", of_user.is_none())
    }

    fn counting(limits: Limits, setting: &'static str, is_default: bool) -> Arc<Self> {
        Arc::new(Self {
            most: limits.connections,
            of_user: AtomicUsize::new(limits.connections_per_user),
            setting,
            is_default,
            handlers: NodeSlots::new(limits.handlers()),
            handlers_of_user: limits.handlers_per_user,
            handlers_of_tenant: limits.handlers_per_tenant(),
            of_tenants: ByTenant::new(),
            counts: Mutex::default(),
        })
    }

    /// Raises the user's limit with the whole service to that with one of its providers, unless it
    /// was set.
    pub(crate) fn raise(&self, of_user: usize) {
        if self.is_default {
            self.of_user.fetch_max(of_user, Ordering::Relaxed);
        }
    }

    /// Takes a slot for a connection of this identity. Users of one name in several tenants have
    /// slots of their own.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::NodeLimit`] or [`RefusalKind::UserLimit`].
    pub fn admit(self: &Arc<Self>, identity: &Identity) -> Result<Ticket, Refusal> {
        match self.enter(identity, false)? {
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
    /// A [`Refusal`] of kind [`RefusalKind::NodeLimit`], or of kind [`RefusalKind::UserLimit`] when
    /// too many wait.
    pub(crate) fn admit_or_wait(self: &Arc<Self>, identity: &Identity) -> Result<Entry, Refusal> {
        self.enter(identity, true)
    }

    fn enter(self: &Arc<Self>, identity: &Identity, waits: bool) -> Result<Entry, Refusal> {
        let owner = Member::of(identity);
        let mut guard = self.lock();
        let counts = &mut *guard;
        if counts.connections >= self.most {
            return Err(node_limit());
        }
        if let Some(owner) = &owner {
            let most = self.of_user.load(Ordering::Relaxed);
            let user = counts.users.entry(owner.clone()).or_default();
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
        counts.connections += 1;
        let user = owner.map(|owner| UserSlot { admission: Some(Arc::clone(self)), owner });
        Ok(Entry::Admitted(Ticket { user, node: NodeSlot(Arc::clone(self)), _of_service: None }))
    }

    /// Completes the slot of a new connection that has waited for its user's.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::NodeLimit`].
    pub(crate) fn complete(self: &Arc<Self>, slot: UserSlot) -> Result<Ticket, Refusal> {
        {
            let mut counts = self.lock();
            if counts.connections < self.most {
                counts.connections += 1;
                return Ok(Ticket { user: Some(slot), node: NodeSlot(Arc::clone(self)), _of_service: None });
            }
        }
        Err(node_limit())
    }

    /// Returns whether to ask the connections of this user for a sign of life now; `false` while an
    /// earlier round has time.
    pub(crate) fn begins_probe(&self, identity: &Identity) -> bool {
        let mut counts = self.lock();
        let Some(user) = Member::of(identity).and_then(|owner| counts.users.get_mut(&owner)) else { return false };
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
                let mut counts = self.lock();
                let Some(user) = counts.users.get_mut(owner) else { return };
                let Some(next) = user.waiting.pop_front() else {
                    user.connections -= 1;
                    counts.forget(owner);
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
        let mut counts = self.lock();
        let user = counts.users.entry(owner.clone()).or_default();
        user.slots.upgrade().unwrap_or_else(|| {
            let most = self.handlers_of_user.unwrap_or_else(|| self.of_user.load(Ordering::Relaxed));
            let slots = Arc::new(HandlerSlots::new(most, Arc::clone(self), owner.clone()));
            user.slots = Arc::downgrade(&slots);
            slots
        })
    }

    /// Returns the number of workers that wait for a handler slot.
    pub(crate) fn waiting_workers(&self) -> usize {
        self.handlers.workers.load(Ordering::Relaxed)
    }

    /// Forgets a user without counts.
    pub(crate) fn forget(&self, owner: &Member) {
        self.lock().forget(owner);
    }

    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
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
        let node = &self.node.0;
        node.of_tenants.of(tenant, || Slots::new(node.handlers_of_tenant))
    }

    /// Returns the handler slots of the node.
    pub(crate) fn slots_of_node(&self) -> Arc<NodeSlots> {
        Arc::clone(&self.node.0.handlers)
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
        self.0.lock().connections -= 1;
    }
}

fn node_limit() -> Refusal {
    Refusal::new(RefusalKind::NodeLimit, "this node accepts no more connections")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, of_user: usize) -> Arc<Admission> {
        Admission::new(Limits::default().with_connections(connections).with_connections_per_user(of_user))
    }

    fn turn(admission: &Arc<Admission>, identity: &Identity) -> oneshot::Receiver<UserSlot> {
        match admission.admit_or_wait(identity) {
            Ok(Entry::Waits(turn)) => turn,
            other => panic!("does not wait: {other:?}"),
        }
    }

    #[test]
    fn slots_are_counted_and_freed() {
        let admission = admission(3, 2);
        let ann = Identity::user("ann");
        let first = admission.admit(&ann).unwrap();
        let _second = admission.admit(&ann).unwrap();
        assert_eq!(admission.admit(&ann).unwrap_err().kind(), RefusalKind::UserLimit);
        let _third = admission.admit(&Identity::anonymous()).unwrap();
        assert_eq!(admission.admit(&Identity::anonymous()).unwrap_err().kind(), RefusalKind::NodeLimit);
        drop(first);
        assert!(admission.admit(&ann).is_ok());
    }

    #[test]
    fn provider_raises_the_unset_limit_of_its_service() {
        for (set, own, expected) in [(None, 10, 30), (None, 50, 50), (Some(20), 50, 20)] {
            let service = Admission::of_service(set);
            service.raise(own);
            assert_eq!(service.of_user.load(Ordering::Relaxed), expected);
        }
    }

    #[test]
    fn each_tenant_has_slots_of_its_own_for_a_user_name() {
        let admission = admission(10, 1);
        let ann = || Identity::user("ann");
        let tickets = [ann(), ann().with_tenant("acme"), ann().with_tenant("globex")].map(|ann| admission.admit(&ann));
        assert!(tickets.iter().all(Result::is_ok));
        assert_eq!(admission.admit(&ann().with_tenant("acme")).unwrap_err().kind(), RefusalKind::UserLimit);
    }

    #[test]
    fn free_slot_goes_to_the_longest_waiting_connection() {
        let admission = admission(10, 2);
        let ann = Identity::user("ann");
        let mut tickets = [admission.admit(&ann).unwrap(), admission.admit(&ann).unwrap()].into_iter();
        let (first, mut second) = (turn(&admission, &ann), turn(&admission, &ann));
        assert_eq!(
            admission.admit_or_wait(&ann).unwrap_err().kind(),
            RefusalKind::UserLimit,
            "as many wait as there are slots"
        );
        assert!(second.try_recv().is_err());
        drop(first);
        let third = turn(&admission, &ann);
        drop(tickets.next());
        let second = admission.complete(second.try_recv().unwrap()).unwrap();
        assert_eq!(admission.admit(&ann).unwrap_err().kind(), RefusalKind::UserLimit, "it was passed on");
        // Sent and never received: it is freed.
        drop(second);
        drop(third);
        assert!(admission.admit(&ann).is_ok());
        drop(tickets);
        assert!(admission.lock().users.is_empty());
        assert_eq!(admission.lock().connections, 0);
    }

    #[test]
    fn waiting_connection_may_find_the_node_full() {
        let admission = admission(2, 1);
        let ann = Identity::user("ann");
        let ticket = admission.admit(&ann).unwrap();
        let mut turn = turn(&admission, &ann);
        let _bob = admission.admit(&Identity::user("bob")).unwrap();
        drop(ticket);
        let _eve = admission.admit(&Identity::user("eve")).unwrap();
        let refusal = admission.complete(turn.try_recv().unwrap()).unwrap_err();
        assert_eq!(refusal.kind(), RefusalKind::NodeLimit);
        assert_eq!(admission.lock().users.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn probes_run_one_round_at_a_time() {
        let admission = admission(10, 1);
        let [ann, bob] = ["ann", "bob"].map(Identity::user);
        assert!(!admission.begins_probe(&ann), "no connection");
        let _places = [admission.admit(&ann).unwrap(), admission.admit(&bob).unwrap()];
        assert_eq!([&ann, &ann, &bob].map(|user| admission.begins_probe(user)), [true, false, true]);
        tokio::time::sleep(PROBE_TIMEOUT).await;
        assert_eq!([&ann, &ann].map(|user| admission.begins_probe(user)), [true, false]);
    }
}
