use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use realtime_core::spi::{Arrival, Arrivals};
use socketioxide::socket::Sid;
use tokio::time::Instant;

use crate::engine::session::EngineSession;
use crate::engine::sessions::secret::Secret;
use crate::engine::settings::Bounds;

/// Number of closed sessions that are kept because their clients have to be notified.
const MAX_UNNOTIFIED: usize = 1000;
/// Time for which they are kept.
const UNNOTIFIED_TTL: Duration = Duration::from_secs(30);

/// Sessions of one node by number and secret, and the order of the unconnected ones.
pub(crate) struct Table {
    bounds: Bounds,
    next: u64,
    shut: bool,
    /// Number of connections to the main namespace.
    connections: usize,
    /// Number of sessions that are connected to a namespace.
    connected_sessions: usize,
    all: HashMap<u64, Entry>,
    /// Sessions that were opened on long polling, whose requests carry the secret.
    by_secret: HashMap<Secret, (Sid, Arc<EngineSession>)>,
    /// Secrets of sessions that were closed for a malformed packet, and when: the response to the
    /// client's next request is the close packet.
    unnotified: VecDeque<(Secret, Instant)>,
    /// Sessions that are connected to no namespace, and until when they may be.
    unconnected: Arrivals<(u64, Instant)>,
    /// Set while a task closes sessions that stay unconnected for too long.
    is_sweeping: bool,
}

struct Entry {
    session: Arc<EngineSession>,
    address: Option<IpAddr>,
    /// Position among the unconnected sessions; none while it is connected or held.
    position: Option<Arrival>,
    connected: bool,
    /// Set while the CONNECT waits for a free slot of its user, which has a time limit of its own.
    held: bool,
}

/// Actions without the lock after a session has become unconnected.
#[must_use]
pub(crate) struct Evictions {
    /// Sessions to close, so that the bounds hold.
    pub(crate) sessions: Vec<Arc<EngineSession>>,
    /// `true` if the sweep has to be started.
    pub(crate) start_sweep: bool,
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
            unnotified: VecDeque::new(),
            unconnected: Arrivals::default(),
            is_sweeping: false,
        }
    }

    /// Adds a new session, which is unconnected. Returns its number, or none once the table was
    /// shut.
    pub(crate) fn insert(&mut self, session: &Arc<EngineSession>, address: Option<IpAddr>) -> Option<(u64, Evictions)> {
        if self.shut {
            return None;
        }
        let evicted = self.make_room(address);
        let id = self.next;
        self.next += 1;
        self.all
            .insert(id, Entry { session: Arc::clone(session), address, position: None, connected: false, held: false });
        Some((id, self.enter_unconnected(id, evicted)))
    }

    /// Removes a session. With `notify`, the response to its client's next request is the close
    /// packet.
    pub(crate) fn remove(&mut self, id: u64, secret: Secret, notify: bool) {
        self.leave_unconnected(id);
        if self.all.remove(&id).is_some_and(|entry| entry.connected) {
            self.connected_sessions -= 1;
        }
        if self.by_secret.remove(&secret).is_some() && notify {
            self.unnotified.truncate(MAX_UNNOTIFIED - 1);
            self.unnotified.push_front((secret, Instant::now()));
        }
    }

    /// Returns a session by its number.
    pub(crate) fn get(&self, id: u64) -> Option<Arc<EngineSession>> {
        Some(Arc::clone(&self.all.get(&id)?.session))
    }

    /// Notes whether a session is connected to a namespace.
    pub(crate) fn set_connected(&mut self, id: u64, connected: bool) -> Option<Evictions> {
        self.change(id, |entry| entry.connected = connected)
    }

    /// Notes whether a session's CONNECT waits for a free slot of its user.
    pub(crate) fn set_held(&mut self, id: u64, held: bool) -> Option<Evictions> {
        self.change(id, |entry| entry.held = held)
    }

    /// Has requests find a session by its secret; inside engineioxide the session has this id.
    pub(crate) fn publish(&mut self, secret: Secret, sid: Sid, session: Arc<EngineSession>) {
        self.by_secret.insert(secret, (sid, session));
    }

    /// Finds the session that one of these secrets belongs to, and its id inside engineioxide.
    pub(crate) fn find(&self, secrets: &[Secret]) -> Option<(Sid, Arc<EngineSession>)> {
        secrets.iter().find_map(|secret| self.by_secret.get(secret).cloned())
    }

    /// Removes one of these secrets from those of sessions that were closed for a malformed packet.
    /// Returns whether there was one, a short time ago.
    pub(crate) fn take_unnotified(&mut self, secrets: &[Secret]) -> bool {
        let found = self.unnotified.iter().position(|(known, _)| secrets.contains(known));
        found.and_then(|at| self.unnotified.remove(at)).is_some_and(|(_, since)| since.elapsed() < UNNOTIFIED_TTL)
    }

    /// Refuses new sessions from this call on, and returns the current ones.
    pub(crate) fn shut(&mut self) -> Vec<Arc<EngineSession>> {
        self.shut = true;
        self.all.values().map(|entry| Arc::clone(&entry.session)).collect()
    }

    /// Counts one more connection.
    pub(crate) fn add_connection(&mut self) {
        self.connections += 1;
    }

    /// Counts one connection less, and returns the number of the remaining ones.
    pub(crate) fn remove_connection(&mut self) -> usize {
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

    /// Removes the sessions that were unconnected for too long. Returns them and the deadline of
    /// the next one; if there is none, the sweep ends.
    pub(crate) fn take_overdue(&mut self, now: Instant) -> (Vec<Arc<EngineSession>>, Option<Instant>) {
        let mut overdue = Vec::new();
        while let Some(&(id, deadline)) = self.unconnected.oldest() {
            if deadline > now {
                self.is_sweeping = true;
                return (overdue, Some(deadline));
            }
            overdue.extend(self.evict(id));
        }
        self.is_sweeping = false;
        (overdue, None)
    }

    /// Notes that the sweep could not be started.
    pub(crate) fn sweep_not_started(&mut self) {
        self.is_sweeping = false;
    }

    /// Changes a session. A session that is neither connected nor held afterwards becomes the
    /// youngest of the unconnected ones.
    fn change(&mut self, id: u64, change: impl FnOnce(&mut Entry)) -> Option<Evictions> {
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
        let evicted = self.make_room(address);
        Some(self.enter_unconnected(id, evicted))
    }

    fn enter_unconnected(&mut self, id: u64, evicted: Vec<Arc<EngineSession>>) -> Evictions {
        let deadline = self.deadline();
        if let Some(entry) = self.all.get_mut(&id) {
            entry.position = Some(self.unconnected.push((id, deadline), entry.address));
        }
        Evictions { sessions: evicted, start_sweep: !std::mem::replace(&mut self.is_sweeping, true) }
    }

    fn leave_unconnected(&mut self, id: u64) {
        if let Some(position) = self.all.get_mut(&id).and_then(|entry| entry.position.take()) {
            self.unconnected.remove(position);
        }
    }

    /// Removes a session from the unconnected ones, to be closed.
    fn evict(&mut self, id: u64) -> Option<Arc<EngineSession>> {
        self.leave_unconnected(id);
        self.all.get(&id).map(|entry| Arc::clone(&entry.session))
    }

    /// Makes room for one more session from this address. Returns the sessions to close for it.
    fn make_room(&mut self, address: Option<IpAddr>) -> Vec<Arc<EngineSession>> {
        let Bounds { sessions, sessions_per_address, .. } = self.bounds;
        let evicted = self.unconnected.make_room(address, sessions, sessions_per_address);
        evicted.into_iter().filter_map(|(id, _)| self.evict(id)).collect()
    }

    fn deadline(&self) -> Instant {
        let now = Instant::now();
        // The range of tokio's own timers.
        now.checked_add(self.bounds.connect_timeout).unwrap_or(now + Duration::from_secs(86_400 * 365 * 30))
    }

    /// Returns the number of sessions, and of the unconnected ones.
    #[cfg(test)]
    pub(crate) fn len(&self) -> (usize, usize) {
        (self.all.len(), self.unconnected.len())
    }
}
