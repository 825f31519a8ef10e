//! From a request to a registered connection.

use std::net::IpAddr;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

use tokio::sync::oneshot;
use tracing::Instrument;

use crate::admission::limits::{Admission, Entry, Ticket};
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::hub::{Beginning, Connection, Departure, Lease, Newcomer};
use crate::log::directory::{DirectoryChange, Presence};
use crate::traits::auth::ConnectRequest;
use crate::traits::codec::Codec;
use crate::traits::context::Context;
use crate::traits::outlet::Outlet;
use crate::traits::policy::RoomAccess;
use crate::traits::runtime::Runtime;
use crate::values::ack::AckStatus;
use crate::values::close::CloseReason;
use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::connection_data::ConnectionData;
use crate::values::event::Event;
use crate::values::identity::Identity;
use crate::values::name::check_name;
use crate::values::position::Position;
use crate::values::refusal::{Refusal, RefusalKind};
use crate::values::stats::add;
use crate::values::target::Target;

/// A connection that may come in: who it is, its counted place, the rooms it named, and where it wants to go on.
#[derive(Debug)]
pub struct Admitted {
    id: ConnectionId,
    identity: Identity,
    ticket: Ticket,
    rooms: Vec<(Arc<str>, RoomAccess)>,
    /// Made when a policy was asked.
    data: OnceLock<ConnectionData>,
    cursor: Option<String>,
    former: Option<ConnectionId>,
    address: Option<IpAddr>,
}

/// Who was refused, as far as it is known: for the log.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asker<'a> {
    /// The client's address.
    pub address: Option<IpAddr>,
    /// Who it is.
    pub identity: Option<&'a Identity>,
}

impl Admitted {
    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// With the connection that its client had before: if it goes on where that was, what excludes that connection is not for
    /// this one either.
    pub fn formerly(mut self, former: Option<ConnectionId>) -> Self {
        self.former = former;
        self
    }
}

impl<C: Codec> Dispatcher<C> {
    /// Asks who is connecting, whether there is room for it, and whether it may enter the rooms it names.
    ///
    /// At the limit of its user the connections of that user are asked for a sign of life ([`Outlet::probe`]), so that those
    /// that are dead make room.
    ///
    /// # Errors
    /// A [`Refusal`], counted and logged.
    pub async fn admit(
        &self,
        request: &ConnectRequest,
        rooms: &[String],
        cursor: Option<String>,
    ) -> Result<Admitted, Refusal> {
        self.admit_in(request, rooms, cursor, async |identity| self.place(identity)).await
    }

    /// The same, but at the limit of its user it waits for the next place that becomes free, for this long at most; as many
    /// may wait as have places. `held` is told when the wait begins and when it is over.
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
        self.admit_in(request, rooms, cursor, async |identity| {
            let until = Instant::now() + most;
            let place = async |admission: &Arc<Admission>, probe: &(dyn Fn() + Sync)| {
                let mut turn = match admission.admit_or_wait(identity)? {
                    Entry::Place(ticket) => return Ok(ticket),
                    Entry::Wait(turn) => turn,
                };
                probe();
                held(true);
                let place = tokio::time::timeout_at(until, &mut turn).await;
                held(false);
                let place = place.ok().and_then(Result::ok).ok_or_else(|| admission.user_limit())?;
                admission.complete(place)
            };
            let own = place(&self.admission, &|| self.probe(identity)).await?;
            let runtime = self.check_open()?;
            Ok(own.within(place(&runtime.places, &|| probe_all(runtime, identity)).await?))
        })
        .await
    }

    async fn admit_in(
        &self,
        request: &ConnectRequest,
        rooms: &[String],
        cursor: Option<String>,
        place: impl AsyncFnOnce(&Identity) -> Result<Ticket, Refusal>,
    ) -> Result<Admitted, Refusal> {
        let address = request.address();
        let identified = self.identify(request).await;
        let identity = identified.map_err(|refusal| self.refuse(refusal, Asker { address, identity: None }))?;
        let (id, data) = (ConnectionId::random(), OnceLock::new());
        let entry = async {
            identity.check()?;
            self.check_count(rooms)?;
            // Before the policy, which costs more and is the application's.
            let ticket = place(&identity).await?;
            if rooms.is_empty() {
                return Ok((ticket, Vec::new()));
            }
            let identity = identity.clone();
            let info = ConnectionInfo { id, provider: self.config.provider, identity, resumed: false, address };
            let cx = self.context_before(info, data.get_or_init(ConnectionData::default).clone());
            Ok((ticket, self.may_enter_all(&cx, rooms).await?))
        };
        let entered = entry.await;
        let (ticket, rooms) =
            entered.map_err(|refusal| self.refuse(refusal, Asker { address, identity: Some(&identity) }))?;
        let former = request.former_connection();
        Ok(Admitted { id, identity, ticket, rooms, data, cursor, former, address })
    }

    async fn identify(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let runtime = self.check_open()?;
        // The call itself may panic too.
        self.decide("authenticator", async { runtime.authenticator.authenticate(request).await }).await?
    }

    /// Refuses a request that names more rooms than a connection may be in.
    fn check_count(&self, rooms: &[String]) -> Result<(), Refusal> {
        let most = self.config.delivery.limits.rooms_per_connection;
        if rooms.len() > most {
            return Err(
                Refusal::bad_request(format!("more than {most} rooms")).with_setting("limits.rooms_per_connection")
            );
        }
        Ok(())
    }

    /// Takes a place with this provider and one with the service, or asks the user's connections for a sign of life.
    fn place(&self, identity: &Identity) -> Result<Ticket, Refusal> {
        let runtime = self.check_open()?;
        let at_limit = |refusal: &Refusal| refusal.kind() == RefusalKind::UserLimit;
        let own = self.admission.admit(identity).inspect_err(|refusal| {
            if at_limit(refusal) {
                self.probe(identity);
            }
        })?;
        let of_service = runtime.places.admit(identity).inspect_err(|refusal| {
            if at_limit(refusal) {
                probe_all(runtime, identity);
            }
        })?;
        Ok(own.within(of_service))
    }

    /// Asks the connections of this user for a sign of life, one round at a time.
    fn probe(&self, identity: &Identity) {
        if self.admission.begins_probe(identity) {
            self.probe_user(identity);
        }
    }

    /// Asks the connections of this user, of this tenant, for a sign of life.
    pub(super) fn probe_user(&self, identity: &Identity) {
        let Some(user) = identity.user_name() else { return };
        let connections = self.hub.matching(&Target::user(user));
        let own =
            |connection: &&Arc<Connection<C::Frame>>| connection.info.identity.tenant_name() == identity.tenant_name();
        connections.iter().filter(own).for_each(|connection| connection.probe());
    }

    /// For a route of the application's own, which knows who it is, which rooms it may enter, and perhaps its address.
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
        let place = || {
            self.check_open()?;
            identity.check()?;
            for room in rooms {
                check_name("room", room).map_err(|error| Refusal::bad_request(error.to_string()))?;
            }
            self.place(&identity)
        };
        let ticket = place().map_err(|refusal| self.refuse(refusal, Asker { address, identity: Some(&identity) }))?;
        let rooms = rooms.iter().map(|room| (Arc::from(room.as_str()), RoomAccess::Allow)).collect();
        let (id, data) = (ConnectionId::random(), OnceLock::new());
        Ok(Admitted { id, identity, ticket, rooms, data, cursor, former: None, address })
    }

    /// Counts and logs a refusal, and gives it back for the answer.
    pub fn refuse(&self, refusal: Refusal, asker: Asker<'_>) -> Refusal {
        self.counters.refused(refusal.kind());
        tracing::info!(
            provider = self.config.provider,
            address = asker.address.map(tracing::field::display),
            user = asker.identity.and_then(Identity::user_name),
            tenant = asker.identity.and_then(Identity::tenant_name),
            reason = refusal.kind().code(),
            setting = refusal.setting(),
            detail = ?refusal.message(),
            hint = refusal.hint(),
            "connection refused"
        );
        refusal
    }

    /// Puts an admitted connection into the hub.
    pub(crate) fn enter(self: &Arc<Self>, admitted: Admitted, outlet: Arc<dyn Outlet>) -> Arc<Connection<C::Frame>> {
        let Admitted { id, identity, ticket, rooms, data, cursor, former, address } = admitted;
        let provider = self.config.provider;
        // Whether it is resumed is decided when it is registered.
        let info = ConnectionInfo { id, provider, identity, resumed: false, address };
        let user = info.identity.user_name();
        let address = address.map(tracing::field::display);
        let span = tracing::info_span!("connection", provider, connection = %id, user, address);
        let (hooks, gone) =
            self.runtime.get().filter(|runtime| !runtime.hooks.is_empty()).map(|_| oneshot::channel()).unzip();
        let lease = Lease { ticket, _task: self.running.tasks.token(), hooks };
        let newcomer = Newcomer { info, former, outlet, rooms: &rooms, data, lease, span };
        let connection = self.hub.register(newcomer, |applied, ended| {
            let (resume, reason) = self.place_of(cursor.as_deref(), applied, ended);
            let welcome = self.welcome(id, resume.unwrap_or(applied), resume.is_some(), reason);
            Beginning { resume, welcome }
        });
        let info = &connection.info;
        add(&self.counters.connected, 1);
        tracing::debug!(
            provider = info.provider,
            connection = %info.id,
            user = info.identity.user_name(),
            resumed = info.resumed,
            "connected"
        );
        self.tell_directory(DirectoryChange::Online(Presence::of(info, SystemTime::now())));
        if let Some(gone) = gone {
            self.running.tasks.spawn(self.run_hooks(&connection, gone));
        }
        if let Some(drain) = self.running.draining.get() {
            // It slipped in between the shutdown's mark and its look at the connections.
            self.restart(&connection, *drain);
        }
        connection
    }

    fn welcome(&self, id: ConnectionId, place: Position, resumed: bool, reason: &str) -> C::Frame {
        let cursor = self.cursor(place);
        let value = serde_json::json!({
            "message": "connected",
            "connectionId": id.to_string(),
            "resumed": resumed,
            "reason": reason,
            "cursor": cursor.to_string(),
        });
        self.codec.event(&Event::protocol("connected", &value), Some(cursor))
    }

    /// Takes a connection out and gives back what it held; the second call finds nothing to do.
    pub(crate) fn unregister(&self, connection: &Connection<C::Frame>, reason: CloseReason) {
        let id = connection.info.id;
        if !self.hub.unregister(connection, Instant::now()) {
            return;
        }
        // Seen by the sweep or by the session itself, whichever looked first.
        if reason == CloseReason::WRITE_STALL {
            add(&self.counters.stalled, 1);
        }
        // Taken before the inbox is looked for: an inbox made later finds the connection gone.
        let lease = connection.lease.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.counters.closed(reason.code());
        let inbox = connection.inbox.get().cloned();
        if let Some(inbox) = &inbox {
            inbox.leave(reason.keeps_inbound(), Some(&self.counters.lingering));
            add(&self.counters.unhandled, inbox.take_dropped());
        }
        let asks = self.asks().leave(id);
        for ask in asks {
            ask.settle(id, AckStatus::Gone, None);
        }
        self.tell_directory(DirectoryChange::Offline(id));
        log_end(connection, &reason);
        if let Some(hooks) = lease.and_then(|lease| lease.hooks) {
            // Nobody listens when the runtime is going down.
            let _ = hooks.send(Departure { reason, inbox });
        }
    }

    pub(crate) fn cut_stalled(&self, connection: &Connection<C::Frame>) {
        if !connection.outbox.is_closed() {
            connection.close(CloseReason::WRITE_STALL);
        }
        // Its session may be stuck in a write and never look: from here on nothing is kept for it.
        let reason = connection.outbox.close_reason().unwrap_or(CloseReason::WRITE_STALL);
        self.unregister(connection, reason);
        connection.cut();
    }

    /// Whether a connection that has still to come may enter the rooms it names, all of them decided within one
    /// `decision_timeout`.
    async fn may_enter_all(&self, cx: &Context, rooms: &[String]) -> Result<Vec<(Arc<str>, RoomAccess)>, Refusal> {
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

    /// Whether a connection may enter a room it names.
    pub(crate) async fn may_enter(&self, cx: &Context, room: &str) -> Result<RoomAccess, Refusal> {
        self.decide("room policy", self.may_enter_now(cx, room)).await?
    }

    async fn may_enter_now(&self, cx: &Context, room: &str) -> Result<RoomAccess, Refusal> {
        check_name("room", room).map_err(|error| Refusal::bad_request(error.to_string()))?;
        let policy = &self.runtime().map_err(|error| Refusal::new(RefusalKind::Draining, error.to_string()))?.policy;
        match policy.access(cx, room).await {
            RoomAccess::Deny => {
                let refusal = Refusal::new(RefusalKind::Room, format!("not allowed into the room {room:?}"));
                Err(policy.hint().map_or(refusal.clone(), |hint| refusal.with_hint(hint)))
            }
            access => Ok(access),
        }
    }

    fn check_open(&self) -> Result<&crate::traits::runtime::Runtime, Refusal> {
        if self.is_draining() {
            return Err(Refusal::new(RefusalKind::Draining, "this node is going down"));
        }
        let runtime = self.runtime().map_err(|error| Refusal::new(RefusalKind::Draining, error.to_string()))?;
        if !self.is_log_read() {
            // While the log is being read for the first time, its end is not known yet.
            return Err(Refusal::new(RefusalKind::Draining, "the log cannot be read at the moment"));
        }
        Ok(runtime)
    }

    fn tell_directory(&self, change: DirectoryChange) {
        if let Some(runtime) = self.runtime.get() {
            runtime.tracker.tell(change);
        }
    }

    /// Runs a connection's hooks in order: at once, and when it has gone. One that panics keeps no other one from its call.
    fn run_hooks(
        self: &Arc<Self>,
        connection: &Arc<Connection<C::Frame>>,
        gone: oneshot::Receiver<Departure>,
    ) -> impl Future<Output = ()> + Send + use<C> {
        let dispatcher = self.unowned();
        let hooks = self.runtime.get().map(|runtime| runtime.hooks.clone()).unwrap_or_default();
        let cx = self.context(connection);
        let run = async move {
            for hook in &hooks {
                dispatcher.guard("lifecycle hook", "connected", async { hook.connected(&cx).await }).await;
            }
            let Ok(departure) = gone.await else { return };
            if let Some(inbox) = departure.inbox {
                inbox.finished().await;
            }
            for hook in &hooks {
                let run = async { hook.disconnected(&cx, &departure.reason).await };
                dispatcher.guard("lifecycle hook", "disconnected", run).await;
            }
        };
        run.instrument(connection.span.clone())
    }
}

/// Asks the connections that a user has with all providers for a sign of life, one round at a time.
fn probe_all(runtime: &Runtime, identity: &Identity) {
    if runtime.places.begins_probe(identity) {
        runtime.log.feeds().iter().for_each(|feed| feed.probe(identity));
    }
}

/// One line for each end; at INFO for a fault, which whoever runs this is asked about.
fn log_end<F>(connection: &Connection<F>, reason: &CloseReason) {
    let info = &connection.info;
    if !reason.is_fault() {
        tracing::debug!(provider = info.provider, connection = %info.id, %reason, "disconnected");
        return;
    }
    tracing::info!(
        provider = info.provider,
        connection = %info.id,
        address = info.address.map(tracing::field::display),
        user = info.identity.user_name(),
        tenant = info.identity.tenant_name(),
        %reason,
        setting = reason.setting(),
        detail = connection.fault.get().map(tracing::field::debug),
        "disconnected for a fault"
    );
}
