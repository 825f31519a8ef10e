use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Semaphore, oneshot};
use tokio::time::Instant;

use crate::values::config::Limits;
use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::refusal::{Refusal, RefusalKind};

/// How long a client that is probed has to give a sign of life.
pub const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The connections of one user, of one tenant, with all providers of a service on a node, by default.
const OF_USER: usize = 30;

/// Counts connections against their limits. Apart from the hub, so that a transport can refuse before an upgrade.
#[derive(Debug)]
pub struct Admission {
    /// Connections in all.
    most: usize,
    /// Connections of one user.
    of_user: AtomicUsize,
    /// What the log names where a user has too many.
    setting: &'static str,
    /// Whether the limit of a provider may raise it.
    is_default: bool,
    /// What the workers of all connections share: as many handlers run as connections may be here.
    handlers: Arc<Semaphore>,
    /// Check and insert are one critical section, so no race lets one too many in.
    counts: Mutex<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    users: HashMap<Member, OfUser>,
}

/// What is counted of one tenant's user, or of one without a tenant.
#[derive(Debug, Default)]
struct OfUser {
    connections: usize,
    /// Newcomers that wait for a place, the first one first.
    waiting: VecDeque<oneshot::Sender<UserPlace>>,
    /// What the workers share.
    slots: Weak<Slots>,
    /// When the connections were last asked for a sign of life.
    probed: Option<Instant>,
}

/// The handlers that one user may have running at a time.
#[derive(Debug)]
pub(crate) struct Slots {
    pub(crate) free: Arc<Semaphore>,
    /// Workers that wait for one.
    pub(crate) waiting: AtomicUsize,
    admission: Arc<Admission>,
    owner: Member,
}

/// A counted place; dropping it gives the place back.
#[derive(Debug)]
pub struct Ticket {
    user: Option<UserPlace>,
    node: NodePlace,
    /// Its place in the service.
    _of_service: Option<Box<Ticket>>,
}

/// One of a user's places; given back it goes to the newcomer that has waited for longest.
#[derive(Debug)]
pub(crate) struct UserPlace {
    /// None once it has been passed on.
    admission: Option<Arc<Admission>>,
    owner: Member,
}

/// One of the node's places.
#[derive(Debug)]
pub(crate) struct NodePlace(Arc<Admission>);

/// What a newcomer gets that would wait.
#[derive(Debug)]
pub(crate) enum Entry {
    Place(Ticket),
    /// The place comes here.
    Wait(oneshot::Receiver<UserPlace>),
}

impl Admission {
    /// Counts from zero.
    pub fn new(limits: Limits) -> Arc<Self> {
        Self::counting(limits.connections, limits.connections_per_user, "limits.connections_per_user", false)
    }

    /// The places that each user has with all providers of a service on a node: so many, or 30, and at least as many as with
    /// any one of its providers.
    pub fn of_service(of_user: Option<usize>) -> Arc<Self> {
        Self::counting(usize::MAX, of_user.unwrap_or(OF_USER), "connections_per_user", of_user.is_none())
    }

    fn counting(most: usize, of_user: usize, setting: &'static str, is_default: bool) -> Arc<Self> {
        let handlers = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Arc::new(Self {
            most,
            of_user: AtomicUsize::new(of_user),
            setting,
            is_default,
            handlers,
            counts: Mutex::default(),
        })
    }

    /// Lets a user have as many connections with the whole service as with one of its providers, where nobody has set less.
    pub(crate) fn raise(&self, of_user: usize) {
        if self.is_default {
            self.of_user.fetch_max(of_user, Ordering::Relaxed);
        }
    }

    /// Takes a place for a connection of this identity. Users of one name in several tenants have places of their own.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::NodeLimit`] or [`RefusalKind::UserLimit`].
    pub fn admit(self: &Arc<Self>, identity: &Identity) -> Result<Ticket, Refusal> {
        match self.enter(identity, false)? {
            Entry::Place(ticket) => Ok(ticket),
            Entry::Wait(_) => Err(self.user_limit()),
        }
    }

    /// What one is told who finds no place of its user.
    pub(crate) fn user_limit(&self) -> Refusal {
        Refusal::new(RefusalKind::UserLimit, "this user has too many connections").with_setting(self.setting)
    }

    /// Takes a place, or waits for the next one of this user that is given back; as many may wait as have places.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::NodeLimit`], or of kind [`RefusalKind::UserLimit`] when too many wait.
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
                user.waiting.retain(|newcomer| !newcomer.is_closed());
                if !waits || user.waiting.len() >= most {
                    return Err(self.user_limit());
                }
                let (newcomer, turn) = oneshot::channel();
                user.waiting.push_back(newcomer);
                return Ok(Entry::Wait(turn));
            }
            user.connections += 1;
        }
        counts.connections += 1;
        let user = owner.map(|owner| UserPlace { admission: Some(Arc::clone(self)), owner });
        Ok(Entry::Place(Ticket { user, node: NodePlace(Arc::clone(self)), _of_service: None }))
    }

    /// The whole place of a newcomer that has waited for its user's.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::NodeLimit`].
    pub(crate) fn complete(self: &Arc<Self>, place: UserPlace) -> Result<Ticket, Refusal> {
        {
            let mut counts = self.lock();
            if counts.connections < self.most {
                counts.connections += 1;
                return Ok(Ticket { user: Some(place), node: NodePlace(Arc::clone(self)), _of_service: None });
            }
        }
        Err(node_limit())
    }

    /// Whether the connections of this user are to be asked for a sign of life now; false while they have time to give one.
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

    /// A user's place goes to whoever has waited for it, or is free.
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
            // Not under the lock: a place that nobody waits for any more comes back.
            let Err(mut place) = next.send(UserPlace { admission: Some(Arc::clone(self)), owner: owner.clone() })
            else {
                return;
            };
            place.admission = None;
        }
    }

    /// What the workers of this user share, made by the first one.
    fn slots(self: &Arc<Self>, owner: &Member) -> Arc<Slots> {
        let mut counts = self.lock();
        let user = counts.users.entry(owner.clone()).or_default();
        user.slots.upgrade().unwrap_or_else(|| {
            let slots = Arc::new(Slots::new(self.of_user.load(Ordering::Relaxed), Arc::clone(self), owner.clone()));
            user.slots = Arc::downgrade(&slots);
            slots
        })
    }

    /// Forgets a user of whom nothing is counted.
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
    /// With its place in the service, which it gives back with its own.
    pub(crate) fn within(self, of_service: Self) -> Self {
        Self { _of_service: Some(Box::new(of_service)), ..self }
    }

    /// What the connection's worker shares with the user's others, and with the node's.
    pub(crate) fn shared(&self) -> (Option<Arc<Slots>>, Arc<Semaphore>) {
        let slots = self.user.as_ref().and_then(|place| Some(place.admission.as_ref()?.slots(&place.owner)));
        (slots, Arc::clone(&self.node.0.handlers))
    }
}

impl Slots {
    fn new(most: usize, admission: Arc<Admission>, owner: Member) -> Self {
        let free = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { free, waiting: AtomicUsize::new(0), admission, owner }
    }
}

impl Drop for Slots {
    fn drop(&mut self) {
        self.admission.forget(&self.owner);
    }
}

impl Drop for UserPlace {
    fn drop(&mut self) {
        if let Some(admission) = self.admission.take() {
            admission.give_back(&self.owner);
        }
    }
}

impl Drop for NodePlace {
    fn drop(&mut self) {
        self.0.lock().connections -= 1;
    }
}

fn node_limit() -> Refusal {
    Refusal::new(RefusalKind::NodeLimit, "this node takes no more connections")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(connections: usize, of_user: usize) -> Arc<Admission> {
        Admission::new(Limits::default().with_connections(connections).with_connections_per_user(of_user))
    }

    fn turn(admission: &Arc<Admission>, identity: &Identity) -> oneshot::Receiver<UserPlace> {
        match admission.admit_or_wait(identity) {
            Ok(Entry::Wait(turn)) => turn,
            other => panic!("does not wait: {other:?}"),
        }
    }

    #[test]
    fn places_are_counted_and_given_back() {
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
    fn a_provider_raises_the_places_of_a_service_where_nobody_has_set_them() {
        for (set, own, expected) in [(None, 10, 30), (None, 50, 50), (Some(20), 50, 20)] {
            let places = Admission::of_service(set);
            places.raise(own);
            assert_eq!(places.of_user.load(Ordering::Relaxed), expected);
        }
    }

    #[test]
    fn users_of_one_name_in_several_tenants_have_places_of_their_own() {
        let admission = admission(10, 1);
        let ann = || Identity::user("ann");
        let places = [ann(), ann().with_tenant("acme"), ann().with_tenant("globex")].map(|ann| admission.admit(&ann));
        assert!(places.iter().all(Result::is_ok));
        assert_eq!(admission.admit(&ann().with_tenant("acme")).unwrap_err().kind(), RefusalKind::UserLimit);
    }

    #[test]
    fn a_free_place_goes_to_who_has_waited_for_longest() {
        let admission = admission(10, 2);
        let ann = Identity::user("ann");
        let mut places = [admission.admit(&ann).unwrap(), admission.admit(&ann).unwrap()].into_iter();
        let (given_up, mut second) = (turn(&admission, &ann), turn(&admission, &ann));
        assert_eq!(admission.admit_or_wait(&ann).unwrap_err().kind(), RefusalKind::UserLimit, "as many as have places");
        assert!(second.try_recv().is_err());
        drop(given_up);
        let third = turn(&admission, &ann);
        drop(places.next());
        let second = admission.complete(second.try_recv().unwrap()).unwrap();
        assert_eq!(admission.admit(&ann).unwrap_err().kind(), RefusalKind::UserLimit, "it was passed on");
        // Sent and never looked at: it comes back.
        drop(second);
        drop(third);
        assert!(admission.admit(&ann).is_ok());
        drop(places);
        assert!(admission.lock().users.is_empty());
        assert_eq!(admission.lock().connections, 0);
    }

    #[test]
    fn who_has_waited_may_find_the_node_full() {
        let admission = admission(2, 1);
        let ann = Identity::user("ann");
        let place = admission.admit(&ann).unwrap();
        let mut turn = turn(&admission, &ann);
        let _bob = admission.admit(&Identity::user("bob")).unwrap();
        drop(place);
        let _eve = admission.admit(&Identity::user("eve")).unwrap();
        let refusal = admission.complete(turn.try_recv().unwrap()).unwrap_err();
        assert_eq!(refusal.kind(), RefusalKind::NodeLimit);
        assert_eq!(admission.lock().users.len(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn one_round_of_probes_is_under_way_at_a_time() {
        let admission = admission(10, 1);
        let [ann, bob] = ["ann", "bob"].map(Identity::user);
        assert!(!admission.begins_probe(&ann), "nobody is there");
        let _places = [admission.admit(&ann).unwrap(), admission.admit(&bob).unwrap()];
        assert_eq!([&ann, &ann, &bob].map(|user| admission.begins_probe(user)), [true, false, true]);
        tokio::time::sleep(PROBE_TIMEOUT).await;
        assert_eq!([&ann, &ann].map(|user| admission.begins_probe(user)), [true, false]);
    }
}
