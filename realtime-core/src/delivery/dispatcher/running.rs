//! Whether a dispatcher runs, and how it ends.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::hub::Connection;
use crate::log::tracker::Tracked;
use crate::traits::codec::Codec;
use crate::traits::runtime::Runtime;
use crate::values::close::CloseReason;
use crate::values::drain::Drain;

/// What a shutdown gives the last connections, then their hooks, then the directory.
const SHUTDOWN_STEP: std::time::Duration = std::time::Duration::from_secs(1);

/// How far a dispatcher is between its attach and its end.
#[derive(Default)]
pub(super) struct Running {
    /// Whether the log is being read, and has been read to its end; false while the backplane is away.
    pub(super) ready: AtomicBool,
    /// The number by which the log knows the provider.
    pub(super) seat: OnceLock<u64>,
    /// Whether the directory is told of the provider's connections.
    tracked: Mutex<Option<Tracked>>,
    /// It goes down, and is not ready for that.
    holding: AtomicBool,
    /// Cancelled when the time is over for which everything still works.
    hold_over: CancellationToken,
    /// Set when no more connections are taken.
    pub(super) draining: OnceLock<Drain>,
    /// No more sends.
    closing: AtomicBool,
    /// Cancelled when nobody owns it any more.
    pub(super) abandoned: CancellationToken,
    /// Ends the background tasks.
    pub(super) stop: CancellationToken,
    /// The hooks and workers of connections; shutdown waits for them.
    pub(super) tasks: TaskTracker,
}

impl Running {
    /// Keeps what lets the directory be told of the provider's connections.
    pub(super) fn set_tracked(&self, tracked: Tracked) {
        *self.tracked() = Some(tracked);
    }

    /// Gets no more records of the log, and tells the directory no more.
    pub(super) fn leave(&self, runtime: &Runtime) {
        if let Some(seat) = self.seat.get() {
            runtime.log.leave(*seat);
        }
        *self.tracked() = None;
    }

    fn tracked(&self) -> MutexGuard<'_, Option<Tracked>> {
        self.tracked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<C: Codec> Dispatcher<C> {
    /// Whether connections are taken: attached, the log readable, not shutting down.
    pub fn is_ready(&self) -> bool {
        self.is_log_read() && !self.running.holding.load(Ordering::Acquire)
    }

    /// Whether the log is being read, and has been read to its end.
    pub(super) fn is_log_read(&self) -> bool {
        self.running.ready.load(Ordering::Acquire)
    }

    /// Whether a shutdown has begun: no more connections are taken. Sends are, until it is over.
    pub fn is_draining(&self) -> bool {
        self.running.draining.get().is_some()
    }

    /// How it goes down; as with [`Drain::now`] while it does not.
    pub fn drain_of_now(&self) -> Drain {
        self.running.draining.get().copied().unwrap_or(Drain::now())
    }

    /// Whether it is shut down: no more sends are taken.
    pub fn is_closing(&self) -> bool {
        self.running.closing.load(Ordering::Acquire)
    }

    /// Is not ready for the time that the drain holds; then takes no more connections, closes those there are evenly over the drain's time, each told when to come back, and
    /// waits for their hooks and handlers; sends go on. What is left a second after that time is cut, and its hooks and
    /// handlers get one second more.
    ///
    /// A second call, while the first is under way, closes what is left in its own time.
    pub async fn drain(self: &Arc<Self>, drain: Drain) {
        self.hold(drain).await;
        let _ = self.running.draining.set(drain);
        self.running.hold_over.cancel();
        let deadline = Instant::now() + drain.duration() + SHUTDOWN_STEP;
        self.send_away(drain).await;
        self.running.tasks.close();
        if tokio::time::timeout_at(deadline, self.running.tasks.wait()).await.is_ok() {
            return;
        }
        // Sessions that are stuck in a write: their hooks run now.
        for connection in self.hub.everyone().iter() {
            connection.close(CloseReason::RESTART);
            let reason = connection.outbox.close_reason().unwrap_or(CloseReason::RESTART);
            self.unregister(connection, reason);
            connection.cut();
        }
        if tokio::time::timeout(SHUTDOWN_STEP, self.running.tasks.wait()).await.is_err() {
            let tasks = self.running.tasks.len();
            tracing::warn!(provider = self.config.provider, tasks, "drained with handlers or hooks still running");
        }
    }

    /// Says only that it is not ready, so that whoever sends clients here notices before any is refused; until another call has
    /// held for long enough.
    async fn hold(&self, drain: Drain) {
        self.running.holding.store(true, Ordering::Release);
        if !drain.hold_time().is_zero() {
            let _ = tokio::time::timeout(drain.hold_time(), self.running.hold_over.cancelled()).await;
        }
    }

    /// Drains, then takes no more sends and ends the background tasks; the directory gets one second to be told.
    pub async fn shutdown(self: &Arc<Self>, drain: Drain) {
        self.drain(drain).await;
        self.running.closing.store(true, Ordering::Release);
        let runtime = self.runtime.get();
        self.running.stop.cancel();
        if let Some(runtime) = runtime {
            self.running.leave(runtime);
            // Entries that could not be taken back end with the node's lease.
            let _ = tokio::time::timeout(SHUTDOWN_STEP, runtime.tracker.offered()).await;
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
                    () = self.running.stop.cancelled() => return,
                }
            }
            let Some(inbox) = connection.inbox.get().cloned() else {
                self.restart(connection, drain);
                continue;
            };
            // What its client has sent is answered first.
            inbox.close();
            let (dispatcher, connection) = (self.unowned(), Arc::clone(connection));
            self.running.tasks.spawn(async move {
                inbox.finished().await;
                dispatcher.restart(&connection, drain);
            });
        }
    }

    /// Closes a connection that is to come back, here or at another node, and tells it when.
    pub(super) fn restart(&self, connection: &Connection<C::Frame>, drain: Drain) {
        let reason = CloseReason::RESTART;
        let frame = self.codec.reconnect(drain, &reason);
        // A client with a full lane would not read it in time either.
        connection.outbox.push_side(frame, false, self.config.delivery.outbox, Instant::now());
        connection.close_after(self.hub.applied(), reason);
    }

    /// Sends every connection back to begin anew: their places mean nothing any more.
    pub(super) fn restart_all(&self) {
        for connection in self.hub.everyone().iter() {
            self.restart(connection, Drain::now());
        }
    }
}
