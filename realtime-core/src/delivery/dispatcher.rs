use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;

mod absence;
mod admit;
mod ask;
mod catch_up;
mod context;
mod cursors;
mod expiry;
mod explain;
mod feed;
mod guard;
mod handshake;
mod meter;
mod owner;
mod refresh;
mod register;
mod rooms;
mod running;
mod send;
mod shutdown;
mod user_limits;
mod worker;

use crate::admission::limits::Admission;
use crate::delivery::asks::Asks;
use crate::delivery::connection::Connection;
use crate::delivery::expiries::Expiries;
use crate::delivery::hub::Hub;
use crate::delivery::window::Window;
use crate::log::record::Providers;
use crate::traits::codec::{Codec, Frame};
use crate::traits::router::Router;
use crate::traits::runtime::Runtime;
use crate::values::close::CloseReason;
use crate::values::config::DispatcherConfig;
use crate::values::connection::ConnectionInfo;
use crate::values::connection_stats::ConnectionStats;
use crate::values::cursor::{CursorSigner, Epoch, Mark};
use crate::values::cursor_key::CursorKey;
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::handler_error::HandlerError;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::stamp::Stamp;
use crate::values::stats::{Counters, Stats, add};
use crate::values::target::Target;
use running::Running;

pub use admit::{Admitted, RefusedClient};

/// The number of absent users whose rooms are ended in one tick.
const MAX_ENDED_ROOMS: usize = 100;

/// The path of one provider's events from a send to its connections:
/// record → log → window → hub.
///
/// A provider creates one with its [`Codec`], and attaches it with its own [`Runtime`]. The
/// dispatcher is the provider's [`crate::RealtimeBroadcast`] and [`crate::SocketIoBroadcast`] too.
///
/// It runs until [`Dispatcher::shutdown`], or until the last clone of what [`Dispatcher::new`]
/// returned is dropped: then it shuts down by itself, as with [`Drain::now`](crate::Drain::now).
/// Connections and their tasks do not keep it running.
pub struct Dispatcher<C: Codec> {
    shared: Arc<Shared<C>>,
    /// `true` if the dispatcher shuts down when the last such handle is dropped.
    owns: bool,
}

/// The state that all handles of a dispatcher share.
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
    /// The log's life; replaced when a log has lost its records, in one step with the hub's and the
    /// window's position.
    signer: RwLock<CursorSigner>,
    /// The end of the log when this node began to read it: a close up to here is older than every
    /// connection.
    filled: AtomicU64,
    /// Asks of this node under way, by the position of their record, which is the number clients
    /// answer with.
    asks: Mutex<Asks>,
    /// This provider alone, as a record's providers.
    only: Providers,
    running: Running,
    /// The connections whose credentials end.
    expiries: Expiries<C::Frame>,
    /// Set while rooms of absent users are being ended.
    ending: AtomicBool,
    /// Set once a room's event has been shown to everyone, which is logged once.
    widened: AtomicBool,
}

impl<C: Codec> Dispatcher<C> {
    /// Creates a dispatcher that is not attached yet; `router` handles what clients send.
    pub fn new(config: DispatcherConfig, codec: C, router: Router) -> Arc<Self> {
        Self::owned(Shared {
            only: Providers::one(config.provider),
            hub: Hub::new(config.delivery.outbox),
            window: Window::new(config.delivery.window),
            admission: Admission::new(config.delivery.limits),
            codec,
            router,
            config,
            counters: Counters::default(),
            runtime: OnceLock::new(),
            signer: RwLock::new(CursorSigner::new(Epoch::random(), &CursorKey::random())),
            filled: AtomicU64::new(0),
            asks: Mutex::default(),
            running: Running::default(),
            expiries: Expiries::default(),
            ending: AtomicBool::new(false),
            widened: AtomicBool::new(false),
        })
    }

    /// Returns the configuration.
    #[must_use]
    pub fn config(&self) -> &DispatcherConfig {
        &self.config
    }

    /// Returns the provider's codec.
    #[must_use]
    pub fn codec(&self) -> &C {
        &self.codec
    }

    /// Returns the hub with this node's connections.
    #[must_use]
    pub fn hub(&self) -> &Hub<C::Frame> {
        &self.hub
    }

    /// Returns the window with the newest part of the log.
    #[must_use]
    pub fn window(&self) -> &Window<C::Frame> {
        &self.window
    }

    /// Returns the runtime that the provider was attached with.
    ///
    /// # Errors
    /// [`Error::NotAttached`].
    pub fn runtime(&self) -> Result<&Runtime> {
        self.runtime.get().ok_or_else(|| Error::NotAttached { provider: Some(self.config.provider.to_owned()) })
    }

    /// Returns the service's handlers, which are for providers whose clients can send.
    fn common_router(&self) -> Option<&Router> {
        self.runtime.get().filter(|_| self.config.capabilities.bidirectional).map(|runtime| &runtime.router)
    }

    /// Returns the statistics of this node.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let gauges = self.hub.gauges();
        let (records, bytes) = self.window.size();
        Stats {
            connections: gauges.connections as u64,
            users: gauges.users as u64,
            rooms: gauges.rooms as u64,
            behind: gauges.behind as u64,
            queued_events: gauges.queued_events as u64,
            queued_bytes: gauges.queued_bytes as u64,
            waiting_handlers: self.admission.waiting_workers() as u64,
            waiting_ms: gauges.waiting.as_millis() as u64,
            window_records: records as u64,
            window_bytes: bytes as u64,
            window_ms: self.window.age(Instant::now()).as_millis() as u64,
            ..self.counters.read()
        }
    }

    /// Returns the statistics of this node's connections of a target.
    #[must_use]
    pub fn connections(&self, target: &Target) -> Vec<ConnectionStats> {
        let now = Instant::now();
        let end = self.hub.applied();
        let stats = |connection: &Arc<Connection<C::Frame>>| {
            let snapshot = connection.outbox.snapshot(now);
            snapshot.stats(&connection.info, now - connection.connected_at, end, self.cursor(snapshot.last_cursor))
        };
        self.hub.matching(target).iter().map(stats).collect()
    }

    /// Closes the connections of a target, on this node immediately and on all nodes through the
    /// log; returns the number of those that were asked to close, as far as the nodes have reported
    /// it within two seconds. On each node the close applies to connections older than its position
    /// in the log.
    ///
    /// # Errors
    /// [`Error::InvalidName`], [`Error::NotAttached`]. When the log does not accept it, those of
    /// this node are closed all the same, and the error is [`Error::OutcomeUnknown`] or, when it is
    /// certain that no other node will get it, [`Error::Backplane`] or [`Error::Closed`].
    pub async fn close(&self, target: Target, reason: CloseReason) -> Result<usize> {
        target.check()?;
        self.runtime()?;
        let closed = self.close_here(&target, &reason);
        Ok(closed + self.open_log()?.close_on_nodes(self.only.clone(), target, reason).await?)
    }

    fn close_here(&self, target: &Target, reason: &CloseReason) -> usize {
        self.hub.matching(target).iter().filter(|connection| self.end(connection, reason)).count()
    }

    /// Returns the event for a client that the records between two positions are gone.
    pub(crate) fn lost(&self, from: Position, (until, mark): (Position, Mark)) -> C::Frame {
        add(&self.counters.lost, 1);
        // The record at the first of them is gone, and its mark with it.
        let from = self.cursor_of(from, Mark::NONE);
        let until = self.cursor_of(until, mark);
        let value = serde_json::json!({ "from": from.to_string(), "until": until.to_string() });
        self.codec.event(&Event::protocol("lost", &value), Some(until))
    }

    /// Returns the event for a client that one record was passed over, because too many of its
    /// user's connections were closed within it: that record alone lies between the two positions.
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
            "skipping an event: three connections of this user were lost while it was sent"
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

    /// Counts the time since an event was sent that has been written to a socket; `sent` is what
    /// [`Registration::take_unwritten`](crate::spi::Registration::take_unwritten) returned.
    pub fn note_written(&self, sent: Stamp) {
        sent.elapsed().into_iter().for_each(|time| self.counters.timers.written.record(time));
    }

    /// Counts the time from a ping to its pong.
    pub fn note_round_trip(&self, time: Duration) {
        self.counters.timers.round_trips.record(time);
    }

    pub(crate) fn count_rejected(&self, error: &HandlerError) {
        self.counters.rejected(error.code());
    }

    /// Counts a fault for which the session of a client without a connection is ended, by its code,
    /// among [`Stats::rejected`](crate::Stats::rejected).
    pub fn count_fault(&self, code: &'static str) {
        self.counters.rejected(code);
    }

    fn asks(&self) -> MutexGuard<'_, Asks> {
        self.asks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Closes connections that have taken nothing for too long, or whose identity has expired, and
    /// forgets what no connection can read any more. Returns the users for whose absence
    /// a record is due.
    fn sweep(&self, now: Instant) -> Vec<Member> {
        let clock = std::time::SystemTime::now();
        for connection in self.hub.everyone().iter() {
            if connection.outbox.has_stalled(now, self.config.delivery.write_stall) {
                self.disconnect_stuck(connection, CloseReason::WRITE_STALL);
            } else if connection.credentials.as_ref().is_some_and(|credentials| credentials.is_expired(clock)) {
                // By wall-clock time, which goes on while the machine is suspended.
                self.end(connection, &CloseReason::EXPIRED);
            }
        }
        self.window.expire(now);
        self.hub.forget(self.window.start(), self.absence_times(), now, MAX_ENDED_ROOMS)
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
