//! From an admitted request to a registered connection, and back out of the hub.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;
use tokio::time::Instant;

use tokio::sync::oneshot;
use tracing::Instrument;

use crate::delivery::connection::{Connection, Disconnected, Opening, Resources};
use crate::delivery::credentials::Credentials;
use crate::delivery::dispatcher::{Admitted, Dispatcher};
use crate::delivery::outbox::Outbox;
use crate::log::tracker::Change;
use crate::traits::codec::Codec;
use crate::traits::outlet::Outlet;
use crate::values::ack::AckStatus;
use crate::values::close::CloseReason;
use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::counted::Counted;
use crate::values::cursor::Cursor;
use crate::values::event::Event;
use crate::values::node::NodeId;
use crate::values::position::Position;
use crate::values::stamp::AtomicStamp;
use crate::values::stats::add;

impl<C: Codec> Dispatcher<C> {
    /// Registers an admitted connection in the hub.
    pub(crate) fn enter(self: &Arc<Self>, admitted: Admitted, outlet: Arc<dyn Outlet>) -> Arc<Connection<C::Frame>> {
        let (disconnected, hooks) = self.has_hooks().then(oneshot::channel).unzip();
        let connection = self.insert(admitted, outlet, disconnected);
        let info = &connection.info;
        add(&self.counters.connected, 1);
        tracing::debug!(
            provider = info.provider,
            connection = %info.id,
            user = info.identity.user_name(),
            resumed = info.resumed,
            "connected"
        );
        if let Some(presence) = self.node_id().and_then(|node| self.hub.presence(node, info.id)) {
            self.update_directory(Change::Opened(presence));
        }
        if connection.credentials.is_some() {
            self.begin_credentials(&connection);
        }
        if let Some(disconnected) = hooks {
            self.running.tasks.spawn(self.run_hooks(&connection, disconnected));
        }
        if let Some(drain) = self.running.draining.get() {
            // It was registered after the shutdown had begun, perhaps too late for the shutdown's
            // list of connections.
            self.restart(&connection, *drain);
        }
        connection
    }

    fn insert(
        &self,
        admitted: Admitted,
        outlet: Arc<dyn Outlet>,
        hooks: Option<oneshot::Sender<Disconnected>>,
    ) -> Arc<Connection<C::Frame>> {
        let Admitted { id, identity, ticket, rooms, data, cursor, former, address, request, trace } = admitted;
        let provider = self.config.provider;
        let resources = Resources { ticket, _task: self.running.tasks.token(), hooks };
        let mut info = ConnectionInfo { id, provider, identity, resumed: false, address };
        let span = self.connection_span(&info, trace.as_ref());
        let mut replayed_from = None;
        let (connection, awaited) = self.hub.register(&info.identity.clone(), &rooms, |applied, ended| {
            let (resume, reason) = self.resolve_cursor(cursor.as_deref(), applied, ended);
            let from = resume.unwrap_or(applied);
            let resumed = resume.is_some();
            replayed_from = resume;
            self.counters.presented(reason);
            info.resumed = resumed;
            let cursor = self.cursor(from);
            let opening = Opening { at: SystemTime::now(), epoch: cursor.epoch(), from, reason };
            let connection = Connection {
                outbox: Outbox::new(from, self.welcome(id, cursor, resumed, reason)),
                credentials: Credentials::of(&info.identity, request).map(Box::new),
                info,
                former: former.filter(|_| resumed),
                connected_at: Instant::now(),
                registered_at: applied,
                opening,
                inbox: OnceLock::new(),
                meter: OnceLock::new(),
                data,
                reconnect_sent: AtomicBool::new(false),
                fault: OnceLock::new(),
                in_flight: Mutex::default(),
                unwritten: AtomicStamp::default(),
                resources: Mutex::new(Some(resources)),
                span,
                outlet,
            };
            (connection, from)
        });
        self.confirm_presence(awaited);
        if let Some(from) = replayed_from {
            self.note_replay(&connection, from);
        }
        connection
    }

    /// Notes that the user gets what a resumed connection catches up on.
    fn note_replay(&self, connection: &Connection<C::Frame>, from: Position) {
        let Some(offline) = self.runtime.get().and_then(|runtime| runtime.log.offline()) else { return };
        let life = offline.life();
        offline.settle(life, self.window.events_for_user(from, &self.hub.visibility(connection)));
    }

    fn welcome(&self, id: ConnectionId, cursor: Cursor, resumed: bool, reason: &str) -> C::Frame {
        let value = serde_json::json!({
            "message": "connected",
            "connectionId": id.to_string(),
            "resumed": resumed,
            "reason": reason,
            "cursor": cursor.to_string(),
        });
        self.codec.event(&Event::protocol("connected", &value), Some(cursor))
    }

    /// Closes a connection and unregisters it, for this reason unless it was closed for another
    /// one.
    pub(crate) fn disconnect(&self, connection: &Connection<C::Frame>, reason: CloseReason) {
        // From here on pushes find it closed, so that receipts do not count it as queued.
        connection.close(reason.clone());
        // An explicit close reason wins over what the session observed.
        let reason = connection.outbox.close_reason().unwrap_or(reason);
        self.unregister(connection, reason);
    }

    /// Removes a connection from the hub and releases its resources; a second call has no effect.
    fn unregister(&self, connection: &Connection<C::Frame>, reason: CloseReason) {
        let id = connection.info.id;
        let keep = |rooms, position| self.keep_life(connection, &rooms, position, &reason);
        if !self.hub.unregister(connection, Instant::now(), keep) {
            return;
        }
        self.expiries.forget(connection);
        // Noticed by the sweep or by the session itself, whichever came first.
        if reason == CloseReason::WRITE_STALL {
            add(&self.counters.stalled, 1);
        }
        // Take the resources first: `Registration::inbox` treats missing ones as "already
        // unregistered".
        let resources = connection.resources.lock().unwrap_or_else(PoisonError::into_inner).take();
        self.counters.closed(&reason);
        if let Some(Some(meter)) = connection.meter.get() {
            meter.stop();
        }
        if let Some(inbox) = connection.inbox.get() {
            inbox.leave(reason.keeps_inbound(), Some(&self.counters.lingering));
            add(&self.counters.unhandled, inbox.take_dropped());
        }
        let asks = self.asks().leave(id);
        for ask in asks {
            ask.settle(id, AckStatus::Gone, None);
        }
        self.update_directory(Change::Closed(id));
        log_disconnect(connection, &reason);
        if let Some(hooks) = resources.and_then(|resources| resources.hooks) {
            // The task is gone when the runtime shuts down.
            let _ = hooks.send(Disconnected { reason, _lingers: Counted::new(&self.counters.lingering_hooks) });
        }
    }

    /// Disconnects a connection whose session may be blocked in a write: drops its queue and resets
    /// the TCP connection.
    pub(crate) fn disconnect_stuck(&self, connection: &Connection<C::Frame>, reason: CloseReason) {
        self.disconnect(connection, reason);
        connection.cut();
    }

    /// Returns this node, once the provider is attached.
    pub(super) fn node_id(&self) -> Option<NodeId> {
        self.runtime.get().map(|runtime| runtime.log.node().id)
    }

    pub(super) fn update_directory(&self, change: Change) {
        if let Some(runtime) = self.runtime.get() {
            runtime.tracker.queue(change);
        }
    }

    fn has_hooks(&self) -> bool {
        self.runtime.get().is_some_and(|runtime| !runtime.hooks.is_empty())
    }

    /// Runs a connection's hooks in order, now and when it has disconnected. A hook that panics
    /// does not keep the others from their calls.
    fn run_hooks(
        self: &Arc<Self>,
        connection: &Arc<Connection<C::Frame>>,
        disconnected: oneshot::Receiver<Disconnected>,
    ) -> impl Future<Output = ()> + Send + use<C> {
        let dispatcher = self.unowned();
        let hooks = self.runtime.get().map(|runtime| runtime.hooks.clone()).unwrap_or_default();
        let cx = self.context(connection);
        let of_hooks = Arc::clone(connection);
        let run = async move {
            for hook in &hooks {
                dispatcher.guard("lifecycle hook", "connected", async { hook.connected(&cx).await }).await;
            }
            let Ok(Disconnected { reason, _lingers }) = disconnected.await else { return };
            if let Some(inbox) = of_hooks.inbox.get() {
                inbox.finished().await;
            }
            let cx = dispatcher.context(&of_hooks);
            for hook in &hooks {
                let run = async { hook.disconnected(&cx, &reason).await };
                dispatcher.guard("lifecycle hook", "disconnected", run).await;
            }
        };
        run.instrument(connection.span.clone())
    }
}

/// Logs a disconnect; at INFO for a fault, which operators are asked about.
fn log_disconnect<F>(connection: &Connection<F>, reason: &CloseReason) {
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
        "connection closed for a client error"
    );
}
