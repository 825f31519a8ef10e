//! The drain and the shutdown of a dispatcher.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::time::Instant;

use crate::delivery::connection::Connection;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::outbox::Pushed;
use crate::traits::codec::Codec;
use crate::values::close::CloseReason;
use crate::values::drain::Drain;

/// The time that a shutdown waits for the last connections, then for their hooks, then for the
/// directory.
const SHUTDOWN_STEP: std::time::Duration = std::time::Duration::from_secs(1);

impl<C: Codec> Dispatcher<C> {
    /// Returns whether the node should get new clients: attached, the log readable and
    /// writable, not shutting down. While the log can only be read, clients that connect all
    /// the same are accepted.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_log_read()
            && !self.running.holding.load(Ordering::Acquire)
            && self.runtime.get().is_some_and(|runtime| runtime.log.is_writable())
    }

    /// Returns whether the log is being read, and has been read to its end.
    pub(super) fn is_log_read(&self) -> bool {
        self.running.ready.load(Ordering::Acquire)
    }

    /// Returns whether a shutdown has begun: new connections are rejected, sends still work until
    /// it finishes.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.running.draining.get().is_some()
    }

    /// Returns the drain of the shutdown; [`Drain::now`] if none has begun.
    #[must_use]
    pub fn current_drain(&self) -> Drain {
        self.running.draining.get().copied().unwrap_or(Drain::now())
    }

    /// Returns whether the dispatcher is shut down: sends fail.
    #[must_use]
    pub fn is_closing(&self) -> bool {
        self.running.closing.load(Ordering::Acquire)
    }

    /// Drains the dispatcher: not ready for the time that the drain holds; then accepts no more
    /// connections, closes the current ones evenly over the drain's time, each with a frame that
    /// says when to reconnect, and waits for their hooks and handlers; sends go on. Connections
    /// that are left a second after that time are disconnected abruptly, and their hooks and
    /// handlers get one second more.
    ///
    /// A second call, while the first is under way, closes the remaining connections in its own
    /// time.
    pub async fn drain(self: &Arc<Self>, drain: Drain) {
        self.hold(drain).await;
        let _ = self.running.draining.set(drain);
        self.running.hold_over.cancel();
        let deadline = Instant::now() + drain.duration() + SHUTDOWN_STEP;
        self.close_evenly(drain).await;
        self.running.tasks.close();
        if tokio::time::timeout_at(deadline, self.running.tasks.wait()).await.is_ok() {
            return;
        }
        // Their sessions are blocked in a write: the hooks run now.
        for connection in self.hub.everyone().iter() {
            self.disconnect_stuck(connection, CloseReason::RESTART);
        }
        if tokio::time::timeout(SHUTDOWN_STEP, self.running.tasks.wait()).await.is_err() {
            let tasks = self.running.tasks.len();
            tracing::warn!(provider = self.config.provider, tasks, "drained with handlers or hooks still running");
        }
    }

    /// Only reports not ready, so that a load balancer notices before any client is refused; until
    /// another call has held for long enough.
    async fn hold(&self, drain: Drain) {
        self.running.holding.store(true, Ordering::Release);
        if !drain.hold().is_zero() {
            let _ = tokio::time::timeout(drain.hold(), self.running.hold_over.cancelled()).await;
        }
    }

    /// Drains, then accepts no more sends and ends the background tasks; waits one second at most
    /// for the directory to be updated.
    pub async fn shutdown(self: &Arc<Self>, drain: Drain) {
        self.drain(drain).await;
        self.running.closing.store(true, Ordering::Release);
        let runtime = self.runtime.get();
        self.running.stop.cancel();
        if let Some(runtime) = runtime {
            self.running.leave(runtime);
            // Entries that could not be removed expire with the node's lease.
            let _ = tokio::time::timeout(SHUTDOWN_STEP, runtime.tracker.offered()).await;
        }
    }

    /// Closes the current connections, one after the other, evenly over the drain's time.
    async fn close_evenly(self: &Arc<Self>, drain: Drain) {
        let mut connections = self.hub.everyone().to_vec();
        // Ids are random: connections that were accepted together are not closed together.
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
                    // Another call has a shorter drain.
                    () = self.running.stop.cancelled() => return,
                }
            }
            let Some(inbox) = connection.inbox.get().cloned() else {
                self.restart(connection, drain);
                continue;
            };
            // The client's events are answered first.
            inbox.close();
            let (dispatcher, connection) = (self.unowned(), Arc::clone(connection));
            self.running.tasks.spawn(async move {
                inbox.finished().await;
                dispatcher.restart(&connection, drain);
            });
        }
    }

    /// Closes a connection whose client is to reconnect, here or at another node, with a frame that
    /// says when.
    pub(super) fn restart(&self, connection: &Connection<C::Frame>, drain: Drain) {
        let reason = CloseReason::RESTART;
        let frame = self.codec.reconnect(drain, &reason);
        // Dropped if the lane is full: such a client would not read it in time either.
        let (pushed, _) = connection.outbox.push_side(frame, false, self.config.delivery.outbox, Instant::now());
        if pushed == Pushed::Queued {
            connection.reconnect_sent.store(true, Ordering::Relaxed);
        }
        connection.close_after(self.hub.applied(), reason);
    }

    /// Closes every connection, to begin anew after a reconnect: their positions mean nothing any
    /// more.
    pub(super) fn restart_all(&self) {
        for connection in self.hub.everyone().iter() {
            self.restart(connection, Drain::now());
        }
    }
}
