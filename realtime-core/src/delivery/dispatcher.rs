use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use tokio::time::Instant;

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

mod absence;
mod admit;
mod ask;
mod context;
mod directory;
mod guard;
mod life;
mod owner;
mod rooms;
mod send;
mod tail;
mod worker;

use crate::admission::limits::Admission;
use crate::delivery::asks::Asks;
use crate::delivery::hub::{Connection, Hub};
use crate::delivery::window::Window;
use crate::log::directory::DirectoryChange;
use crate::log::record::{Body, Providers};
use crate::traits::codec::{Codec, Frame};
use crate::traits::router::Router;
use crate::traits::runtime::Runtime;
use crate::values::close::CloseReason;
use crate::values::config::DispatcherConfig;
use crate::values::connection::ConnectionInfo;
use crate::values::connection_stats::ConnectionStats;
use crate::values::cursor::{Epoch, Life, Mark};
use crate::values::cursor_key::CursorKey;
use crate::values::drain::Drain;
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::handler_error::HandlerError;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::stats::{Counters, Stats, add};
use crate::values::target::Target;
pub use admit::{Admitted, Asker};

/// One provider's way from a send to its connections: record → log → window → hub.
///
/// A provider makes one with its [`Codec`], and hands it the [`Runtime`] it is attached with. It is
/// the provider's [`crate::RealtimeBroadcast`] and [`crate::SocketIoBroadcast`] too.
///
/// It runs until [`Dispatcher::shutdown`], or until the last clone of what [`Dispatcher::new`] gave is dropped: then it
/// shuts down by itself, as with [`Drain::now`]. Connections and what runs for them do not keep it.
pub struct Dispatcher<C: Codec> {
    shared: Arc<Shared<C>>,
    /// Whether its end is the dispatcher's.
    owns: bool,
}

/// What all handles of a dispatcher share.
#[doc(hidden)]
pub struct Shared<C: Codec> {
    config: DispatcherConfig,
    codec: C,
    router: Router,
    hub: Hub<C::Frame>,
    window: Window<C::Frame>,
    admission: Arc<Admission>,
    pub(crate) counters: Counters,
    /// Set once, when the provider is attached.
    runtime: OnceLock<Runtime>,
    /// The log's life; exchanged when a log has lost its records, in one step with the hub's and the window's place.
    life: RwLock<Life>,
    /// The end of the log when it was taken up: closes up to here came before any connection there is.
    filled: AtomicU64,
    /// Asks of this node under way, by the position of their record, which is the number clients answer with.
    asks: Mutex<Asks>,
    /// What the directory has not been offered yet; bounded by the connections that come and go within one update.
    directory_changes: Mutex<Vec<DirectoryChange>>,
    directory_changed: Notify,
    /// Cancelled when the directory has been told of everything, after the end.
    directory_told: CancellationToken,
    /// Whether the log is being read, and has been read to its end; false while the backplane is away.
    ready: AtomicBool,
    /// By which the log knows it.
    seat: OnceLock<u64>,
    /// This provider alone, as records name it.
    only: Providers,
    /// It goes down, and is not ready for that.
    holding: AtomicBool,
    /// Cancelled when the time is over for which everything still works.
    hold_over: CancellationToken,
    /// Set when no more connections are taken.
    draining: OnceLock<Drain>,
    /// No more sends.
    closing: AtomicBool,
    /// Cancelled when nobody owns it any more.
    abandoned: CancellationToken,
    /// Whether rooms of absent users are being ended.
    ending: AtomicBool,
    /// Whether a room's event has been shown to everyone, which is logged once.
    widened: AtomicBool,
    /// Ends the background tasks.
    stop: CancellationToken,
    /// The hooks and workers of connections; shutdown waits for them.
    tasks: TaskTracker,
}

/// What a shutdown gives the last connections, then their hooks, then the directory.
const SHUTDOWN_STEP: std::time::Duration = std::time::Duration::from_secs(1);

impl<C: Codec> Dispatcher<C> {
    /// A dispatcher that is not attached yet; `router` handles what clients send.
    pub fn new(config: DispatcherConfig, codec: C, router: Router) -> Arc<Self> {
        Self::owned(Shared {
            only: Providers::one(config.provider),
            hub: Hub::new(config.outbox),
            window: Window::new(config.window),
            admission: Admission::new(config.limits),
            codec,
            router,
            config,
            counters: Counters::default(),
            runtime: OnceLock::new(),
            life: RwLock::new(Life::new(Epoch::random(), &CursorKey::random())),
            filled: AtomicU64::new(0),
            asks: Mutex::default(),
            directory_changes: Mutex::default(),
            directory_changed: Notify::new(),
            directory_told: CancellationToken::new(),
            ready: AtomicBool::new(false),
            seat: OnceLock::new(),
            holding: AtomicBool::new(false),
            hold_over: CancellationToken::new(),
            draining: OnceLock::new(),
            closing: AtomicBool::new(false),
            abandoned: CancellationToken::new(),
            ending: AtomicBool::new(false),
            widened: AtomicBool::new(false),
            stop: CancellationToken::new(),
            tasks: TaskTracker::new(),
        })
    }

    /// What it was made with.
    pub fn config(&self) -> &DispatcherConfig {
        &self.config
    }

    /// The provider's codec.
    pub fn codec(&self) -> &C {
        &self.codec
    }

    /// This node's connections.
    pub fn hub(&self) -> &Hub<C::Frame> {
        &self.hub
    }

    /// The newest part of the log.
    pub fn window(&self) -> &Window<C::Frame> {
        &self.window
    }

    /// What the provider was attached with.
    ///
    /// # Errors
    /// [`Error::NotAttached`].
    pub fn runtime(&self) -> Result<&Runtime> {
        self.runtime.get().ok_or_else(|| Error::NotAttached { provider: self.config.provider.to_owned() })
    }

    /// The service's handlers, which are for providers whose clients can send.
    fn common_router(&self) -> Option<&Router> {
        self.runtime.get().filter(|_| self.config.capabilities.bidirectional).map(|runtime| &runtime.router)
    }

    /// Whether connections are taken: attached, the log readable, not shutting down.
    pub fn is_ready(&self) -> bool {
        self.is_log_read() && !self.holding.load(Ordering::Acquire)
    }

    /// Whether the log is being read, and has been read to its end.
    fn is_log_read(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Whether a shutdown has begun: no more connections are taken. Sends are, until it is over.
    pub fn is_draining(&self) -> bool {
        self.draining.get().is_some()
    }

    /// How it goes down; as with [`Drain::now`] while it does not.
    pub fn drain_of_now(&self) -> Drain {
        self.draining.get().copied().unwrap_or(Drain::now())
    }

    /// Whether it is shut down: no more sends are taken.
    pub fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }

    /// What it has done on this node.
    pub fn stats(&self) -> Stats {
        let gauges = self.hub.gauges();
        let (records, bytes) = self.window.size();
        Stats {
            connections: gauges.connections as u64,
            users: gauges.users as u64,
            rooms: gauges.rooms as u64,
            behind: gauges.behind as u64,
            window_records: records as u64,
            window_bytes: bytes as u64,
            ..self.counters.read()
        }
    }

    /// How the connections of a target stand, those of this node.
    pub fn connections(&self, target: &Target) -> Vec<ConnectionStats> {
        let now = Instant::now();
        let end = self.hub.applied();
        let stats = |connection: &Arc<Connection<C::Frame>>| {
            let standing = connection.outbox.standing(now);
            standing.stats(&connection.info, now - connection.since, end, self.cursor(standing.told))
        };
        self.hub.matching(target).iter().map(stats).collect()
    }

    /// Closes the connections of a target, here at once and on all nodes through the log; answers how many of this node
    /// were told. On each node those are meant that came before the close's place in the log.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NotAttached`]. When the log does not take it, those of this node are closed all the
    /// same, and the error is [`Error::OutcomeUnknown`] or, when it is certain that no other node will hear of it,
    /// [`Error::Backplane`] or [`Error::Closed`].
    pub async fn close(&self, target: Target, reason: CloseReason) -> Result<usize> {
        target.check()?;
        self.runtime()?;
        let told = self.close_here(&target, &reason);
        self.append(EventId::random(), Body::Close { target, reason }, None).await?;
        Ok(told)
    }

    fn close_here(&self, target: &Target, reason: &CloseReason) -> usize {
        let connections = self.hub.matching(target);
        for connection in &connections {
            connection.close(reason.clone());
        }
        connections.len()
    }

    /// Is not ready for the time that the drain holds; then takes no more connections, closes those there are evenly over the drain's time, each told when to come back, and
    /// waits for their hooks and handlers; sends go on. What is left a second after that time is cut, and its hooks and
    /// handlers get one second more.
    ///
    /// A second call, while the first is under way, closes what is left in its own time.
    pub async fn drain(self: &Arc<Self>, drain: Drain) {
        self.hold(drain).await;
        let _ = self.draining.set(drain);
        self.hold_over.cancel();
        let deadline = Instant::now() + drain.duration() + SHUTDOWN_STEP;
        self.send_away(drain).await;
        self.tasks.close();
        if tokio::time::timeout_at(deadline, self.tasks.wait()).await.is_ok() {
            return;
        }
        // Sessions that are stuck in a write: their hooks run now.
        for connection in self.hub.everyone().iter() {
            connection.close(CloseReason::RESTART);
            let reason = connection.outbox.close_reason().unwrap_or(CloseReason::RESTART);
            self.unregister(connection, reason);
            connection.cut();
        }
        if tokio::time::timeout(SHUTDOWN_STEP, self.tasks.wait()).await.is_err() {
            let tasks = self.tasks.len();
            tracing::warn!(provider = self.config.provider, tasks, "drained with handlers or hooks still running");
        }
    }

    /// Says only that it is not ready, so that whoever sends clients here notices before any is refused; until another call has
    /// held for long enough.
    async fn hold(&self, drain: Drain) {
        self.holding.store(true, Ordering::Release);
        if !drain.hold_time().is_zero() {
            let _ = tokio::time::timeout(drain.hold_time(), self.hold_over.cancelled()).await;
        }
    }

    /// Drains, then takes no more sends and ends the background tasks; the directory gets one second to be told.
    pub async fn shutdown(self: &Arc<Self>, drain: Drain) {
        self.drain(drain).await;
        self.closing.store(true, Ordering::Release);
        if let (Some(runtime), Some(seat)) = (self.runtime.get(), self.seat.get()) {
            runtime.log.leave(*seat);
        }
        self.stop.cancel();
        if self.runtime.get().is_some() {
            // Entries that could not be taken back end with the node's lease.
            let _ = tokio::time::timeout(SHUTDOWN_STEP, self.directory_told.cancelled()).await;
        }
    }

    /// Closes the connections there are, one after the other, evenly over the drain's time.
    async fn send_away(self: &Arc<Self>, drain: Drain) {
        let mut connections = self.hub.everyone().to_vec();
        // Ids are random: those that came together do not go together.
        connections.sort_unstable_by_key(|connection| connection.info.id);
        let (start, count) = (Instant::now(), connections.len() as f64);
        for (number, connection) in connections.iter().enumerate() {
            if connection.outbox.is_closed() {
                continue;
            }
            let due = start + drain.duration().mul_f64(number as f64 / count);
            if due > Instant::now() {
                tokio::select! {
                    () = tokio::time::sleep_until(due) => {}
                    // Another call has not waited for so long.
                    () = self.stop.cancelled() => return,
                }
            }
            let Some(inbox) = connection.inbox.get().cloned() else {
                self.restart(connection, drain);
                continue;
            };
            // What its client has sent is answered first.
            inbox.close();
            let (dispatcher, connection) = (self.unowned(), Arc::clone(connection));
            self.tasks.spawn(async move {
                inbox.finished().await;
                dispatcher.restart(&connection, drain);
            });
        }
    }

    /// Closes a connection that is to come back, here or at another node, and tells it when.
    fn restart(&self, connection: &Connection<C::Frame>, drain: Drain) {
        let reason = CloseReason::RESTART;
        let frame = self.codec.reconnect(drain, &reason);
        // A client with a full lane would not read it in time either.
        connection.outbox.push_side(frame, false, self.config.outbox, Instant::now());
        connection.close_after(self.hub.applied(), reason);
    }

    /// Sends every connection back to begin anew: their places mean nothing any more.
    fn restart_all(&self) {
        for connection in self.hub.everyone().iter() {
            self.restart(connection, Drain::now());
        }
    }

    /// The event that tells a client that what lay between two places is gone.
    pub(crate) fn lost(&self, from: Position, (until, mark): (Position, Mark)) -> C::Frame {
        add(&self.counters.lost, 1);
        // What was at the first of them is gone, and with it what it would be told by.
        let from = self.cursor_of(from, Mark::NONE);
        let until = self.cursor_of(until, mark);
        let value = serde_json::json!({ "from": from.to_string(), "until": until.to_string() });
        self.codec.event(&Event::protocol("lost", &value), Some(until))
    }

    /// The event that tells a client that one record was passed over, in which its user's connections have ended again and
    /// again: what lies between the two places is that record alone.
    pub(crate) fn passed_over(
        &self,
        position: Position,
        (mark, size): (Mark, usize),
        connection: &ConnectionInfo,
    ) -> C::Frame {
        add(&self.counters.lost, 1);
        tracing::warn!(
            provider = self.config.provider,
            connection = %connection.id,
            user = connection.identity.user_name(),
            tenant = connection.identity.tenant_name(),
            position = position.get(),
            size,
            "an event is passed over: three connections of this user have ended while it went out"
        );
        let from = self.cursor_of(position.previous(), Mark::NONE);
        let until = self.cursor_of(position, mark);
        let value = serde_json::json!({
            "from": from.to_string(),
            "until": until.to_string(),
            "position": position.get(),
            "size": size,
        });
        self.codec.event(&Event::protocol("lost", &value), Some(until))
    }

    pub(crate) fn count_out(&self, frames: &[C::Frame]) {
        if !frames.is_empty() {
            add(&self.counters.events_out, frames.len());
            add(&self.counters.bytes_out, frames.iter().map(Frame::size).sum());
        }
    }

    pub(crate) fn count_in(&self, bytes: usize) {
        add(&self.counters.events_in, 1);
        add(&self.counters.bytes_in, bytes);
    }

    pub(crate) fn count_rejected(&self, error: &HandlerError) {
        self.counters.rejected(error.code());
    }

    fn asks(&self) -> MutexGuard<'_, Asks> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Connections that have taken nothing for too long, or whose identity is over, are told to end; what nobody can read any
    /// more is forgotten. Answers whose rooms are to end by absence.
    fn sweep(&self, now: Instant) -> Vec<Member> {
        let clock = std::time::SystemTime::now();
        for connection in self.hub.everyone().iter() {
            if connection.outbox.has_stalled(now, self.config.write_stall) {
                self.cut_stalled(connection);
            } else if connection.info.identity.is_expired(clock) {
                connection.close(CloseReason::EXPIRED);
            }
        }
        self.window.expire(now);
        self.hub.forget(self.window.start(), self.config.window.age, now, absence::MOST_ENDED)
    }
}

impl<C: Codec> std::fmt::Debug for Dispatcher<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Dispatcher")
            .field("provider", &self.config.provider)
            .field("hub", &self.hub)
            .finish_non_exhaustive()
    }
}
