//! State of one Engine.IO session, and control over it.

pub(crate) mod admission;
pub(crate) mod cause;
pub(crate) mod close_state;
pub(crate) mod connect_errors;
pub(crate) mod credit;
pub(crate) mod entry_state;
pub(crate) mod heartbeat;
pub(crate) mod liveness;
pub(crate) mod liveness_check;
pub(crate) mod measured;
pub(crate) mod namespaces;
pub(crate) mod polling_state;
pub(crate) mod progress;
pub(crate) mod rate;
pub(crate) mod read_pause;
pub(crate) mod registry;
pub(crate) mod repeats;
pub(crate) mod upgrade;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::task::AtomicWaker;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::engine::session::cause::Cause;
use crate::engine::session::close_state::CloseState;
use crate::engine::session::connect_errors::ConnectErrors;
use crate::engine::session::credit::Credit;
use crate::engine::session::entry_state::EntryState;
use crate::engine::session::liveness::Liveness;
use crate::engine::session::measured::Measured;
use crate::engine::session::namespaces::Namespaces;
use crate::engine::session::polling_state::PollingState;
use crate::engine::session::progress::Progress;
use crate::engine::session::rate::SessionRate;
use crate::engine::session::read_pause::ReadPause;
use crate::engine::session::registry::{Registered, Report};
use crate::engine::session::repeats::Repeats;
use crate::engine::session::upgrade::Upgrade;
use crate::engine::settings::Allowance;

/// State of one client's Engine.IO session, with control over it: credit for sending, a pause for
/// reading, and its close.
///
/// engineioxide offers none of these. They take effect through the two layers of this crate's own:
/// the stream that a websocket runs on, and the requests of long polling.
#[derive(Default)]
pub(crate) struct EngineSession {
    pub(crate) credit: Credit,
    pub(crate) namespaces: Namespaces,
    pub(crate) connect_errors: ConnectErrors,
    pub(crate) progress: Progress,
    pub(crate) liveness: Liveness,
    pub(crate) measured: Measured,
    pub(crate) registered: Registered,
    pub(crate) upgrade: Upgrade,
    pub(crate) repeats: Repeats,
    pub(crate) entry: EntryState,
    pub(crate) polling: PollingState,
    pub(crate) rate: SessionRate,
    reading: ReadPause,
    /// The writing task of the websocket, woken when the session closes.
    stream_writer: AtomicWaker,
    close_state: CloseState,
    /// Notified when a condition that [`until`](Self::until) waits for may have become true.
    changed: Notify,
    /// The client's address, where it is known.
    client: OnceLock<IpAddr>,
    /// Start of the accepted connection; set between Socket.IO's middleware and its connect
    /// handler.
    start_task: Mutex<Option<StartTask>>,
}

/// Callback that starts an accepted connection, after its client was sent the answer to its
/// CONNECT.
pub(crate) type StartTask = Box<dyn FnOnce() + Send>;

/// Guard of a GET of long polling that waits for packets.
pub(crate) struct PollGuard(Arc<EngineSession>);

impl Drop for PollGuard {
    fn drop(&mut self) {
        self.0.polling.end_get();
    }
}

/// Time for a client to leave after it was asked to, or to send the request whose response asks it.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

impl EngineSession {
    /// Creates a session that may send so much while it is connected to no namespace.
    pub(crate) fn new(unconnected: Allowance) -> Self {
        Self { namespaces: Namespaces::new(unconnected), ..Self::default() }
    }

    /// Stops reading from the client, until [`EngineSession::resume`].
    ///
    /// What a websocket has already read (one buffer of 4 KiB) still arrives. Engine.IO's pongs
    /// wait too, see [`heartbeat`].
    pub(crate) fn pause(&self) {
        self.reading.pause();
        self.update_read_paused();
    }

    /// Resumes reading; cheap when it was not paused.
    pub(crate) fn resume(&self) {
        if self.reading.resume() {
            self.update_read_paused();
            self.wake_readers();
        }
    }

    /// Wakes the tasks that read from the client.
    pub(crate) fn wake_readers(&self) {
        self.reading.wake_readers();
    }

    /// Returns whether reading is paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.reading.is_paused()
    }

    /// Waits until the websocket may be read. Ready with true when the session is closing.
    pub(crate) fn poll_stream_open(&self, cx: &Context<'_>) -> Poll<bool> {
        self.reading.register_stream(cx);
        self.poll_open()
    }

    /// Waits until the POST may be read. Ready with true when the session is closing.
    pub(crate) fn poll_post_open(&self, cx: &Context<'_>) -> Poll<bool> {
        self.reading.register_post(cx);
        self.poll_open()
    }

    fn poll_open(&self) -> Poll<bool> {
        match (self.is_closing(), self.is_paused()) {
            (true, _) => Poll::Ready(true),
            (false, true) => Poll::Pending,
            (false, false) => Poll::Ready(false),
        }
    }

    /// Notes that bytes came from the client.
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
            self.update_read_paused();
        }
    }

    /// Updates the start of the time without a read; called after reading stopped or was resumed.
    pub(crate) fn update_read_paused(&self) {
        self.liveness.set_read_paused(self.is_paused() || self.liveness.is_blocked());
    }

    /// Closes the session. Its disconnect hooks run immediately, or within a second if the client
    /// does not read.
    pub(crate) fn close(&self) {
        if self.close_state.start() {
            self.credit.wake();
            self.stream_writer.wake();
            self.notify();
            self.wake_readers();
            self.polling.close();
            self.rate.meter().into_iter().for_each(|meter| meter.stop());
        }
    }

    /// Closes the session for this cause; the first cause counts.
    pub(crate) fn close_for(&self, cause: Cause) {
        // The end of a connection to the main namespace is counted and logged elsewhere.
        if self.close_state.set_cause(cause)
            && !self.namespaces.is_main_connected()
            && let Some(fault) = cause.fault()
        {
            self.report(fault);
        }
        self.close();
    }

    /// Sets the cause of the close that follows; the first cause counts.
    pub(crate) fn set_cause(&self, cause: Cause) {
        self.close_state.set_cause(cause);
    }

    /// Closes the session for a flood. Returns whether that has become its cause.
    pub(crate) fn close_for_flood(&self) -> bool {
        let first = self.close_state.set_cause(Cause::Flood);
        self.close();
        first
    }

    /// Closes the session so that its client reconnects by itself, and sends it the cause, if there
    /// is one.
    ///
    /// On long polling this takes the response to a GET: the next request of a closed session would
    /// fail, which a client takes for an error. A client that sends no GET within a second is not
    /// waited for.
    pub(crate) async fn close_for_reconnect(&self, cause: Option<Cause>) {
        let _ = timeout(GRACE, self.reachable()).await;
        match cause {
            Some(cause) => self.close_for(cause),
            None => self.close(),
        }
    }

    /// Waits until a last packet or close frame can be sent to the client.
    async fn reachable(&self) {
        self.until(|| self.upgrade.is_complete() || self.polling.get_waits() || self.is_closing()).await;
    }

    /// Returns the cause for which this side closed the session, if it did so for one.
    pub(crate) fn cause(&self) -> Option<Cause> {
        self.close_state.cause()
    }

    /// Returns whether the session is closing.
    pub(crate) fn is_closing(&self) -> bool {
        self.close_state.is_closing()
    }

    /// Notes that the websocket's stream ended without a close.
    pub(crate) fn set_transport_lost(&self) {
        self.close_state.set_transport_lost();
    }

    /// Returns whether the websocket's stream ended without a close.
    pub(crate) fn is_transport_lost(&self) -> bool {
        self.close_state.is_transport_lost()
    }

    /// Waits until the session closes.
    pub(crate) async fn closed(&self) {
        self.until(|| self.is_closing()).await;
    }

    /// Waits until the session is connected to the entry namespace, or closes.
    pub(crate) async fn entered(&self) {
        self.until(|| self.entry.is_connected() || self.is_closing()).await;
    }

    /// Notes that the session is connected to the entry namespace.
    pub(crate) fn note_entered(&self) {
        self.entry.set_connected();
        self.notify();
        self.wake_readers();
    }

    /// Waits until the condition holds; it is checked again at each [`notify`](Self::notify).
    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if condition() {
                return;
            }
            changed.await;
        }
    }

    /// Wakes the tasks that wait in [`until`](Self::until).
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
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

    /// Has the registry count and log a refusal or a fault of this client.
    pub(crate) fn report(&self, report: impl Into<Report>) {
        self.registered.report(report.into(), self.client());
    }

    /// Sets the callback that ends the session in engineioxide while it is on long polling; called
    /// immediately if the session is closing.
    pub(crate) fn on_close_polling(&self, close: impl Fn() + Send + Sync + 'static) {
        if self.polling.set_close(close) && self.is_closing() {
            self.polling.close();
        }
    }

    /// Has the websocket's writer woken when the session closes.
    pub(crate) fn register_writer(&self, cx: &Context<'_>) {
        self.stream_writer.register(cx.waker());
    }

    /// Notes that a GET of long polling waits, until the guard is dropped. engineioxide ends the
    /// session at a second one.
    pub(crate) fn start_poll(self: &Arc<Self>) -> PollGuard {
        self.progress.note_response_arrived();
        self.polling.start_get();
        self.notify();
        PollGuard(Arc::clone(self))
    }

    /// Sets the callback that starts the accepted connection.
    pub(crate) fn set_start_task(&self, start: StartTask) {
        let _previous = self.replace_start_task(Some(start));
    }

    /// Removes the callback that starts the accepted connection, and returns it.
    pub(crate) fn take_start_task(&self) -> Option<StartTask> {
        self.replace_start_task(None)
    }

    fn replace_start_task(&self, start: Option<StartTask>) -> Option<StartTask> {
        std::mem::replace(&mut *self.start_task.lock().unwrap_or_else(PoisonError::into_inner), start)
    }
}
