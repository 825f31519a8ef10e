pub(crate) mod secret;
pub(crate) mod table;

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use realtime_core::spi::{Meter, MeterCalls};
use realtime_core::{InboundRate, Refusal, RefusalKind};
use socketioxide::socket::Sid;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::engine::session::cause::Cause;
use crate::engine::session::registry::{Registry, Report};
use crate::engine::session::{EngineSession, GRACE};
use crate::engine::sessions::secret::Secret;
use crate::engine::sessions::table::{Evictions, Table};
use crate::engine::settings::{Allowance, Bounds};

/// Callback for each refusal and fault, with the client's address if it is known.
type Reporter = Box<dyn Fn(Report, Option<IpAddr>) + Send + Sync>;

/// Source of the meters of sessions; none if there is no rate.
type Meters = Box<dyn Fn(MeterCalls) -> Option<Arc<Meter>> + Send + Sync>;

/// All Engine.IO sessions of this node, connected to a namespace or not.
pub(crate) struct Sessions {
    /// The most that a session may send while it is unconnected.
    allowance: Allowance,
    /// Counts and logs a refusal or a fault.
    reporter: Reporter,
    meters: Meters,
    /// The sessions. Locked for lookups and changes only.
    table: Mutex<Table>,
    /// Notified when the last connection to the main namespace has ended.
    no_connections: Notify,
}

/// Returns the refusal of a session that was not connected in time.
pub(crate) fn timeout_refusal() -> Refusal {
    Refusal::new(RefusalKind::ConnectTimeout, "the session was not connected in time (connect_timeout)")
}

impl Sessions {
    pub(crate) fn new(
        bounds: Bounds,
        reporter: impl Fn(Report, Option<IpAddr>) + Send + Sync + 'static,
        meters: impl Fn(MeterCalls) -> Option<Arc<Meter>> + Send + Sync + 'static,
    ) -> Self {
        Self {
            allowance: bounds.allowance,
            reporter: Box::new(reporter),
            meters: Box::new(meters),
            table: Mutex::new(Table::new(bounds)),
            no_connections: Notify::new(),
        }
    }

    /// Opens a session, which is removed with the last clone of its guard. The bound per address
    /// applies if there is an address.
    ///
    /// At a bound the oldest unconnected session is closed for the new one. Returns none when the
    /// node is shutting down.
    pub(crate) fn open(self: &Arc<Self>, address: Option<IpAddr>) -> Option<SessionGuard> {
        let session = Arc::new(EngineSession::new(self.allowance));
        let (id, evictions) = self.lock().insert(&session, address)?;
        session.registered.set(Arc::downgrade(self) as Weak<dyn Registry>, id);
        self.evict(evictions);
        Some(SessionGuard(Arc::new(GuardInner {
            session,
            sessions: Arc::clone(self),
            id,
            secret: Secret::new(),
            is_published: OnceLock::new(),
        })))
    }

    /// Closes the evicted sessions, and starts the sweep if none runs. Called without the lock.
    fn evict(self: &Arc<Self>, Evictions { sessions, start_sweep }: Evictions) {
        for session in sessions {
            session.report(Refusal::new(RefusalKind::SessionLimit, "closed for a newer session"));
            session.close();
        }
        if start_sweep {
            self.start_sweep();
        }
    }

    /// Starts the task that closes unconnected sessions after `connect_timeout`, until there are
    /// none.
    fn start_sweep(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.lock().sweep_not_started();
            return;
        };
        let sessions = Arc::downgrade(self);
        runtime.spawn(async move {
            while let Some(next) = sessions.upgrade().and_then(|sessions| sessions.sweep()) {
                tokio::time::sleep_until(next).await;
            }
        });
    }

    fn sweep(&self) -> Option<Instant> {
        let (overdue, next) = self.lock().take_overdue(Instant::now());
        for session in overdue.into_iter().filter(|session| !session.is_closing()) {
            session.report(timeout_refusal());
            if !session.expire() {
                session.close_for(Cause::ConnectTimeout);
                continue;
            }
            // The CONNECT is answered first; the session is closed if the client does not connect
            // again.
            tokio::spawn(async move {
                sleep(GRACE).await;
                if !session.namespaces.is_connected() {
                    session.close_for(Cause::ConnectTimeout);
                }
            });
        }
        next
    }

    /// Finds the session on long polling that one of these secrets belongs to, and its id inside
    /// engineioxide.
    pub(crate) fn find(&self, secrets: &[Secret]) -> Option<(Sid, Arc<EngineSession>)> {
        self.lock().find(secrets)
    }

    /// Returns whether one of these secrets belongs to a session that was closed for a malformed
    /// packet a short time ago, and whose client has not been notified yet. The secret is removed.
    pub(crate) fn take_unnotified(&self, secrets: &[Secret]) -> bool {
        self.lock().take_unnotified(secrets)
    }

    /// Counts a connection to the main namespace, until the guard is dropped.
    pub(crate) fn add_connection(self: &Arc<Self>) -> ConnectionGuard {
        self.lock().add_connection();
        ConnectionGuard(Arc::clone(self))
    }

    /// Closes every session, refuses new ones, and waits until all connections have ended.
    pub(crate) async fn close(&self) {
        self.shut();
        loop {
            let notified = self.no_connections.notified();
            if self.lock().connections() == 0 {
                return;
            }
            notified.await;
        }
    }

    /// Closes every session and refuses new ones.
    pub(crate) fn shut(&self) {
        let all = self.lock().shut();
        for session in all {
            session.close();
        }
    }

    /// Returns the number of sessions that are connected to a namespace.
    pub(crate) fn connected_sessions(&self) -> usize {
        self.lock().connected_sessions()
    }

    /// Returns the number of sessions.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().len().0
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry for Sessions {
    fn set_connected(self: Arc<Self>, id: u64, connected: bool) {
        let evictions = self.lock().set_connected(id, connected);
        if let Some(evictions) = evictions {
            self.evict(evictions);
        }
    }

    /// A held session is outside the bounds. Once it is no longer held, `connect_timeout` starts
    /// anew.
    fn set_held(self: Arc<Self>, id: u64, held: bool) {
        let evictions = self.lock().set_held(id, held);
        if let Some(evictions) = evictions {
            self.evict(evictions);
        }
    }

    fn meter(&self, id: u64) -> Option<Arc<Meter>> {
        let session = Arc::downgrade(&self.lock().get(id)?);
        let of_readers = Weak::clone(&session);
        let on_free = move || of_readers.upgrade().into_iter().for_each(|session| session.wake_readers());
        let on_exceeded = move |_: &InboundRate| {
            session.upgrade().into_iter().for_each(|session| session.close_for(Cause::RateLimited));
        };
        (self.meters)(MeterCalls::new(on_exceeded).with_on_free(on_free))
    }

    fn report(&self, report: Report, address: Option<IpAddr>) {
        (self.reporter)(report, address);
    }
}

/// Guard of a session's entry in the table. The guard is in the extensions of the opening request,
/// which engineioxide keeps until the session has ended, so that the guard's drop is the session's
/// end.
#[derive(Clone)]
pub(crate) struct SessionGuard(Arc<GuardInner>);

struct GuardInner {
    session: Arc<EngineSession>,
    sessions: Arc<Sessions>,
    id: u64,
    secret: Secret,
    /// Set once requests find the session by its secret.
    is_published: OnceLock<()>,
}

impl SessionGuard {
    pub(crate) fn session(&self) -> &Arc<EngineSession> {
        &self.0.session
    }

    /// Returns the secret, which the client is sent as the session's id.
    pub(crate) fn secret(&self) -> Secret {
        self.0.secret
    }

    /// Has requests find the session by its secret; inside engineioxide the session has this id.
    pub(crate) fn publish(&self, sid: Sid) {
        if self.0.is_published.set(()).is_ok() {
            self.0.sessions.lock().publish(self.0.secret, sid, Arc::clone(&self.0.session));
        }
    }
}

impl Drop for GuardInner {
    fn drop(&mut self) {
        let mut table = self.sessions.lock();
        table.remove(self.id, self.secret, self.session.cause() == Some(Cause::Malformed));
        drop(table);
        self.session.close();
    }
}

/// Returns the session that this request opened.
pub(crate) fn session_of(opening: &http::request::Parts) -> Option<Arc<EngineSession>> {
    opening.extensions.get::<SessionGuard>().map(|guard| Arc::clone(guard.session()))
}

/// Guard of one connection to the main namespace.
pub(crate) struct ConnectionGuard(Arc<Sessions>);

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        let remaining = self.0.lock().remove_connection();
        if remaining == 0 {
            self.0.no_connections.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use std::time::Duration;

    #[test]
    fn session_is_removed_with_its_last_guard() {
        let sessions = with_bounds(1000, 100);
        let guard = sessions.open(None).expect("not shut");
        let (sid, secret) = (Sid::new(), guard.secret());
        assert!(sessions.find(&[secret]).is_none());
        guard.publish(sid);
        let clone = guard.clone();
        drop(guard);
        let (found, session) = sessions.find(&[Secret::new(), secret]).expect("still open");
        assert_eq!(found, sid);
        drop(clone);
        assert!(sessions.find(&[secret]).is_none());
        assert_eq!(sessions.len(), 0);
        assert!(session.is_closing());
    }

    fn with_bounds(sessions: usize, per_address: usize) -> Arc<Sessions> {
        let connect_timeout = Duration::from_secs(10);
        let allowance = Allowance::default();
        let bounds = Bounds { sessions, sessions_per_address: per_address, connect_timeout, allowance };
        Arc::new(Sessions::new(bounds, |_, _| {}, |_| None))
    }

    fn open(sessions: &Arc<Sessions>, address: &str) -> SessionGuard {
        sessions.open(address.parse().ok()).expect("not shut")
    }

    fn closing(guards: &[SessionGuard]) -> Vec<bool> {
        guards.iter().map(|guard| guard.session().is_closing()).collect()
    }

    #[test]
    fn oldest_unconnected_session_is_closed_for_a_new_one() {
        let sessions = with_bounds(3, 2);
        let mut all: Vec<_> = ["1.1.1.1", "", "1.1.1.1", "1.1.1.1"].map(|address| open(&sessions, address)).into();
        assert_eq!(
            closing(&all),
            [true, false, false, false],
            "the oldest of the address, whose slot is enough for the other bound"
        );
        all.push(open(&sessions, "2.2.2.2"));
        assert_eq!(closing(&all), [true, true, false, false, false], "the oldest of all");
        Arc::clone(&sessions).set_connected(2, true);
        all.extend((0..2).map(|_| open(&sessions, "")));
        assert_eq!(closing(&all), [true, true, false, true, false, false, false], "never one that is connected");
        assert_eq!(sessions.connected_sessions(), 1);
        Arc::clone(&sessions).set_connected(2, false);
        assert_eq!(closing(&all), [true, true, false, true, true, false, false], "nor one that has just disconnected");
        assert_eq!((sessions.connected_sessions(), sessions.lock().len().1), (0, 3));
        // A held session does not count as unconnected until it is released.
        Arc::clone(&sessions).set_held(2, true);
        all.push(open(&sessions, ""));
        assert_eq!(closing(&all[2..]), [false, true, true, false, false, false]);
        Arc::clone(&sessions).set_connected(2, true);
        Arc::clone(&sessions).set_connected(2, false);
        assert_eq!(closing(&all[2..]), [false, true, true, false, false, false]);
        Arc::clone(&sessions).set_held(2, false);
        assert_eq!(closing(&all[2..]), [false, true, true, true, false, false], "nor one that was just released");
        drop(all);
        assert_eq!(sessions.lock().len(), (0, 0));
    }

    #[test]
    fn bound_of_zero_means_unlimited() {
        let sessions = with_bounds(0, 0);
        let all: Vec<_> = (0..2000).map(|_| open(&sessions, "1.1.1.1")).collect();
        assert!(!closing(&all).contains(&true));
    }

    #[tokio::test(start_paused = true)]
    async fn unconnected_session_is_closed_after_connect_timeout() {
        let sessions = with_bounds(0, 0);
        let all: Vec<_> = (0..4).map(|_| open(&sessions, "")).collect();
        let sleep_secs = |seconds: u64| async move {
            tokio::time::sleep(Duration::from_millis(seconds * 1000 + 10)).await;
        };
        Arc::clone(&sessions).set_connected(1, true);
        sleep_secs(5).await;
        Arc::clone(&sessions).set_held(2, true);
        Arc::clone(&sessions).set_held(1, true);
        Arc::clone(&sessions).set_held(1, false);
        sleep_secs(5).await;
        assert_eq!(closing(&all), [true, false, false, true]);
        Arc::clone(&sessions).set_connected(1, false);
        sleep_secs(5).await;
        assert_eq!(closing(&all), [true, false, false, true]);
        sleep_secs(5).await;
        assert_eq!(closing(&all), [true, true, false, true], "connect_timeout after its disconnect");
        sleep_secs(20).await;
        Arc::clone(&sessions).set_held(2, false);
        sleep_secs(5).await;
        assert_eq!(closing(&all), [true, true, false, true], "held without a limit");
        sleep_secs(5).await;
        assert_eq!(closing(&all), [true; 4], "connect_timeout after its release");
        let late = open(&sessions, "");
        sleep_secs(10).await;
        assert!(late.session().is_closing(), "the sweep is started again");
    }

    #[tokio::test]
    async fn close_closes_all_sessions_and_waits_for_connections() {
        let sessions = with_bounds(1000, 100);
        let guard = sessions.open(None).expect("not shut");
        let connection = sessions.add_connection();
        let mut close = std::pin::pin!(sessions.close());
        assert!((&mut close).now_or_never().is_none());
        assert!(guard.session().is_closing());
        assert!(sessions.open(None).is_none());
        drop(connection);
        close.await;
    }
}
