//! One Engine.IO session: its state, and what steers it from outside.

pub(crate) mod admission;
pub(crate) mod cause;
pub(crate) mod connect_errors;
pub(crate) mod credit;
pub(crate) mod heartbeat;
pub(crate) mod liveness;
pub(crate) mod liveness_check;
pub(crate) mod namespaces;
pub(crate) mod progress;
pub(crate) mod registry;
pub(crate) mod repeats;
pub(crate) mod upgrade;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use realtime_core::Refusal;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::engine::session::cause::Cause;
use crate::engine::session::connect_errors::ConnectErrors;
use crate::engine::session::credit::Credit;
use crate::engine::session::liveness::Liveness;
use crate::engine::session::namespaces::Namespaces;
use crate::engine::session::progress::Progress;
use crate::engine::session::registry::Registered;
use crate::engine::session::repeats::Repeats;
use crate::engine::session::upgrade::Upgrade;

/// State of one client's Engine.IO session, with control over it: credit for sending, a pause for reading, and its end.
///
/// engineioxide offers none of these. They take effect through the two layers of this crate's own: the stream that a
/// websocket runs on, and the requests of long polling.
#[derive(Default)]
pub(crate) struct EngineSession {
    pub(crate) credit: Credit,
    pub(crate) namespaces: Namespaces,
    pub(crate) connect_errors: ConnectErrors,
    pub(crate) progress: Progress,
    pub(crate) liveness: Liveness,
    pub(crate) registered: Registered,
    paused: AtomicBool,
    stream_reader: AtomicWaker,
    post_reader: AtomicWaker,
    stream_writer: AtomicWaker,
    /// Notified when a condition that [`until`](Self::until) waits for may have become true.
    changed: Notify,
    /// Set once the session has entered the entry namespace, see [`entry`](crate::engine::entry).
    entered: AtomicBool,
    /// Set while the answer to that CONNECT has not been removed from the output yet.
    hiding: AtomicBool,
    pub(crate) upgrade: Upgrade,
    /// Set while a GET of long polling waits for packets.
    polling: AtomicBool,
    /// Number of GETs so far.
    polls: AtomicUsize,
    /// Set while a POST is read; a second one would break the order.
    posting: AtomicBool,
    closing: AtomicBool,
    /// Set when the websocket's stream ended or failed without a close from either side.
    lost: AtomicBool,
    cause: OnceLock<Cause>,
    /// The client's address, where it is known.
    client: OnceLock<IpAddr>,
    pub(crate) repeats: Repeats,
    /// Callback that ends the session while it is on long polling.
    close_polling: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Starts the accepted connection; set between Socket.IO's middleware and its connect handler.
    start: Mutex<Option<Start>>,
}

/// Starts an accepted connection, after its client has been told that it is connected.
pub(crate) type Start = Box<dyn FnOnce() + Send>;

/// Guard of a GET of long polling that waits for packets.
pub(crate) struct PollGuard(Arc<EngineSession>);

impl Drop for PollGuard {
    fn drop(&mut self) {
        self.0.polling.store(false, Ordering::SeqCst);
    }
}

/// Time for a client to leave after it was told to, or to send the request whose answer tells it.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

impl EngineSession {
    /// Stops reading from the client, until [`EngineSession::resume`].
    ///
    /// What a websocket has already read (one buffer of 4 KiB) still arrives. Engine.IO's pongs wait too, see
    /// [`heartbeat`].
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        self.note_unread();
    }

    /// Resumes reading; cheap when it was not paused.
    pub(crate) fn resume(&self) {
        if self.paused.swap(false, Ordering::SeqCst) {
            self.note_unread();
            self.wake_readers();
        }
    }

    /// Wakes the tasks that read from the client.
    pub(crate) fn wake_readers(&self) {
        self.stream_reader.wake();
        self.post_reader.wake();
    }

    /// Returns whether reading is paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Notes that something came from the client.
    pub(crate) fn note_received(&self) {
        self.liveness.note_received();
        self.note_alive();
    }

    /// Notes a sign of life; cheap when none was requested.
    pub(crate) fn note_alive(&self) {
        if self.liveness.note_alive() {
            self.notify();
        }
    }

    /// Notes whether a packet on the websocket waits, so that nothing behind it is read.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        if self.liveness.set_blocked(blocked) {
            self.note_unread();
        }
    }

    /// Updates the time for which nothing was read; called after reading stopped or was resumed.
    pub(crate) fn note_unread(&self) {
        self.liveness.set_unread(self.is_paused() || self.liveness.is_blocked());
    }

    /// Ends the session. Its disconnect hooks run at once, or within a second if the client takes nothing.
    pub(crate) fn close(&self) {
        if !self.closing.swap(true, Ordering::SeqCst) {
            self.credit.wake();
            self.stream_writer.wake();
            self.changed.notify_waiters();
            self.wake_readers();
            if let Some(close) = self.close_polling.get() {
                close();
            }
        }
    }

    /// Ends the session for this cause; the first cause counts.
    pub(crate) fn close_for(&self, cause: Cause) {
        if self.cause.set(cause).is_ok() && !self.namespaces.is_main_connected() {
            self.log_end(cause);
        }
        self.close();
    }

    /// Logs a fault that ends the session without ending a connection to the main namespace, whose end is logged by itself.
    fn log_end(&self, cause: Cause) {
        let Some((reason, setting)) = cause.fault() else { return };
        tracing::info!(
            provider = self.registered.provider(),
            address = self.client.get().map(tracing::field::display),
            reason,
            setting,
            "session ended for a fault"
        );
    }

    /// Sets the client's address, if it is known and was not set before.
    pub(crate) fn set_client(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.client.get_or_init(|| address);
        }
    }

    /// Returns the client's address, if it is known.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.client.get().copied()
    }

    /// Ends the session for a flood. Returns whether that has become its cause.
    pub(crate) fn end_flood(&self) -> bool {
        let first = self.cause.set(Cause::Flood).is_ok();
        self.close();
        first
    }

    /// Waits until the session ends.
    pub(crate) async fn closed(&self) {
        self.until(|| self.is_closing()).await;
    }

    /// Waits until the session has entered the entry namespace, or ends.
    pub(crate) async fn entered(&self) {
        self.until(|| self.is_entered() || self.is_closing()).await;
    }

    /// Waits until the condition holds; it is checked again at each [`notify`](Self::notify).
    pub(crate) async fn until(&self, is_so: impl Fn() -> bool) {
        loop {
            let mut turn = pin!(self.changed.notified());
            turn.as_mut().enable();
            if is_so() {
                return;
            }
            turn.await;
        }
    }

    /// Has the next answer from the entry namespace removed from the output.
    pub(crate) fn begin_hiding(&self) {
        self.hiding.store(true, Ordering::SeqCst);
    }

    /// Notes that the session has entered the entry namespace.
    pub(crate) fn note_entered(&self) {
        self.entered.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.wake_readers();
    }

    /// Returns whether the session has entered the entry namespace.
    pub(crate) fn is_entered(&self) -> bool {
        self.entered.load(Ordering::SeqCst)
    }

    /// Returns whether the entry namespace's answer is still to be removed from the output.
    pub(crate) fn is_hiding(&self) -> bool {
        self.hiding.load(Ordering::SeqCst)
    }

    /// Notes that the entry namespace's answer was removed from the output.
    pub(crate) fn stop_hiding(&self) {
        self.hiding.store(false, Ordering::SeqCst);
    }

    /// Has the registry count and log a refusal of this client.
    pub(crate) fn report(&self, refusal: Refusal) {
        self.registered.report(refusal, self.client());
    }

    /// Ends the session so that its client reconnects by itself, and tells it the cause, if there is one.
    ///
    /// On long polling this takes the answer to a GET: the next request of an ended session would fail, which a client takes
    /// for an error. A client that sends no GET within a second is not waited for.
    pub(crate) async fn close_for_reconnect(&self, cause: Option<Cause>) {
        let _ = timeout(GRACE, self.reachable()).await;
        match cause {
            Some(cause) => self.close_for(cause),
            None => self.close(),
        }
    }

    /// Waits until the client can be told of the end.
    async fn reachable(&self) {
        self.until(|| self.upgrade.is_finished() || self.polling.load(Ordering::SeqCst) || self.is_closing()).await;
    }

    /// Wakes the tasks that wait in [`until`](Self::until).
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Notes that the websocket's stream ended without a close.
    pub(crate) fn note_lost(&self) {
        self.lost.store(true, Ordering::SeqCst);
    }

    /// Returns whether the websocket's stream ended without a close.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    /// Returns why this side ended the session, if it did so for a cause.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause.get().copied()
    }

    /// Returns whether the session is ending.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    /// Sets the callback that ends the session while it is on long polling; called at once if it is ending.
    pub(crate) fn on_close_polling(&self, close: impl Fn() + Send + Sync + 'static) {
        if self.close_polling.set(Box::new(close)).is_ok()
            && self.is_closing()
            && let Some(close) = self.close_polling.get()
        {
            close();
        }
    }

    /// Waits until the websocket may be read. Ready with true when the session is ending.
    pub(crate) fn poll_stream_open(&self, cx: &Context<'_>) -> Poll<bool> {
        self.stream_reader.register(cx.waker());
        self.poll_open()
    }

    /// Waits until the POST may be read. Ready with true when the session is ending.
    pub(crate) fn poll_post_open(&self, cx: &Context<'_>) -> Poll<bool> {
        self.post_reader.register(cx.waker());
        self.poll_open()
    }

    /// Has the websocket's writer woken when the session ends.
    pub(crate) fn register_writer(&self, cx: &Context<'_>) {
        self.stream_writer.register(cx.waker());
    }

    /// Notes that a GET of long polling waits, until the guard is dropped. engineioxide ends the session at a second one.
    pub(crate) fn begin_poll(self: &Arc<Self>) -> PollGuard {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.progress.note_arrived();
        self.polling.store(true, Ordering::SeqCst);
        self.notify();
        PollGuard(Arc::clone(self))
    }

    /// Returns the number of GETs so far, or none while one waits. Two equal numbers: no GET came between.
    pub(crate) fn polls_so_far(&self) -> Option<usize> {
        (!self.polling.load(Ordering::SeqCst)).then(|| self.polls.load(Ordering::SeqCst))
    }

    /// Notes that a POST is read. Returns false if another one is.
    pub(crate) fn begin_post(&self) -> bool {
        !self.posting.swap(true, Ordering::SeqCst)
    }

    /// Notes that the POST is over.
    pub(crate) fn end_post(&self) {
        self.posting.store(false, Ordering::SeqCst);
    }

    /// Replaces the starter of the accepted connection, and returns the one before.
    pub(crate) fn put_start(&self, start: Option<Start>) -> Option<Start> {
        std::mem::replace(&mut *self.start.lock().unwrap_or_else(PoisonError::into_inner), start)
    }

    fn poll_open(&self) -> Poll<bool> {
        match (self.is_closing(), self.is_paused()) {
            (true, _) => Poll::Ready(true),
            (false, true) => Poll::Pending,
            (false, false) => Poll::Ready(false),
        }
    }
}
