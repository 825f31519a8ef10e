use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::Duration;

use realtime_core::{Refusal, RefusalKind};
use socketioxide::socket::Sid;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep};

use crate::engine::cause::Cause;
use crate::engine::lobby::{Lobby, Turn};
use crate::engine::secret::Secret;
use crate::engine::session::{EngineSession, GRACE, Registry};
use crate::engine::settings::Bounds;

/// Told of each refusal, and of the client's address where it is known.
type Reporter = Box<dyn Fn(Refusal, Option<IpAddr>) + Send + Sync>;

/// All Engine.IO sessions of this node, connected to a namespace or not.
pub(crate) struct Sessions {
    bounds: Bounds,
    /// Counts and logs a refusal.
    reporter: Reporter,
    table: Mutex<Table>,
    /// Told when the last connection is over.
    emptied: Notify,
}

/// How many sessions are remembered that are to be told of their end, and for how long.
const MAX_TO_BE_TOLD: usize = 1000;
const TO_BE_TOLD: Duration = Duration::from_secs(30);

/// What a client is told whose session has had its time for a connection.
pub(crate) fn late() -> Refusal {
    Refusal::new(RefusalKind::ConnectTimeout, "the session was not connected in time (connect_timeout)")
}

/// Held for lookups and inserts only.
#[derive(Default)]
struct Table {
    next: u64,
    shut: bool,
    /// Connections to the main namespace whose end has not been told.
    connections: usize,
    /// Sessions that are connected to a namespace.
    seated: usize,
    all: HashMap<u64, Entry>,
    /// Those that began on long polling, whose requests name them.
    by_secret: HashMap<Secret, (Sid, Arc<EngineSession>)>,
    /// Ended for a broken packet, and since when: a client that asks again is to be told of the end.
    to_be_told: VecDeque<(Secret, Instant)>,
    lobby: Lobby,
    /// A task ends those that stay too long.
    swept: bool,
}

struct Entry {
    session: Arc<EngineSession>,
    address: Option<IpAddr>,
    /// While it is connected to no namespace and not held.
    turn: Option<Turn>,
    seated: bool,
    /// Its user is known and waits for a place: whoever holds it ends the wait.
    held: bool,
}

impl Table {
    fn enter_lobby(&mut self, id: u64, until: Instant) {
        if let Some(entry) = self.all.get_mut(&id) {
            entry.turn = Some(self.lobby.enter(id, entry.address, until));
        }
    }

    fn leave_lobby(&mut self, id: u64) {
        if let Some(turn) = self.all.get_mut(&id).and_then(|entry| entry.turn.take()) {
            self.lobby.leave(turn);
        }
    }

    /// Takes a session out of the lobby, to be ended.
    fn turn_out(&mut self, id: u64) -> Option<Arc<EngineSession>> {
        self.leave_lobby(id);
        self.all.get(&id).map(|entry| Arc::clone(&entry.session))
    }

    /// Makes room for one more from this address: whom to end for it.
    fn make_room(&mut self, address: Option<IpAddr>, bounds: Bounds) -> Vec<Arc<EngineSession>> {
        let mut out = Vec::new();
        if let Some(address) = address
            && bounds.sessions_per_address > 0
            && self.lobby.len_from(address) >= bounds.sessions_per_address
        {
            out.extend(self.lobby.oldest_from(address).and_then(|id| self.turn_out(id)));
        }
        if bounds.sessions > 0 && self.lobby.len() >= bounds.sessions {
            out.extend(self.lobby.oldest().and_then(|(id, _)| self.turn_out(id)));
        }
        out
    }

    /// Those that have stayed too long, and when the next one will have.
    fn overdue(&mut self, now: Instant) -> (Vec<Arc<EngineSession>>, Option<Instant>) {
        let mut out = Vec::new();
        while let Some((id, until)) = self.lobby.oldest() {
            if until > now {
                return (out, Some(until));
            }
            out.extend(self.turn_out(id));
        }
        (out, None)
    }
}

impl Sessions {
    pub(crate) fn new(bounds: Bounds, reporter: impl Fn(Refusal, Option<IpAddr>) + Send + Sync + 'static) -> Self {
        Self { bounds, reporter: Box::new(reporter), table: Mutex::default(), emptied: Notify::new() }
    }

    /// A new session's session; it is forgotten with the last clone of its guard. The bound of one address is for those
    /// that have one.
    ///
    /// At a bound the oldest session without a connection is ended for it. None when the node is going down.
    pub(crate) fn open(self: &Arc<Self>, address: Option<IpAddr>) -> Option<SessionGuard> {
        let session = Arc::new(EngineSession::default());
        let (id, out, begin) = {
            let mut table = self.lock();
            if table.shut {
                return None;
            }
            let out = table.make_room(address, self.bounds);
            let id = table.next;
            table.next += 1;
            table
                .all
                .insert(id, Entry { session: Arc::clone(&session), address, turn: None, seated: false, held: false });
            table.enter_lobby(id, self.deadline());
            (id, out, !std::mem::replace(&mut table.swept, true))
        };
        session.place(Arc::downgrade(self) as Weak<dyn Registry>, id);
        self.after(out, begin);
        Some(SessionGuard(Arc::new(Inner {
            session,
            sessions: Arc::clone(self),
            id,
            secret: Secret::new(),
            is_named: OnceLock::new(),
        })))
    }

    /// Changes a session, which is in the lobby afterwards, as its youngest, or is not.
    fn change(self: &Arc<Self>, id: u64, change: impl FnOnce(&mut Entry)) {
        let (out, begin) = {
            let mut guard = self.lock();
            let table = &mut *guard;
            let Some(entry) = table.all.get_mut(&id) else { return };
            let (address, before) = (entry.address, entry.seated);
            change(entry);
            let (seated, held) = (entry.seated, entry.held);
            if seated != before {
                table.seated = if seated { table.seated + 1 } else { table.seated - 1 };
            }
            table.leave_lobby(id);
            if seated || held {
                return;
            }
            let out = table.make_room(address, self.bounds);
            table.enter_lobby(id, self.deadline());
            (out, !std::mem::replace(&mut table.swept, true))
        };
        self.after(out, begin);
    }

    /// What is done without the lock after a session has come into the lobby.
    fn after(self: &Arc<Self>, out: Vec<Arc<EngineSession>>, begin_sweep: bool) {
        for session in out {
            let address = session.client().map(tracing::field::display);
            tracing::info!(
                provider = self.bounds.provider,
                address,
                setting = "unconnected_sessions",
                "session ended for a newer one"
            );
            session.close();
        }
        if begin_sweep {
            self.begin_sweep();
        }
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        // As far as tokio's own timers go.
        now.checked_add(self.bounds.connect_timeout).unwrap_or(now + Duration::from_secs(86_400 * 365 * 30))
    }

    /// Ends sessions without a connection when their time is over, until there are none.
    fn begin_sweep(self: &Arc<Self>) {
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            self.lock().swept = false;
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
        let (overdue, next) = {
            let mut table = self.lock();
            let (overdue, next) = table.overdue(Instant::now());
            table.swept = next.is_some();
            (overdue, next)
        };
        for session in overdue.into_iter().filter(|session| !session.is_closing()) {
            self.report(late(), session.client());
            if !session.expire() {
                session.close_for(Cause::ConnectTimeout);
                continue;
            }
            // The answer goes out first, and ends the session only if the client leaves it at that.
            tokio::spawn(async move {
                sleep(GRACE).await;
                if !session.namespaces.is_connected() {
                    session.close_for(Cause::ConnectTimeout);
                }
            });
        }
        next
    }

    /// The session on long polling that one of these names, and its id inside.
    pub(crate) fn find(&self, secrets: &[Secret]) -> Option<(Sid, Arc<EngineSession>)> {
        let table = self.lock();
        secrets.iter().find_map(|secret| table.by_secret.get(secret).cloned())
    }

    /// Whether one of these names a session that has ended for a broken packet a short time ago, and whose client asks for the
    /// first time since.
    pub(crate) fn is_to_be_told(&self, secrets: &[Secret]) -> bool {
        let mut table = self.lock();
        let found = table.to_be_told.iter().position(|(known, _)| secrets.contains(known));
        found.and_then(|at| table.to_be_told.remove(at)).is_some_and(|(_, since)| since.elapsed() < TO_BE_TOLD)
    }

    /// Counts a connection, until the guard is dropped.
    pub(crate) fn connect(self: &Arc<Self>) -> Connected {
        self.lock().connections += 1;
        Connected(Arc::clone(self))
    }

    /// Ends every session, lets none in any more, and waits until all connections are over.
    pub(crate) async fn close(&self) {
        self.shut();
        loop {
            let emptied = self.emptied.notified();
            if self.lock().connections == 0 {
                return;
            }
            emptied.await;
        }
    }

    /// Ends every session, and lets none in any more.
    pub(crate) fn shut(&self) {
        let all: Vec<_> = {
            let mut table = self.lock();
            table.shut = true;
            table.all.values().map(|entry| Arc::clone(&entry.session)).collect()
        };
        for session in all {
            session.close();
        }
    }

    /// Sessions that are connected to a namespace.
    pub(crate) fn seated(&self) -> usize {
        self.lock().seated
    }

    /// Sessions that are remembered.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.lock().all.len()
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Registry for Sessions {
    fn provider(&self) -> &'static str {
        self.bounds.provider
    }

    fn seat(self: Arc<Self>, id: u64, connected: bool) {
        self.change(id, |entry| entry.seated = connected);
    }

    /// Meanwhile the session is outside the bounds, and has its time for a connection once more then.
    fn hold(self: Arc<Self>, id: u64, held: bool) {
        self.change(id, |entry| entry.held = held);
    }

    fn report(&self, refusal: Refusal, address: Option<IpAddr>) {
        (self.reporter)(refusal, address);
    }
}

/// A session's place among the sessions. It travels in the opening request's extensions, which
/// engineioxide keeps as long as the session lives, so its drop is the session's end.
#[derive(Clone)]
pub(crate) struct SessionGuard(Arc<Inner>);

struct Inner {
    session: Arc<EngineSession>,
    sessions: Arc<Sessions>,
    id: u64,
    secret: Secret,
    /// Requests find the session by its secret.
    is_named: OnceLock<()>,
}

impl SessionGuard {
    pub(crate) fn session(&self) -> &Arc<EngineSession> {
        &self.0.session
    }

    /// What the session's client is told as its id.
    pub(crate) fn secret(&self) -> Secret {
        self.0.secret
    }

    /// From here on the session's requests find it by its secret; inside it has this id.
    pub(crate) fn name(&self, sid: Sid) {
        if self.0.is_named.set(()).is_ok() {
            self.0.sessions.lock().by_secret.insert(self.0.secret, (sid, Arc::clone(&self.0.session)));
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        let mut table = self.sessions.lock();
        table.leave_lobby(self.id);
        if table.all.remove(&self.id).is_some_and(|entry| entry.seated) {
            table.seated -= 1;
        }
        if table.by_secret.remove(&self.secret).is_some() && self.session.cause() == Some(Cause::Malformed) {
            table.to_be_told.truncate(MAX_TO_BE_TOLD - 1);
            table.to_be_told.push_front((self.secret, Instant::now()));
        }
        drop(table);
        self.session.close();
    }
}

/// The session that this request opened.
pub(crate) fn session_of(opening: &http::request::Parts) -> Option<Arc<EngineSession>> {
    opening.extensions.get::<SessionGuard>().map(|guard| Arc::clone(guard.session()))
}

/// One connection to the main namespace.
pub(crate) struct Connected(Arc<Sessions>);

impl Drop for Connected {
    fn drop(&mut self) {
        let left = {
            let mut table = self.0.lock();
            table.connections -= 1;
            table.connections
        };
        if left == 0 {
            self.0.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;

    #[test]
    fn a_session_is_forgotten_with_its_guard() {
        let sessions = bounded(1000, 100);
        let guard = sessions.open(None).expect("not shut");
        let (sid, secret) = (Sid::new(), guard.secret());
        assert!(sessions.find(&[secret]).is_none());
        guard.name(sid);
        let clone = guard.clone();
        drop(guard);
        let (found, session) = sessions.find(&[Secret::new(), secret]).expect("still open");
        assert_eq!(found, sid);
        drop(clone);
        assert!(sessions.find(&[secret]).is_none());
        assert_eq!(sessions.len(), 0);
        assert!(session.is_closing());
    }

    fn bounded(sessions: usize, per_address: usize) -> Arc<Sessions> {
        let connect_timeout = Duration::from_secs(10);
        let bounds = Bounds { provider: "socket", sessions, sessions_per_address: per_address, connect_timeout };
        Arc::new(Sessions::new(bounds, |_, _| {}))
    }

    fn open(sessions: &Arc<Sessions>, address: &str) -> SessionGuard {
        sessions.open(address.parse().ok()).expect("not shut")
    }

    fn closing(guards: &[SessionGuard]) -> Vec<bool> {
        guards.iter().map(|guard| guard.session().is_closing()).collect()
    }

    #[test]
    fn the_oldest_goes_for_a_newcomer() {
        let sessions = bounded(3, 2);
        let mut all: Vec<_> = ["1.1.1.1", "", "1.1.1.1", "1.1.1.1"].map(|address| open(&sessions, address)).into();
        assert_eq!(closing(&all), [true, false, false, false], "the oldest of its address, which made room for all");
        all.push(open(&sessions, "2.2.2.2"));
        assert_eq!(closing(&all), [true, true, false, false, false], "the oldest of all");
        Arc::clone(&sessions).seat(2, true);
        all.extend((0..2).map(|_| open(&sessions, "")));
        assert_eq!(closing(&all), [true, true, false, true, false, false, false], "never one that is connected");
        assert_eq!(sessions.seated(), 1);
        Arc::clone(&sessions).seat(2, false);
        assert_eq!(closing(&all), [true, true, false, true, true, false, false], "nor one that has just left");
        assert_eq!((sessions.seated(), sessions.lock().lobby.len()), (0, 3));
        // One that is held is none of them until it is held no more.
        Arc::clone(&sessions).hold(2, true);
        all.push(open(&sessions, ""));
        assert_eq!(closing(&all[2..]), [false, true, true, false, false, false]);
        Arc::clone(&sessions).seat(2, true);
        Arc::clone(&sessions).seat(2, false);
        assert_eq!(closing(&all[2..]), [false, true, true, false, false, false]);
        Arc::clone(&sessions).hold(2, false);
        assert_eq!(closing(&all[2..]), [false, true, true, true, false, false], "nor one whose wait is over");
        drop(all);
        assert_eq!((sessions.len(), sessions.lock().lobby.len()), (0, 0));
    }

    #[test]
    fn zero_is_no_bound() {
        let sessions = bounded(0, 0);
        let all: Vec<_> = (0..2000).map(|_| open(&sessions, "1.1.1.1")).collect();
        assert!(!closing(&all).contains(&true));
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_connected_in_time_goes() {
        let sessions = bounded(0, 0);
        let all: Vec<_> = (0..4).map(|_| open(&sessions, "")).collect();
        let pass = |seconds: u64| async move {
            tokio::time::sleep(Duration::from_millis(seconds * 1000 + 10)).await;
        };
        Arc::clone(&sessions).seat(1, true);
        pass(5).await;
        Arc::clone(&sessions).hold(2, true);
        Arc::clone(&sessions).hold(1, true);
        Arc::clone(&sessions).hold(1, false);
        pass(5).await;
        assert_eq!(closing(&all), [true, false, false, true]);
        Arc::clone(&sessions).seat(1, false);
        pass(5).await;
        assert_eq!(closing(&all), [true, false, false, true]);
        pass(5).await;
        assert_eq!(closing(&all), [true, true, false, true], "connect_timeout after it was left");
        pass(20).await;
        Arc::clone(&sessions).hold(2, false);
        pass(5).await;
        assert_eq!(closing(&all), [true, true, false, true], "held for as long as whoever holds it wants");
        pass(5).await;
        assert_eq!(closing(&all), [true; 4], "connect_timeout after its wait");
        let late = open(&sessions, "");
        pass(10).await;
        assert!(late.session().is_closing(), "the sweep begins again");
    }

    #[tokio::test]
    async fn close_ends_all_and_waits_for_the_last() {
        let sessions = bounded(1000, 100);
        let guard = sessions.open(None).expect("not shut");
        let connection = sessions.connect();
        let mut close = std::pin::pin!(sessions.close());
        assert!((&mut close).now_or_never().is_none());
        assert!(guard.session().is_closing());
        assert!(sessions.open(None).is_none());
        drop(connection);
        close.await;
    }
}
