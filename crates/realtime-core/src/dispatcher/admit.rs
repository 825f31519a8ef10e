//! From a request to a registered connection.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

use tokio::sync::oneshot;
use tracing::Instrument;

use crate::ack::AckStatus;
use crate::hub::{Beginning, Connection, Departure, Lease, Newcomer};
use crate::limits::{Entry, user_limit};
use crate::stats::add;
use crate::{
    CloseReason, Codec, ConnectRequest, ConnectionId, ConnectionInfo, DirectoryChange, Dispatcher, Event, Identity,
    Outlet, Position, Presence, Refusal, RefusalKind, Registration, RoomAccess, Target, Ticket, check_name,
};

/// A connection that may come in: who it is, its counted place, the rooms it named, and where it wants to go on.
#[derive(Debug)]
pub struct Admitted {
    identity: Identity,
    ticket: Ticket,
    rooms: Vec<(Arc<str>, RoomAccess)>,
    cursor: Option<String>,
}

impl Admitted {
    /// Who it is.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Rooms that one request to connect may name.
pub const MAX_ROOMS: usize = 100;

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
        request: &ConnectRequest<'_>,
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
        request: &ConnectRequest<'_>,
        rooms: &[String],
        cursor: Option<String>,
        most: Duration,
        held: impl Fn(bool) + Send + Sync,
    ) -> Result<Admitted, Refusal> {
        self.admit_in(request, rooms, cursor, async |identity| {
            let mut turn = match self.admission.admit_or_wait(identity) {
                Ok(Entry::Place(ticket)) => return Ok(ticket),
                Ok(Entry::Wait(turn)) => turn,
                Err(refusal) => return Err(refusal),
            };
            self.probe(identity);
            held(true);
            let place = tokio::time::timeout(most, &mut turn).await;
            held(false);
            place.ok().and_then(Result::ok).map_or_else(|| Err(user_limit()), |place| self.admission.complete(place))
        })
        .await
    }

    async fn admit_in(
        &self,
        request: &ConnectRequest<'_>,
        rooms: &[String],
        cursor: Option<String>,
        place: impl AsyncFnOnce(&Identity) -> Result<Ticket, Refusal>,
    ) -> Result<Admitted, Refusal> {
        let admitted = async {
            let runtime = self.check_open()?;
            let ask = async { runtime.authenticator.authenticate(request).await };
            let asked = self.guard("authenticator", self.config.provider, ask);
            let identity = asked.await.unwrap_or_else(|| Err(internal()))?;
            identity.check()?;
            if rooms.len() > MAX_ROOMS {
                return Err(Refusal::bad_request("too many rooms"));
            }
            // Before the policy, which costs more and is the application's.
            let ticket = place(&identity).await?;
            let mut entered = Vec::with_capacity(rooms.len());
            for room in rooms {
                entered.push((Arc::from(room.as_str()), self.may_enter(&identity, room).await?));
            }
            Ok(Admitted { identity, ticket, rooms: entered, cursor })
        };
        admitted.await.map_err(|refusal| self.refuse(refusal))
    }

    /// Takes a place, or asks the user's connections for a sign of life.
    fn place(&self, identity: &Identity) -> Result<Ticket, Refusal> {
        self.admission.admit(identity).inspect_err(|refusal| {
            if refusal.kind() == RefusalKind::UserLimit {
                self.probe(identity);
            }
        })
    }

    /// Asks the connections of this user for a sign of life, one round at a time.
    fn probe(&self, identity: &Identity) {
        let Some(user) = identity.user_name() else { return };
        if self.admission.begins_probe(identity) {
            let connections = self.hub.matching(&Target::user(user));
            let own = |connection: &&Arc<Connection<C::Frame>>| {
                connection.info.identity.tenant_name() == identity.tenant_name()
            };
            connections.iter().filter(own).for_each(|connection| connection.probe());
        }
    }

    /// For a route of the application's own, which knows who it is and which rooms it may enter.
    ///
    /// # Errors
    /// A [`Refusal`], counted and logged.
    pub fn admit_as(&self, identity: Identity, rooms: &[String], cursor: Option<String>) -> Result<Admitted, Refusal> {
        let admitted = || {
            self.check_open()?;
            identity.check()?;
            for room in rooms {
                check_name("room", room).map_err(|error| Refusal::bad_request(error.to_string()))?;
            }
            let ticket = self.place(&identity)?;
            let rooms = rooms.iter().map(|room| (Arc::from(room.as_str()), RoomAccess::Allow)).collect();
            Ok(Admitted { identity, ticket, rooms, cursor })
        };
        admitted().map_err(|refusal| self.refuse(refusal))
    }

    /// Counts and logs a refusal, and gives it back for the answer.
    pub fn refuse(&self, refusal: Refusal) -> Refusal {
        self.counters.refused(refusal.kind());
        tracing::info!(
            provider = self.config.provider,
            reason = refusal.kind().code(),
            detail = refusal.message(),
            "connection refused"
        );
        refusal
    }

    /// Puts an admitted connection into the hub. Its first frame is `connected`.
    pub fn register(self: &Arc<Self>, admitted: Admitted, outlet: Arc<dyn Outlet>) -> Registration<C> {
        let Admitted { identity, ticket, rooms, cursor } = admitted;
        // Whether it is resumed is decided when it is registered.
        let info =
            ConnectionInfo { id: ConnectionId::random(), provider: self.config.provider, identity, resumed: false };
        let id = info.id;
        let user = info.identity.user_name();
        let span = tracing::info_span!("connection", provider = info.provider, connection = %id, user);
        let (hooks, gone) =
            self.runtime.get().filter(|runtime| !runtime.hooks.is_empty()).map(|_| oneshot::channel()).unzip();
        let lease = Lease { ticket, _task: self.tasks.token(), hooks };
        let newcomer = Newcomer { info, outlet, rooms: &rooms, lease, span };
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
        self.tell_directory(DirectoryChange::Online(Presence {
            connection: info.id,
            provider: info.provider.to_owned(),
            user: info.identity.user_name().map(str::to_owned),
            tenant: info.identity.tenant_name().map(str::to_owned),
            since: SystemTime::now(),
        }));
        if let Some(gone) = gone {
            self.tasks.spawn(self.run_hooks(&connection, gone));
        }
        let registration = Registration::new(self.unowned(), connection);
        if let Some(drain) = self.draining.get() {
            // It slipped in between the shutdown's mark and its look at the connections.
            self.restart(registration.connection(), *drain);
        }
        registration
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
            tracing::info!(provider = self.config.provider, connection = %id, "write stall");
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
        if reason == CloseReason::OVERLOADED {
            tracing::info!(provider = self.config.provider, connection = %id, %reason, "disconnected");
        } else {
            tracing::debug!(provider = self.config.provider, connection = %id, %reason, "disconnected");
        }
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

    /// Whether an identity may enter a room it names.
    pub(crate) async fn may_enter(&self, identity: &Identity, room: &str) -> Result<RoomAccess, Refusal> {
        check_name("room", room).map_err(|error| Refusal::bad_request(error.to_string()))?;
        let runtime = self.runtime().map_err(|error| Refusal::new(RefusalKind::Draining, error.to_string()))?;
        // The call itself may panic too.
        let ask = async { runtime.policy.access(identity, room).await };
        let asked = self.guard("room policy", self.config.provider, ask);
        match asked.await.ok_or_else(internal)? {
            RoomAccess::Deny => Err(Refusal::new(RefusalKind::Room, "not allowed into this room")),
            access => Ok(access),
        }
    }

    fn check_open(&self) -> Result<&crate::Runtime, Refusal> {
        if self.is_draining() {
            return Err(Refusal::new(RefusalKind::Draining, "this node is going down"));
        }
        let runtime = self.runtime().map_err(|error| Refusal::new(RefusalKind::Draining, error.to_string()))?;
        if !self.is_ready() {
            // While the log is being read for the first time, its end is not known yet.
            return Err(Refusal::new(RefusalKind::Draining, "the log cannot be read at the moment"));
        }
        Ok(runtime)
    }

    fn tell_directory(&self, change: DirectoryChange) {
        self.directory_changes.lock().unwrap_or_else(PoisonError::into_inner).push(change);
        self.directory_changed.notify_one();
    }

    /// Runs a connection's hooks in order: at once, and when it has gone. One that panics keeps no other one from its call.
    fn run_hooks(
        self: &Arc<Self>,
        connection: &Connection<C::Frame>,
        gone: oneshot::Receiver<Departure>,
    ) -> impl Future<Output = ()> + Send + use<C> {
        let dispatcher = self.unowned();
        let hooks = self.runtime.get().map(|runtime| runtime.hooks.clone()).unwrap_or_default();
        let info = connection.info.clone();
        let run = async move {
            for hook in &hooks {
                dispatcher.guard("lifecycle hook", "connected", async { hook.connected(&info).await }).await;
            }
            let Ok(departure) = gone.await else { return };
            if let Some(inbox) = departure.inbox {
                inbox.finished().await;
            }
            for hook in &hooks {
                let run = async { hook.disconnected(&info, &departure.reason).await };
                dispatcher.guard("lifecycle hook", "disconnected", run).await;
            }
        };
        run.instrument(connection.span.clone())
    }
}

fn internal() -> Refusal {
    Refusal::new(RefusalKind::Internal, "internal error")
}
