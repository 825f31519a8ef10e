//! From a connection request to an admitted connection.

use std::net::IpAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::Instant;

use crate::admission::limits::{Admission, Entry, Ticket};
use crate::delivery::connection::Connection;
use crate::delivery::dispatcher::Dispatcher;
use crate::traits::auth::ConnectRequest;
use crate::traits::codec::Codec;
use crate::traits::context::Context;
use crate::traits::policy::RoomAccess;
use crate::traits::runtime::Runtime;
use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::connection_data::ConnectionData;
use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::name::check_name;
use crate::values::refusal::{Refusal, RefusalKind};
use crate::values::target::Target;
use crate::values::trace_context::TraceContext;

/// A connection that may be registered: its identity, its counted slot, the rooms that it named,
/// and its cursor.
#[derive(Debug)]
pub struct Admitted {
    pub(super) id: ConnectionId,
    pub(super) identity: Identity,
    pub(super) ticket: Ticket,
    pub(super) rooms: Vec<(Arc<str>, RoomAccess)>,
    /// Created when a room policy was asked.
    pub(super) data: OnceLock<ConnectionData>,
    pub(super) cursor: Option<String>,
    pub(super) former: Option<ConnectionId>,
    pub(super) address: Option<IpAddr>,
    /// The request, if the credentials can end: they are refreshed with it.
    pub(super) request: Option<ConnectRequest>,
    /// The trace of the handshake.
    pub(super) trace: Option<TraceContext>,
}

/// The known details of a refused client, for the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct RefusedClient<'a> {
    address: Option<IpAddr>,
    identity: Option<&'a Identity>,
}

impl<'a> RefusedClient<'a> {
    /// Creates the details of a client of this address, if it is known.
    #[must_use]
    pub fn at(address: Option<IpAddr>) -> Self {
        Self { address, identity: None }
    }

    /// Sets the client's identity.
    #[must_use]
    pub fn with_identity(mut self, identity: &'a Identity) -> Self {
        self.identity = Some(identity);
        self
    }
}

impl Admitted {
    /// Returns the connection's identity.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Sets the client's previous connection: if this one resumes, events that exclude that
    /// connection exclude this one too.
    #[must_use]
    pub fn with_former(mut self, former: Option<ConnectionId>) -> Self {
        self.former = former;
        self
    }

    /// Sets the request with which the authenticator is asked when the client refreshes its
    /// credentials; without effect where these do not end.
    #[must_use]
    pub fn with_request(mut self, request: &ConnectRequest) -> Self {
        self.request = self.identity.can_end().then(|| request.clone());
        self
    }
}

impl<C: Codec> Dispatcher<C> {
    /// Admits a connection request: authenticates it, takes a slot for it, and asks the policy for
    /// the rooms that it names.
    ///
    /// At the limit of its user the connections of that user are asked for a sign of life
    /// ([`Outlet::probe`]), so that dead ones free their slots.
    ///
    /// [`Outlet::probe`]: crate::spi::Outlet::probe
    ///
    /// # Errors
    /// A [`Refusal`], counted and logged.
    pub async fn admit(
        &self,
        request: &ConnectRequest,
        rooms: &[String],
        cursor: Option<String>,
    ) -> Result<Admitted, Refusal> {
        let take_slot = async |identity: &Identity| {
            let ticket = self.take_slot(identity, request.address())?;
            self.check_other_nodes(self.check_open()?, identity, Instant::now()).await?;
            Ok(ticket)
        };
        self.in_handshake(request, self.decide_on(request, rooms, cursor, take_slot)).await
    }

    /// Admits a connection request as [`Dispatcher::admit`] does, but at the limit of its user
    /// waits for the next slot that becomes free, for `most` at the longest; as many requests may
    /// wait as there are slots. `held` is called with `true` when the wait begins and with `false`
    /// when it ends.
    ///
    /// # Errors
    /// A [`Refusal`], counted and logged.
    pub async fn admit_in_turn(
        &self,
        request: &ConnectRequest,
        rooms: &[String],
        cursor: Option<String>,
        most: Duration,
        held: impl Fn(bool) + Send + Sync,
    ) -> Result<Admitted, Refusal> {
        let take_slot = async |identity: &Identity| {
            let (until, address) = (Instant::now() + most, request.address());
            let wait_for_slot = async |admission: &Arc<Admission>, probe: &(dyn Fn() + Sync)| {
                let mut turn = match admission.admit_or_wait(identity, address)? {
                    Entry::Admitted(ticket) => return Ok(ticket),
                    Entry::Waits(turn) => turn,
                };
                probe();
                held(true);
                let slot = tokio::time::timeout_at(until, &mut turn).await;
                held(false);
                let slot = slot.ok().and_then(Result::ok).ok_or_else(|| admission.user_limit())?;
                admission.complete(slot, identity, address)
            };
            let own = wait_for_slot(&self.admission, &|| self.probe(identity)).await?;
            let runtime = self.check_open()?;
            let ticket = own.within(wait_for_slot(&runtime.slots, &|| probe_all(runtime, identity)).await?);
            self.check_other_nodes(runtime, identity, until).await?;
            Ok(ticket)
        };
        self.in_handshake(request, self.decide_on(request, rooms, cursor, take_slot)).await
    }

    async fn decide_on(
        &self,
        request: &ConnectRequest,
        rooms: &[String],
        cursor: Option<String>,
        take_slot: impl AsyncFnOnce(&Identity) -> Result<Ticket, Refusal>,
    ) -> Result<Admitted, Refusal> {
        let address = request.address();
        let identified = self.identify(request).await;
        let identity = identified.map_err(|refusal| self.refuse(refusal, RefusedClient::at(address)))?;
        let (id, data) = (ConnectionId::random(), OnceLock::new());
        let entry = async {
            self.check_identity(&identity)?;
            let own = identity.rooms().map(|room| (Arc::from(room), RoomAccess::Allow));
            let named: Vec<_> = rooms.iter().filter(|room| identity.rooms().all(|own| own != **room)).collect();
            self.check_count(own.len() + named.len())?;
            // Before the policy, which costs more and is the application's own.
            let ticket = take_slot(&identity).await?;
            self.catch_up_with(cursor.as_deref()).await?;
            if named.is_empty() {
                return Ok((ticket, own.collect()));
            }
            let provider = self.config.provider;
            let info = ConnectionInfo { id, provider, identity: identity.clone(), resumed: false, address };
            let cx = self.context_before(info, data.get_or_init(ConnectionData::default).clone());
            let entered = self.may_enter_all(&cx, &named).await?;
            Ok((ticket, own.chain(entered).collect()))
        };
        let entered = entry.await;
        let (ticket, rooms) =
            entered.map_err(|refusal| self.refuse(refusal, RefusedClient::at(address).with_identity(&identity)))?;
        let former = request.former_connection();
        let trace = None;
        let admitted = Admitted { id, identity, ticket, rooms, data, cursor, former, address, request: None, trace };
        Ok(admitted.with_request(request))
    }

    async fn identify(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        self.ask_authenticator(self.check_open()?, request).await
    }

    /// Asks the authenticator, also while the log is away or the node drains.
    pub(super) async fn ask_authenticator(
        &self,
        runtime: &Runtime,
        request: &ConnectRequest,
    ) -> Result<Identity, Refusal> {
        // The call itself may panic too.
        self.decide("authenticator", async { runtime.authenticator.authenticate(request).await }).await?
    }

    /// Rejects a request with more rooms than a connection may be in.
    fn check_count(&self, rooms: usize) -> Result<(), Refusal> {
        let most = self.config.delivery.limits.rooms_per_connection;
        if rooms > most {
            return Err(
                Refusal::bad_request(format!("more than {most} rooms")).with_setting("limits.rooms_per_connection")
            );
        }
        Ok(())
    }

    /// Takes a slot of this provider and one of the service; at the user's limit asks the user's
    /// connections for a sign of life.
    fn take_slot(&self, identity: &Identity, address: Option<IpAddr>) -> Result<Ticket, Refusal> {
        let runtime = self.check_open()?;
        let at_limit = |refusal: &Refusal| refusal.kind() == RefusalKind::UserLimit;
        let own = self.admission.admit(identity, address).inspect_err(|refusal| {
            if at_limit(refusal) {
                self.probe(identity);
            }
        })?;
        let of_service = runtime.slots.admit(identity, address).inspect_err(|refusal| {
            if at_limit(refusal) {
                probe_all(runtime, identity);
            }
        })?;
        Ok(own.within(of_service))
    }

    /// Asks the connections of this user for a sign of life, one round at a time.
    fn probe(&self, identity: &Identity) {
        if self.admission.try_start_probe(identity) {
            Member::of(identity).iter().for_each(|member| self.probe_user(member));
        }
    }

    /// Asks the connections of this user, of this tenant or without one, for a sign of life.
    pub(super) fn probe_user(&self, member: &Member) {
        let connections = self.hub.matching(&Target::user(&*member.user));
        let own = |connection: &&Arc<Connection<C::Frame>>| {
            connection.info.identity.tenant_name() == member.tenant.as_deref()
        };
        connections.iter().filter(own).for_each(|connection| connection.probe());
    }

    /// Admits a connection for a route of the application's own, which knows its identity, the
    /// rooms that it may enter, and perhaps its address. The user's connections at other nodes do
    /// not count. The connection goes on with the trace of the current span.
    ///
    /// # Errors
    /// A [`Refusal`], counted and logged.
    pub fn admit_as(
        &self,
        identity: Identity,
        rooms: &[String],
        cursor: Option<String>,
        address: Option<IpAddr>,
    ) -> Result<Admitted, Refusal> {
        let take_slot = || {
            self.check_open()?;
            self.check_identity(&identity)?;
            for room in rooms {
                check_name("room", room).map_err(|error| Refusal::bad_request(error.to_string()))?;
            }
            self.take_slot(&identity, address)
        };
        let ticket =
            take_slot().map_err(|refusal| self.refuse(refusal, RefusedClient::at(address).with_identity(&identity)))?;
        let given = rooms.iter().map(String::as_str).filter(|room| identity.rooms().all(|own| own != *room));
        let rooms = identity.rooms().chain(given).map(|room| (Arc::from(room), RoomAccess::Allow)).collect();
        let (id, data) = (ConnectionId::random(), OnceLock::new());
        let trace = self.propagator().and_then(|propagator| propagator.current());
        Ok(Admitted { id, identity, ticket, rooms, data, cursor, former: None, address, request: None, trace })
    }

    /// Counts a request that would connect, before it is looked at any further: against the rates
    /// of handshakes, and with the limit of its address.
    ///
    /// # Errors
    /// A [`Refusal`], counted and logged.
    pub fn check_handshake(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        self.check_handshake_rate(address)?;
        let Some(runtime) = self.runtime.get() else { return Ok(()) };
        runtime.slots.check_address(address).map_err(|refusal| self.refuse(refusal, RefusedClient::at(address)))
    }

    /// Counts a request with credentials against the rates of handshakes, before the authenticator
    /// is asked.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::HandshakeRate`], counted and logged.
    pub fn check_handshake_rate(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        let Some(runtime) = self.runtime.get() else { return Ok(()) };
        runtime.handshakes.check(address).map_err(|refusal| self.refuse(refusal, RefusedClient::at(address)))
    }

    /// Counts and logs a refusal, and returns it for the answer. Of clients without an identity 10
    /// a second are logged, 100 at once, and the next line has the number of the others.
    pub fn refuse(&self, refusal: Refusal, asker: RefusedClient<'_>) -> Refusal {
        self.counters.refused(refusal.kind());
        let mut unlogged = None;
        if asker.identity.is_none()
            && let Some(runtime) = self.runtime.get()
        {
            let Some(count) = runtime.handshakes.log_turn() else { return refusal };
            unlogged = (count > 0).then_some(count);
        }
        tracing::info!(
            provider = self.config.provider,
            address = asker.address.map(tracing::field::display),
            user = asker.identity.and_then(Identity::user_name),
            tenant = asker.identity.and_then(Identity::tenant_name),
            reason = refusal.code(),
            setting = refusal.setting(),
            detail = ?refusal.message(),
            hint = refusal.hint(),
            unlogged,
            "connection refused"
        );
        refusal
    }

    /// Asks the policy whether a connection that is not registered yet may enter the rooms that it
    /// names, all of them within one `decision_timeout`.
    async fn may_enter_all(&self, cx: &Context, rooms: &[&String]) -> Result<Vec<(Arc<str>, RoomAccess)>, Refusal> {
        let mut entered = Vec::with_capacity(rooms.len());
        let all = async {
            for room in rooms {
                entered.push((Arc::from(room.as_str()), self.may_enter_now(cx, room).await?));
            }
            Ok(())
        };
        self.decide("room policy", all).await??;
        Ok(entered)
    }

    /// Asks the policy whether a connection may enter a room that it names.
    pub(crate) async fn may_enter(&self, cx: &Context, room: &str) -> Result<RoomAccess, Refusal> {
        self.decide("room policy", self.may_enter_now(cx, room)).await?
    }

    async fn may_enter_now(&self, cx: &Context, room: &str) -> Result<RoomAccess, Refusal> {
        check_name("room", room).map_err(|error| Refusal::bad_request(error.to_string()))?;
        if cx.identity().rooms().any(|own| own == room) {
            return Ok(RoomAccess::Allow);
        }
        let policy = &self.runtime().map_err(|error| Refusal::new(RefusalKind::Draining, error.to_string()))?.policy;
        match policy.access(cx, room).await {
            RoomAccess::Deny => {
                let refusal = Refusal::new(RefusalKind::Room, format!("not allowed into the room {room:?}"));
                Err(policy.hint().map_or(refusal.clone(), |hint| refusal.with_hint(hint)))
            }
            access => Ok(access),
        }
    }

    fn check_open(&self) -> Result<&Runtime, Refusal> {
        if self.is_draining() {
            return Err(Refusal::new(RefusalKind::Draining, "this node is shutting down"));
        }
        let runtime = self.runtime().map_err(|error| Refusal::new(RefusalKind::Draining, error.to_string()))?;
        if !self.is_log_read() {
            // Until the log has been read for the first time, its end is not known.
            return Err(Refusal::new(RefusalKind::Draining, "the log is unavailable"));
        }
        let lingering = self.counters.lingering_hooks.load(Ordering::Relaxed);
        if lingering >= self.config.delivery.limits.lingering_hooks() as u64 {
            let text = "too many closed connections have hooks still running";
            return Err(Refusal::new(RefusalKind::Unavailable, text).with_setting("limits.lingering_hooks"));
        }
        Ok(runtime)
    }
}

/// Asks the connections of this user to all providers for a sign of life, one round at a time.
fn probe_all(runtime: &Runtime, identity: &Identity) {
    if runtime.slots.try_start_probe(identity)
        && let Some(member) = Member::of(identity)
    {
        runtime.log.feeds().iter().for_each(|feed| feed.probe(&member));
    }
}
