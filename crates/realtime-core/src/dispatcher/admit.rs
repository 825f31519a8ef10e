//! From a request to a registered connection.

use std::sync::{Arc, PoisonError};
use std::time::SystemTime;
use tokio::time::Instant;

use tokio::sync::oneshot;
use tracing::Instrument;

use crate::ack::AckStatus;
use crate::hub::{Beginning, Connection, Departure, Lease, Newcomer};
use crate::stats::add;
use crate::{
    CloseReason, Codec, ConnectRequest, ConnectionId, ConnectionInfo, DirectoryChange, Dispatcher, Event, Identity,
    Outlet, Position, Presence, Refusal, RefusalKind, Registration, RoomAccess, Ticket, check_name,
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
    /// Asks who is connecting, whether it may enter the rooms it names, and whether there is room for it.
    ///
    /// # Errors
    /// A [`Refusal`], counted and logged.
    pub async fn admit(
        &self,
        request: &ConnectRequest<'_>,
        rooms: &[String],
        cursor: Option<String>,
    ) -> Result<Admitted, Refusal> {
        let admitted = async {
            let runtime = self.check_open()?;
            let identity = runtime.authenticator.authenticate(request).await?;
            identity.check()?;
            if rooms.len() > MAX_ROOMS {
                return Err(Refusal::bad_request("too many rooms"));
            }
            let mut entered = Vec::with_capacity(rooms.len());
            for room in rooms {
                entered.push((Arc::from(room.as_str()), self.may_enter(&identity, room).await?));
            }
            let ticket = self.admission.admit(&identity)?;
            Ok(Admitted { identity, ticket, rooms: entered, cursor })
        };
        admitted.await.map_err(|refusal| self.refuse(refusal))
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
            let ticket = self.admission.admit(&identity)?;
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
        let lease = Lease { _ticket: ticket, _task: self.tasks.token(), hooks };
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
            inbox.close();
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
        match runtime.policy.access(identity, room).await {
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

    /// Runs a connection's hooks in order: at once, and when it has gone.
    fn run_hooks(
        &self,
        connection: &Connection<C::Frame>,
        gone: oneshot::Receiver<Departure>,
    ) -> impl Future<Output = ()> + Send + use<C> {
        let hooks = self.runtime.get().map(|runtime| runtime.hooks.clone()).unwrap_or_default();
        let info = connection.info.clone();
        let run = async move {
            for hook in &hooks {
                hook.connected(&info).await;
            }
            let Ok(departure) = gone.await else { return };
            if let Some(inbox) = departure.inbox {
                inbox.finished().await;
            }
            for hook in &hooks {
                hook.disconnected(&info, &departure.reason).await;
            }
        };
        run.instrument(connection.span.clone())
    }
}
