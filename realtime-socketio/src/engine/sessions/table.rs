use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use socketioxide::socket::Sid;
use tokio::time::Instant;

use crate::engine::session::EngineSession;
use crate::engine::sessions::secret::Secret;
use crate::engine::sessions::unconnected::{Turn, Unconnected};
use crate::engine::settings::Bounds;

/// Number of ended sessions that are remembered because their clients are to be told, and for how long.
const MAX_TO_BE_TOLD: usize = 1000;
const TO_BE_TOLD: Duration = Duration::from_secs(30);

/// Sessions of one node by number and secret, and the order of the unconnected ones.
pub(crate) struct Table {
    bounds: Bounds,
    next: u64,
    shut: bool,
    /// Connections to the main namespace.
    connections: usize,
    /// Number of sessions that are connected to a namespace.
    connected_sessions: usize,
    all: HashMap<u64, Entry>,
    /// Sessions that were opened on long polling, whose requests carry the secret.
    by_secret: HashMap<Secret, (Sid, Arc<EngineSession>)>,
    /// Secrets of sessions that ended for a broken packet, and when: the next request of such a client is answered with the end.
    to_be_told: VecDeque<(Secret, Instant)>,
    unconnected: Unconnected,
    /// Set while a task ends sessions that stay unconnected for too long.
    swept: bool,
}

struct Entry {
    session: Arc<EngineSession>,
    address: Option<IpAddr>,
    /// Position among the unconnected sessions; none while it is connected or held.
    turn: Option<Turn>,
    connected: bool,
    /// Set while its CONNECT waits for a free place of its user, which has a time limit of its own.
    held: bool,
}

/// What is to be done without the lock after a session has become unconnected.
#[must_use]
pub(crate) struct Entered {
    /// Sessions to end, so that the bounds hold.
    pub(crate) out: Vec<Arc<EngineSession>>,
    /// Whether the sweep is to be started.
    pub(crate) begin_sweep: bool,
}

impl Table {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            next: 0,
            shut: false,
            connections: 0,
            connected_sessions: 0,
            all: HashMap::new(),
            by_secret: HashMap::new(),
            to_be_told: VecDeque::new(),
            unconnected: Unconnected::default(),
            swept: false,
        }
    }

    /// Adds a new session, which is unconnected. Returns its number, or none once the table was shut.
    pub(crate) fn insert(&mut self, session: &Arc<EngineSession>, address: Option<IpAddr>) -> Option<(u64, Entered)> {
        if self.shut {
            return None;
        }
        let out = self.make_room(address);
        let id = self.next;
        self.next += 1;
        self.all.insert(id, Entry { session: Arc::clone(session), address, turn: None, connected: false, held: false });
        Some((id, self.enter_unconnected(id, out)))
    }

    /// Forgets a session. `is_to_be_told`: its client's next request is to be answered with the end.
    pub(crate) fn remove(&mut self, id: u64, secret: Secret, is_to_be_told: bool) {
        self.leave_unconnected(id);
        if self.all.remove(&id).is_some_and(|entry| entry.connected) {
            self.connected_sessions -= 1;
        }
        if self.by_secret.remove(&secret).is_some() && is_to_be_told {
            self.to_be_told.truncate(MAX_TO_BE_TOLD - 1);
            self.to_be_told.push_front((secret, Instant::now()));
        }
    }

    /// Notes whether a session is connected to a namespace.
    pub(crate) fn set_connected(&mut self, id: u64, connected: bool) -> Option<Entered> {
        self.change(id, |entry| entry.connected = connected)
    }

    /// Notes whether a session's CONNECT waits for a free place of its user.
    pub(crate) fn set_held(&mut self, id: u64, held: bool) -> Option<Entered> {
        self.change(id, |entry| entry.held = held)
    }

    /// Has requests find a session by its secret; inside engineioxide it has this id.
    pub(crate) fn name(&mut self, secret: Secret, sid: Sid, session: Arc<EngineSession>) {
        self.by_secret.insert(secret, (sid, session));
    }

    /// Finds the session that one of these secrets belongs to, and its id inside engineioxide.
    pub(crate) fn find(&self, secrets: &[Secret]) -> Option<(Sid, Arc<EngineSession>)> {
        secrets.iter().find_map(|secret| self.by_secret.get(secret).cloned())
    }

    /// Returns whether one of these secrets belongs to a session that has ended for a broken packet a short time ago, and forgets it.
    pub(crate) fn is_to_be_told(&mut self, secrets: &[Secret]) -> bool {
        let found = self.to_be_told.iter().position(|(known, _)| secrets.contains(known));
        found.and_then(|at| self.to_be_told.remove(at)).is_some_and(|(_, since)| since.elapsed() < TO_BE_TOLD)
    }

    /// Refuses new sessions from now on, and returns those that there are.
    pub(crate) fn shut(&mut self) -> Vec<Arc<EngineSession>> {
        self.shut = true;
        self.all.values().map(|entry| Arc::clone(&entry.session)).collect()
    }

    /// Counts one more connection.
    pub(crate) fn connect(&mut self) {
        self.connections += 1;
    }

    /// Counts one connection less, and returns how many are left.
    pub(crate) fn disconnect(&mut self) -> usize {
        self.connections -= 1;
        self.connections
    }

    /// Returns the number of connections to the main namespace.
    pub(crate) fn connections(&self) -> usize {
        self.connections
    }

    /// Returns the number of sessions that are connected to a namespace.
    pub(crate) fn connected_sessions(&self) -> usize {
        self.connected_sessions
    }

    /// Removes the sessions that were unconnected for too long. Returns them and when the next one will be; if there is none, the sweep
    /// ends.
    pub(crate) fn overdue(&mut self, now: Instant) -> (Vec<Arc<EngineSession>>, Option<Instant>) {
        let mut out = Vec::new();
        while let Some((id, until)) = self.unconnected.oldest() {
            if until > now {
                self.swept = true;
                return (out, Some(until));
            }
            out.extend(self.evict(id));
        }
        self.swept = false;
        (out, None)
    }

    /// Notes that the sweep could not be started.
    pub(crate) fn give_up_sweep(&mut self) {
        self.swept = false;
    }

    /// Changes a session. If it is neither connected nor held afterwards, it is the youngest of the unconnected ones.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut Entry)) -> Option<Entered> {
        let entry = self.all.get_mut(&id)?;
        let (address, before) = (entry.address, entry.connected);
        change(entry);
        let (connected, held) = (entry.connected, entry.held);
        if connected != before {
            self.connected_sessions = if connected { self.connected_sessions + 1 } else { self.connected_sessions - 1 };
        }
        self.leave_unconnected(id);
        if connected || held {
            return None;
        }
        let out = self.make_room(address);
        Some(self.enter_unconnected(id, out))
    }

    fn enter_unconnected(&mut self, id: u64, out: Vec<Arc<EngineSession>>) -> Entered {
        let until = self.deadline();
        if let Some(entry) = self.all.get_mut(&id) {
            entry.turn = Some(self.unconnected.enter(id, entry.address, until));
        }
        Entered { out, begin_sweep: !std::mem::replace(&mut self.swept, true) }
    }

    fn leave_unconnected(&mut self, id: u64) {
        if let Some(turn) = self.all.get_mut(&id).and_then(|entry| entry.turn.take()) {
            self.unconnected.leave(turn);
        }
    }

    /// Removes a session from the unconnected ones, to be ended.
    fn evict(&mut self, id: u64) -> Option<Arc<EngineSession>> {
        self.leave_unconnected(id);
        self.all.get(&id).map(|entry| Arc::clone(&entry.session))
    }

    /// Makes room for one more session from this address. Returns the sessions to end for it.
    fn make_room(&mut self, address: Option<IpAddr>) -> Vec<Arc<EngineSession>> {
        let (bounds, mut out) = (self.bounds, Vec::new());
        if let Some(address) = address
            && bounds.sessions_per_address > 0
            && self.unconnected.len_from(address) >= bounds.sessions_per_address
        {
            out.extend(self.unconnected.oldest_from(address).and_then(|id| self.evict(id)));
        }
        if bounds.sessions > 0 && self.unconnected.len() >= bounds.sessions {
            out.extend(self.unconnected.oldest().and_then(|(id, _)| self.evict(id)));
        }
        out
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        // As far as tokio's own timers go.
        now.checked_add(self.bounds.connect_timeout).unwrap_or(now + Duration::from_secs(86_400 * 365 * 30))
    }

    /// Returns the number of sessions, and of the unconnected ones.
    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.all.len(), self.unconnected.len())
    }
}
