use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use realtime_core::spi::{Position, Runtime, check_name};
use realtime_core::{
    AckReply, AckStatus, Acks, Capabilities, CloseReason, ConnectionId, Delivered, Drain, Error, Event, EventId,
    Identity, RealtimeBroadcast, RealtimeProvider, Receipt, Result, RoomMembership, Scope, SocketIoBroadcast, Stats,
    Target,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

/// A provider without a network that records what is sent, for tests of an application; clones
/// share the record.
///
/// It checks names as a real provider does and needs no attach. It has rooms by user; asks are
/// answered as [`RecordingProvider::answer`] says, and by no connection otherwise.
#[derive(Clone, Debug)]
pub struct RecordingProvider {
    name: &'static str,
    capabilities: Capabilities,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    sent: Vec<Sent>,
    closed: Vec<(Target, CloseReason)>,
    /// Rooms by the member that was joined.
    rooms: BTreeMap<Member, BTreeSet<String>>,
    /// Rooms that only the user of one tenant has left.
    shut_out: BTreeMap<Member, BTreeSet<String>>,
    /// Answers by user, in the order scripted: one for each connection.
    answers: BTreeMap<Member, Vec<AckReply>>,
    failure: Option<fn() -> Error>,
    last: u64,
    shut_down: bool,
}

/// A user and the tenant. In joins, no tenant means every tenant.
type Member = (String, Option<String>);

fn member(tenant: Option<&str>, user: &str) -> Member {
    (user.to_owned(), tenant.map(str::to_owned))
}

/// One recorded send.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Sent {
    /// The target.
    pub target: Target,
    /// The event.
    pub event: Event,
    /// The timeout of an ask; `None` for an event.
    pub ask: Option<Duration>,
}

impl Sent {
    /// Returns the event's payload as a value.
    ///
    /// # Panics
    /// If it is not JSON of this form.
    pub fn json<T: DeserializeOwned>(&self) -> T {
        let payload = self.event.payload();
        serde_json::from_slice(payload.bytes()).unwrap_or_else(|error| {
            let expected = std::any::type_name::<T>();
            let got = String::from_utf8_lossy(payload.bytes());
            panic!("the payload of \"{}\" is not a {expected}: {error} in {got:.200}", self.event.name())
        })
    }
}

impl RecordingProvider {
    /// Creates a provider of this name with acks, rooms and binary events, as `"socket"` is.
    #[must_use]
    pub fn new(name: &'static str) -> Self {
        let capabilities = Capabilities::none().with_acks(true).with_bidirectional(true).with_binary(true);
        Self::with_capabilities(name, capabilities.with_resume(true).with_rooms(true))
    }

    /// Creates a provider of this name with these capabilities; without acks it has no
    /// [`SocketIoBroadcast`].
    #[must_use]
    pub fn with_capabilities(name: &'static str, capabilities: Capabilities) -> Self {
        Self { name, capabilities, state: Arc::default() }
    }

    /// Returns all sends, oldest first.
    #[must_use]
    pub fn sent(&self) -> Vec<Sent> {
        self.state().sent.clone()
    }

    /// Removes all sends from the record and returns them.
    #[must_use]
    pub fn take(&self) -> Vec<Sent> {
        std::mem::take(&mut self.state().sent)
    }

    /// Returns the sends to this user, in any tenant.
    #[must_use]
    pub fn sent_to_user(&self, user: &str) -> Vec<Sent> {
        self.sent_to(|scope| matches!(scope, Scope::User { name, .. } if **name == *user))
    }

    /// Returns the sends to this tenant.
    #[must_use]
    pub fn sent_to_tenant(&self, tenant: &str) -> Vec<Sent> {
        self.sent_to(|scope| matches!(scope, Scope::Tenant(name) if **name == *tenant))
    }

    /// Returns the sends to this room, in any tenant.
    #[must_use]
    pub fn sent_to_room(&self, room: &str) -> Vec<Sent> {
        self.sent_to(|scope| matches!(scope, Scope::Room { name, .. } if **name == *room))
    }

    /// Returns the sends to all connections.
    #[must_use]
    pub fn sent_to_all(&self) -> Vec<Sent> {
        self.sent_to(|scope| matches!(scope, Scope::All))
    }

    /// Returns the targets that were closed, with their reasons.
    #[must_use]
    pub fn closed(&self) -> Vec<(Target, CloseReason)> {
        self.state().closed.clone()
    }

    /// Adds a connection to a user without a tenant, which answers every ask with this value.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] if the value has no JSON form.
    pub fn answer<T: Serialize + ?Sized>(&self, user: &str, value: &T) -> Result<ConnectionId> {
        self.script_answer(member(None, user), value)
    }

    /// Adds a connection to the user of one tenant, which answers every ask with this value.
    ///
    /// # Errors
    /// [`Error::InvalidPayload`] if the value has no JSON form.
    pub fn answer_in<T: Serialize + ?Sized>(&self, tenant: &str, user: &str, value: &T) -> Result<ConnectionId> {
        self.script_answer(member(Some(tenant), user), value)
    }

    fn script_answer<T: Serialize + ?Sized>(&self, who: Member, value: &T) -> Result<ConnectionId> {
        let id = ConnectionId::random();
        let reply = AckReply::answered(id, Duration::from_millis(1), value)?;
        self.state().answers.entry(who).or_default().push(reply);
        Ok(id)
    }

    /// Adds a connection to a user without a tenant, which leaves every ask unanswered with this
    /// status.
    #[must_use]
    pub fn leave_unanswered(&self, user: &str, status: AckStatus) -> ConnectionId {
        let id = ConnectionId::random();
        let reply = AckReply::unanswered(id, status, Duration::from_millis(1));
        self.state().answers.entry(member(None, user)).or_default().push(reply);
        id
    }

    /// Makes every later send fail with this error, unrecorded; `None` ends that.
    pub fn fail_with(&self, failure: Option<fn() -> Error>) {
        self.state().failure = failure;
    }

    fn sent_to(&self, matches: impl Fn(&Scope) -> bool) -> Vec<Sent> {
        self.state().sent.iter().filter(|sent| matches(sent.target.scope())).cloned().collect()
    }

    fn record(&self, target: Target, event: Event, ask: Option<Duration>) -> Result<Receipt> {
        target.check()?;
        event.check()?;
        if event.payload().is_binary() && !self.capabilities.binary {
            return Err(Error::Unsupported { provider: Some(self.name.to_owned()), what: "binary events" });
        }
        let durable = !event.is_volatile() && !matches!(target.scope(), Scope::Connection(_));
        if (!durable || ask.is_some()) && (event.idempotency_key().is_some() || event.latest_key().is_some()) {
            return Err(Error::Unsupported { provider: Some(self.name.to_owned()), what: "keys of what is in no log" });
        }
        let mut state = self.open()?;
        state.last += u64::from(durable);
        let position = durable.then(|| Position::new(state.last));
        let delivered = Delivered::default();
        state.sent.push(Sent { target, event, ask });
        Ok(Receipt::new(EventId::random(), position, Some(delivered)))
    }

    fn collect(&self, target: Target, event: Event, timeout: Duration) -> Result<Acks> {
        self.record(target.clone(), event, Some(timeout))?;
        let state = self.state();
        let answers = state.answers.iter().flat_map(|(who, replies)| replies.iter().map(move |reply| (who, reply)));
        let asked = answers.filter(|(who, reply)| state.includes(&target, who, reply.connection));
        Ok(Acks::ready(asked.map(|(_, reply)| reply.clone()).collect::<Vec<_>>()))
    }

    fn join(&self, tenant: Option<&str>, user: &str, room: &str) -> Result<()> {
        check_names(tenant, user, Some(room))?;
        let mut state = self.open()?;
        state.rooms.entry(member(tenant, user)).or_default().insert(room.to_owned());
        for ((of, of_tenant), rooms) in &mut state.shut_out {
            if of == user && (tenant.is_none() || of_tenant.as_deref() == tenant) {
                rooms.remove(room);
            }
        }
        Ok(())
    }

    fn leave(&self, tenant: Option<&str>, user: &str, room: &str) -> Result<()> {
        check_names(tenant, user, Some(room))?;
        let mut state = self.open()?;
        for ((of, of_tenant), rooms) in &mut state.rooms {
            if of == user && (tenant.is_none() || of_tenant.as_deref() == tenant) {
                rooms.remove(room);
            }
        }
        if tenant.is_some() {
            state.shut_out.entry(member(tenant, user)).or_default().insert(room.to_owned());
        }
        Ok(())
    }

    /// Returns the state, unless the provider is shut down or set to fail.
    fn open(&self) -> Result<MutexGuard<'_, State>> {
        let state = self.state();
        if state.shut_down {
            return Err(Error::Closed { provider: Some(self.name.to_owned()) });
        }
        match state.failure {
            Some(failure) => Err(failure()),
            None => Ok(state),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RealtimeProvider for RecordingProvider {
    fn name(&self) -> &'static str {
        self.name
    }

    fn capabilities(&self) -> Capabilities {
        self.capabilities
    }

    async fn attach(&self, _: Runtime) -> Result<()> {
        Ok(())
    }

    fn broadcast(&self) -> Arc<dyn RealtimeBroadcast> {
        Arc::new(self.clone())
    }

    fn socket_io(&self) -> Option<Arc<dyn SocketIoBroadcast>> {
        self.capabilities.acks.then(|| Arc::new(self.clone()) as _)
    }

    fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        self.capabilities.rooms.then(|| Arc::new(self.clone()) as _)
    }

    async fn close(&self, target: Target, reason: CloseReason) -> Result<usize> {
        target.check()?;
        self.state().closed.push((target, reason));
        Ok(0)
    }

    async fn shutdown(&self, _: Drain) {
        self.state().shut_down = true;
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        stats.rooms = self.state().rooms.values().flatten().collect::<BTreeSet<_>>().len() as u64;
        stats
    }
}

#[async_trait]
impl RealtimeBroadcast for RecordingProvider {
    async fn send(&self, target: Target, event: Event) -> Result<Receipt> {
        self.record(target, event, None)
    }
}

#[async_trait]
impl RoomMembership for RecordingProvider {
    async fn join_room(&self, user: &str, room: &str) -> Result<()> {
        self.join(None, user, room)
    }

    async fn leave_room(&self, user: &str, room: &str) -> Result<()> {
        self.leave(None, user, room)
    }

    async fn user_rooms(&self, user: &str) -> Result<Vec<String>> {
        check_names(None, user, None)?;
        let state = self.state();
        let rooms: BTreeSet<_> =
            state.rooms.iter().filter(|((of, _), _)| of == user).flat_map(|(_, rooms)| rooms.clone()).collect();
        Ok(rooms.into_iter().collect())
    }

    async fn join_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()> {
        self.join(Some(tenant), user, room)
    }

    async fn leave_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()> {
        self.leave(Some(tenant), user, room)
    }

    async fn user_rooms_in(&self, tenant: &str, user: &str) -> Result<Vec<String>> {
        check_names(Some(tenant), user, None)?;
        Ok(self.state().rooms_of(&member(Some(tenant), user)).into_iter().collect())
    }
}

#[async_trait]
impl SocketIoBroadcast for RecordingProvider {
    async fn to_user_with_ack(&self, user: &str, event: Event, timeout: Duration) -> Result<Acks> {
        self.collect(Target::user(user), event, timeout)
    }

    async fn to_room_with_ack(&self, room: &str, event: Event, timeout: Duration) -> Result<Acks> {
        self.collect(Target::room(room), event, timeout)
    }

    async fn ask(&self, target: Target, event: Event, timeout: Duration) -> Result<Acks> {
        self.collect(target, event, timeout)
    }
}

impl State {
    /// Returns the rooms of one tenant's user, or of the user without a tenant.
    fn rooms_of(&self, who: &Member) -> BTreeSet<String> {
        let shut_out = self.shut_out.get(who);
        let bare = self.rooms.get(&(who.0.clone(), None)).into_iter().flatten();
        let bare = bare.filter(|room| !shut_out.is_some_and(|rooms| rooms.contains(*room)));
        let own = who.1.as_ref().and_then(|_| self.rooms.get(who)).into_iter().flatten();
        bare.chain(own).cloned().collect()
    }

    /// Returns whether a target includes a scripted connection.
    fn includes(&self, target: &Target, who: &Member, connection: ConnectionId) -> bool {
        let (user, tenant) = who;
        let mut identity = Identity::user(user.as_str());
        if let Some(tenant) = tenant {
            identity = identity.with_tenant(tenant.as_str());
        }
        let in_scope = match target.scope() {
            Scope::All => true,
            Scope::Connection(id) => *id == connection,
            Scope::Room { name, .. } => self.rooms_of(who).contains(&**name),
            Scope::Tenant(name) => tenant.as_deref() == Some(&**name),
            Scope::User { name, .. } => *user == **name,
            _ => false,
        };
        in_scope && target.admits(connection, &identity)
    }
}

fn check_names(tenant: Option<&str>, user: &str, room: Option<&str>) -> Result<()> {
    for (what, name) in [("tenant", tenant), ("user", Some(user)), ("room", room)] {
        name.map_or(Ok(()), |name| check_name(what, name))?;
    }
    Ok(())
}
