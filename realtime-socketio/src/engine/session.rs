pub(crate) mod admission;
pub(crate) mod cause;
pub(crate) mod connect_errors;
pub(crate) mod credit;
pub(crate) mod heartbeat;
pub(crate) mod liveness;
pub(crate) mod liveness_check;
pub(crate) mod namespaces;
pub(crate) mod progress;
pub(crate) mod repeats;
pub(crate) mod upgrade;

use std::net::IpAddr;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
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
use crate::engine::session::repeats::Repeats;
use crate::engine::session::upgrade::Upgrade;

/// The Engine.IO session under one client, as far as it can be steered from outside: credit for
/// sending, a gate for reading, and an end.
///
/// engineioxide offers none of these. They work through the two things that are ours: the stream
/// that a websocket runs on, and the requests of long polling.
#[derive(Default)]
pub(crate) struct EngineSession {
    pub(crate) credit: Credit,
    pub(crate) namespaces: Namespaces,
    pub(crate) connect_errors: ConnectErrors,
    pub(crate) progress: Progress,
    pub(crate) liveness: Liveness,
    /// Where it is known; none in tests.
    registered: OnceLock<Registered>,
    paused: AtomicBool,
    stream_reader: AtomicWaker,
    post_reader: AtomicWaker,
    stream_writer: AtomicWaker,
    /// Wakes those who wait for the session to be at its end, for a moment to end it, for its begin, or for a sign of life.
    changed: Notify,
    /// It has entered our own namespace, see [`entry`](crate::engine::entry).
    entered: AtomicBool,
    /// The answer to that was not seen on its way out yet.
    hiding: AtomicBool,
    /// Whether the session has a websocket.
    pub(crate) upgrade: Upgrade,
    /// A GET of long polling waits for packets.
    polling: AtomicBool,
    /// How many have done so.
    polls: AtomicUsize,
    /// A POST is being read; a second one would break the order.
    posting: AtomicBool,
    closing: AtomicBool,
    /// The websocket's stream ended or failed before anyone said goodbye.
    lost: AtomicBool,
    cause: OnceLock<Cause>,
    /// The client's address, where it is known.
    client: OnceLock<IpAddr>,
    pub(crate) repeats: Repeats,
    /// Ends the session while it is on long polling.
    close_polling: OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Between Socket.IO's middleware and its connect handler: begins the connection that was accepted.
    start: Mutex<Option<Start>>,
}

/// Begins a connection, once its client has been told of it.
pub(crate) type Start = Box<dyn FnOnce() + Send>;

/// What all sessions of a node have in common, as far as one of them tells it; each is known by its number.
pub(crate) trait Registry: Send + Sync {
    /// Whose sessions they are, for the log.
    fn provider(&self) -> &'static str;

    /// A session has its first connection, or has lost its last one; called in the order in which that happened.
    fn set_connected(self: Arc<Self>, id: u64, connected: bool);

    /// A session's CONNECT waits for a place of its user, or does so no more.
    fn set_held(self: Arc<Self>, id: u64, held: bool);

    /// Counts and logs a refusal of the client with this address.
    fn report(&self, refusal: Refusal, address: Option<IpAddr>);
}

/// The session's place among the others.
struct Registered {
    registry: Weak<dyn Registry>,
    id: u64,
}

/// A GET of long polling that waits.
pub(crate) struct PollGuard(Arc<EngineSession>);

impl Drop for PollGuard {
    fn drop(&mut self) {
        self.0.polling.store(false, Ordering::SeqCst);
    }
}

/// How long a client that has been told to go may take to do it, or to be there to be told.
pub(crate) const GRACE: Duration = Duration::from_secs(1);

impl EngineSession {
    /// Stops reading from the client, until [`EngineSession::resume`].
    ///
    /// What a websocket has already read (one buffer of 4 KiB) still arrives. Engine.IO's pongs wait too, see
    /// [`heartbeat`](crate::engine::session::heartbeat).
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::SeqCst);
        self.note_unread();
    }

    /// Reads on; cheap when nothing was paused.
    pub(crate) fn resume(&self) {
        if self.paused.swap(false, Ordering::SeqCst) {
            self.note_unread();
            self.wake_readers();
        }
    }

    /// Lets those who read from the client look again.
    pub(crate) fn wake_readers(&self) {
        self.stream_reader.wake();
        self.post_reader.wake();
    }

    /// Whether reading is paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::SeqCst)
    }

    /// Notes that something came from the client.
    pub(crate) fn note_received(&self) {
        self.liveness.note_received();
        self.note_alive();
    }

    /// Notes a sign of life; cheap when nobody wants to know.
    pub(crate) fn note_alive(&self) {
        if self.liveness.note_alive() {
            self.notify();
        }
    }

    /// Notes whether a packet on the websocket has to wait.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        if self.liveness.set_blocked(blocked) {
            self.note_unread();
        }
    }

    /// To be called when reading stops or goes on, after that was noted.
    pub(crate) fn note_unread(&self) {
        self.liveness.set_unread(self.is_paused() || self.liveness.is_blocked());
    }

    /// Ends the session: its disconnect hooks run at once, or within a second if the client takes nothing.
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

    /// Ends the session and remembers why; the first cause counts.
    pub(crate) fn close_for(&self, cause: Cause) {
        if self.cause.set(cause).is_ok() && !self.namespaces.is_main_connected() {
            self.log_end(cause);
        }
        self.close();
    }

    /// One line for a fault that no connection of the main namespace ends with, which has a line of its own.
    fn log_end(&self, cause: Cause) {
        let Some((reason, setting)) = cause.fault() else { return };
        let registry = self.registered.get().and_then(|registered| registered.registry.upgrade());
        tracing::info!(
            provider = registry.map(|registry| registry.provider()),
            address = self.client.get().map(tracing::field::display),
            reason,
            setting,
            "session ended for a fault"
        );
    }

    /// Notes where the client is.
    pub(crate) fn set_client(&self, address: Option<IpAddr>) {
        if let Some(address) = address {
            self.client.get_or_init(|| address);
        }
    }

    /// The client's address, where it is known.
    pub(crate) fn client(&self) -> Option<IpAddr> {
        self.client.get().copied()
    }

    /// Ends the session for a flood; whether that is its cause now and was not before.
    pub(crate) fn end_flood(&self) -> bool {
        let first = self.cause.set(Cause::Flood).is_ok();
        self.close();
        first
    }

    /// Waits until the session is at its end.
    pub(crate) async fn closed(&self) {
        self.until(|| self.is_closing()).await;
    }

    /// Waits until the session has entered our own namespace, or is at its end.
    pub(crate) async fn entered(&self) {
        self.until(|| self.is_entered() || self.is_closing()).await;
    }

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

    /// The session is about to enter our own namespace: the answer to that is to be kept from the client.
    pub(crate) fn begin_hiding(&self) {
        self.hiding.store(true, Ordering::SeqCst);
    }

    /// The session has entered our own namespace.
    pub(crate) fn note_entered(&self) {
        self.entered.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
        self.wake_readers();
    }

    pub(crate) fn is_entered(&self) -> bool {
        self.entered.load(Ordering::SeqCst)
    }

    /// Whether an answer is still to be kept from the client.
    pub(crate) fn is_hiding(&self) -> bool {
        self.hiding.load(Ordering::SeqCst)
    }

    pub(crate) fn stop_hiding(&self) {
        self.hiding.store(false, Ordering::SeqCst);
    }

    /// Gives it its place in the table.
    pub(crate) fn register(&self, registry: Weak<dyn Registry>, id: u64) {
        let _ = self.registered.set(Registered { registry, id });
    }

    /// Tells the table that it has its first connection, or has lost its last one.
    pub(crate) fn set_connected(&self, connected: bool) {
        self.with_registry(|registry, id| registry.set_connected(id, connected));
    }

    /// Tells the table that its CONNECT waits for a place, or does so no more.
    pub(crate) fn set_held(&self, held: bool) {
        self.with_registry(|registry, id| registry.set_held(id, held));
    }

    pub(crate) fn report(&self, refusal: Refusal) {
        self.with_registry(|registry, _| registry.report(refusal, self.client()));
    }

    fn with_registry(&self, tell: impl FnOnce(Arc<dyn Registry>, u64)) {
        if let Some(registered) = self.registered.get()
            && let Some(registry) = registered.registry.upgrade()
        {
            tell(registry, registered.id);
        }
    }

    /// Ends the session so that its client comes back by itself, and is told of the cause if there is one.
    ///
    /// On long polling an answer has to say that: the next request of an ended session would fail, which a client takes
    /// for an error. One that does not ask within a second is not waited for.
    pub(crate) async fn close_for_reconnect(&self, cause: Option<Cause>) {
        let _ = timeout(GRACE, self.reachable()).await;
        match cause {
            Some(cause) => self.close_for(cause),
            None => self.close(),
        }
    }

    /// Waits until there is somebody to be told of the end.
    async fn reachable(&self) {
        self.until(|| self.upgrade.is_finished() || self.polling.load(Ordering::SeqCst) || self.is_closing()).await;
    }

    /// To be called when there is somebody to be told of the end, or somebody has given a sign of life.
    pub(crate) fn notify(&self) {
        self.changed.notify_waiters();
    }

    /// Notes that the stream ended by itself.
    pub(crate) fn note_lost(&self) {
        self.lost.store(true, Ordering::SeqCst);
    }

    /// Whether the stream ended by itself.
    pub(crate) fn is_lost(&self) -> bool {
        self.lost.load(Ordering::SeqCst)
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause.get().copied()
    }

    /// Whether the session is at its end.
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::SeqCst)
    }

    pub(crate) fn on_close_polling(&self, close: impl Fn() + Send + Sync + 'static) {
        if self.close_polling.set(Box::new(close)).is_ok()
            && self.is_closing()
            && let Some(close) = self.close_polling.get()
        {
            close();
        }
    }

    /// Waits until the websocket may read; true: the session is at its end.
    pub(crate) fn poll_stream_open(&self, cx: &Context<'_>) -> Poll<bool> {
        self.stream_reader.register(cx.waker());
        self.poll_open()
    }

    /// Waits until the POST may be read; true: the session is at its end.
    pub(crate) fn poll_post_open(&self, cx: &Context<'_>) -> Poll<bool> {
        self.post_reader.register(cx.waker());
        self.poll_open()
    }

    pub(crate) fn register_writer(&self, cx: &Context<'_>) {
        self.stream_writer.register(cx.waker());
    }

    /// Notes that a GET of long polling waits, until the guard is dropped. A second one ends the session.
    pub(crate) fn begin_poll(self: &Arc<Self>) -> PollGuard {
        self.polls.fetch_add(1, Ordering::SeqCst);
        self.progress.arrived();
        self.polling.store(true, Ordering::SeqCst);
        self.notify();
        PollGuard(Arc::clone(self))
    }

    /// None while a GET waits; else how many have done so, which is another number when one has come meanwhile.
    pub(crate) fn polls_so_far(&self) -> Option<usize> {
        (!self.polling.load(Ordering::SeqCst)).then(|| self.polls.load(Ordering::SeqCst))
    }

    pub(crate) fn begin_post(&self) -> bool {
        !self.posting.swap(true, Ordering::SeqCst)
    }

    pub(crate) fn end_post(&self) {
        self.posting.store(false, Ordering::SeqCst);
    }

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
