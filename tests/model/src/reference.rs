//! The reference: what must hold of the log, of every connection, and of everything that was sent.

mod gaps;
pub(crate) mod lives;
pub(crate) mod observe;
pub(crate) mod receipts;
mod welcome;
pub(crate) mod windows;

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use realtime_core::spi::Epoch;
use realtime_core::{EventId, Stats};
use realtime_wire::Transport;
use tokio::time::Instant;

use crate::calls::Sending;
use crate::conn::{Conn, Moment, RoomRequest};
use crate::coverage::Coverage;
use crate::generate::CLOSED_ROOM;
use crate::log::{Audience, Change, LATE, Log, Position, Record, RecordKind, Viewer};
use crate::reference::lives::{HiddenLog, Life};
use crate::reference::receipts::{Effect, Predicted};
use crate::reference::windows::MOST;
use crate::rooms::{Rooms, Visibility};
use crate::schedule::{Except, Id, Kind, Member, Present, Providers, Scope, Setup};
use crate::server::HookCall;

/// The destination of an event.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// A record, at this position in each life of the log that has it.
    Logged { position: Position, pad: usize },
    /// The connections that were there.
    Volatile { may: Vec<usize>, pad: usize },
}

/// The reference for one run.
#[derive(Default)]
pub(crate) struct Reference {
    pub(crate) setup: Setup,
    /// The lives of the log; the last one is the current one.
    pub(crate) lives: Vec<Life>,
    /// The content of the log, while the process does not know it.
    pub(crate) hidden: Option<HiddenLog>,
    /// The number of marks that records have had.
    pub(crate) marks: u64,
    /// Every cursor that the server has given to a client, as its text, with the record there: no
    /// others are valid.
    pub(crate) given: HashMap<String, Given>,
    pub(crate) conns: Vec<Conn>,
    /// The log's end when the calls under way began.
    before: Position,
    /// The number of the current process.
    pub(crate) process: usize,
    /// The first connection of this process, and its first life of the log.
    pub(crate) first: usize,
    pub(crate) first_life: usize,
    pub(crate) sent: Vec<Sent>,
    /// Idempotency keys in the order of their first events, of the current life of the log.
    pub(crate) keys: Vec<Key>,
    /// The events that each client has received by its own cursor: epoch and position.
    pub(crate) delivered: Vec<BTreeSet<(u64, Position)>>,
    pub(crate) coverage: Coverage,
}

/// A cursor that a client was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// The mark of the record there.
    pub(crate) mark: Option<u64>,
    pub(crate) process: usize,
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) key: Id,
    pub(crate) position: Position,
    /// The event, and its number.
    sending: Sending,
    number: u64,
    /// The id, once its receipt is there.
    pub(crate) id: Option<EventId>,
    pub(crate) at: Instant,
}

impl Reference {
    pub(crate) fn new(setup: Setup, epoch: Epoch) -> Self {
        let delivered = vec![BTreeSet::new(); setup.identities.len()];
        Self { setup, lives: vec![Life { epoch, log: Log::default(), begun: 0 }], delivered, ..Self::default() }
    }

    /// Counts a situation that was reached.
    pub(crate) fn cover(&mut self, what: &'static str) {
        self.cover_over(self.setup.transport, true, what);
    }

    /// Counts a situation if it was reached.
    pub(crate) fn cover_if(&mut self, is: bool, what: &'static str) {
        self.cover_over(self.setup.transport, is, what);
    }

    /// Counts a situation of a transport if it was reached.
    pub(crate) fn cover_over(&mut self, transport: Transport, is: bool, what: &'static str) {
        if is {
            self.coverage.add(transport, what, 1);
        }
    }

    pub(crate) fn age(&self) -> Duration {
        Duration::from_secs(self.setup.window_seconds)
    }

    /// Returns the state of a server that has applied everything up to `end` and has this provider
    /// for the transport.
    pub(crate) fn moment(&self, transport: Transport, stats: &Stats, end: Position) -> Moment {
        let start = if self.setup.mixed {
            self.bounds(transport, stats, end).start()
        } else {
            end.saturating_sub(stats.window_records)
        };
        Moment { life: self.life(), end, start }
    }

    /// Registers a client's request for a connection; returns the connection's serial number.
    pub(crate) fn ask_to_connect(
        &mut self,
        (client, transport): (usize, Transport),
        present: Present,
        presented: Option<String>,
        named: &[Id],
        requested: Moment,
    ) -> usize {
        if present != Present::Own {
            self.delivered[client].clear();
        }
        let mut own = Rooms::default();
        named.iter().filter(|room| **room != CLOSED_ROOM).for_each(|room| own.enter(*room, 0, Position::MAX));
        let viewer = Viewer { identity: self.setup.identities[client], transport, connection: None, own };
        self.conns.push(Conn { client, viewer, presented, named: named.to_vec(), requested, ..Conn::default() });
        self.conns.len() - 1
    }

    /// Observes a call of a hook.
    pub(crate) fn observe_hook(&mut self, call: &HookCall, moment: Moment) -> Result<(), String> {
        let life = self.life();
        let conn =
            self.conns.get_mut(call.serial).ok_or("a hook was called for a connection that was not requested")?;
        let is_current = call.serial >= self.first;
        let identity = conn.viewer.identity;
        match call.connected {
            Some(_) if conn.registered.is_some() => return Err("a connection was registered twice".to_owned()),
            Some(id) => {
                conn.registered = Some(moment);
                conn.viewer.connection = Some(id.to_string());
                conn.registered_at = Some(call.at);
                if conn.requested.life == life {
                    conn.life = Some(life);
                }
                if is_current {
                    self.log_mut().users.connected(identity);
                }
            }
            None if conn.registered.is_none() || conn.unregistered_at.is_some() => {
                return Err("a connection was unregistered that was not there".to_owned());
            }
            None => {
                conn.unregistered_at = Some(call.at);
                if is_current {
                    self.log_mut().users.disconnected(identity, call.at);
                }
            }
        }
        Ok(())
    }

    /// Returns whether it is clear in which of this user's connections a leave would find the room.
    pub(crate) fn may_leave(&self, member: Member, room: Id) -> bool {
        let of_user = |conn: &&Conn| member.matches(conn.viewer.identity) && conn.may_be_registered();
        self.current_conns().filter(of_user).all(|conn| {
            let is_there = conn.registered.is_some() || conn.abandoned && !conn.named.contains(&room);
            is_there
                && (conn.life.is_some() || conn.abandoned)
                && conn.request.is_none_or(|request| request.room != room)
        })
    }

    /// Begins calls that do not wait for each other.
    pub(crate) fn begin_calls(&mut self) {
        self.before = self.log().end();
    }

    /// Joins a user to a room, which takes the log's next position.
    pub(crate) fn join(&mut self, member: Member, room: Id) {
        let record = self.record_of(Change::Join { member, room });
        let position = self.log_mut().push(record);
        self.log_mut().users.join(member, room, position, true, Instant::now());
        self.cover(if member.tenant.is_some() { "room joined within a tenant" } else { "room joined" });
    }

    /// Removes a user from a room, with all its connections, whichever way they entered.
    pub(crate) fn leave(&mut self, member: Member, room: Id) {
        let record = self.record_of(Change::Leave { member, room });
        let position = self.log_mut().push(record);
        let is_shut_out = self.log_mut().users.leave(member, room, position);
        self.cover_if(is_shut_out, "shut out of a bare membership");
        let (first, life) = (self.first, self.life());
        for conn in self.conns[first..].iter_mut().filter(|conn| member.matches(conn.viewer.identity)) {
            if conn.life == Some(life) {
                conn.viewer.own.leave(room, position, position);
            }
        }
        self.cover(if member.tenant.is_some() { "room left within a tenant" } else { "room left" });
    }

    /// Returns the audience of a target, over these providers.
    pub(crate) fn audience(&self, scope: Scope, except: Option<Except>, providers: Providers) -> Audience {
        let scope = match scope {
            Scope::Room(_) if self.setup.everyone => Scope::All,
            Scope::RoomIn(tenant, _) if self.setup.everyone => Scope::Tenant(tenant),
            scope => scope,
        };
        let (mut except_user, mut except_connection) = (None, None);
        match except {
            Some(Except::Client(client)) => {
                let conn = self.current_conns().rfind(|conn| conn.client == client);
                except_connection = conn.and_then(|conn| conn.viewer.connection.clone());
            }
            Some(Except::User(member)) => except_user = Some(member),
            None => {}
        }
        Audience { scope, except_user, except_connection, providers }
    }

    /// Sends an event. A second event with a known key is the first one once more, unless it has an
    /// exception.
    pub(crate) fn send(&mut self, sending: Sending) -> Predicted {
        let number = self.sent.len() as u64;
        if let Kind::Once(key) = sending.kind
            && let Some(known) = self.known(key)
        {
            let (number_of_first, effect, first) =
                (known.number, Effect::Repeat(known.position), known.sending.clone());
            if sending.audience.has_exception() {
                self.cover("idempotency key of another event");
                return Predicted { number, sending, effect: Effect::Refused, matches: Vec::new() };
            }
            return Predicted { number: number_of_first, sending: first, effect, matches: Vec::new() };
        }
        let Sending { audience, kind, pad, by, .. } = sending.clone();
        if kind == Kind::Volatile {
            // It is sent immediately: before the calls with it have been applied, or after those
            // that were applied immediately.
            let latest = if self.setup.at_once { self.log().end() } else { self.before };
            let positions = self.before + 1..=latest + 1;
            let may = self.matching(|conn| self.sees_between(conn, &audience, positions.clone()));
            let may = may.map(|(serial, ..)| serial).collect();
            self.sent.push(Sent::Volatile { may, pad });
            let matches = self.matches(&audience, positions);
            return Predicted { number, sending, effect: Effect::Volatile, matches };
        }
        let latest = if let Kind::Latest(key) = kind { Some(key) } else { None };
        let record = self.record(number, RecordKind::Event, audience.clone());
        let record = Record { least_bytes: pad, by, latest, ..record };
        let position = self.log_mut().push(record);
        if let Kind::Once(key) = kind {
            self.keys.push(Key { key, position, sending: sending.clone(), number, id: None, at: Instant::now() });
        }
        self.sent.push(Sent::Logged { position, pad });
        let matches = self.matches(&audience, position..=position);
        Predicted { number, sending, effect: Effect::Record(position), matches }
    }

    /// Sends an ask; returns its number.
    pub(crate) fn ask(&mut self, audience: Audience) -> u64 {
        let number = self.sent.len() as u64;
        let record = self.record(number, RecordKind::Ask, audience);
        let position = self.log_mut().push(record);
        self.sent.push(Sent::Logged { position, pad: 0 });
        number
    }

    /// Returns the first event with this key: only so many keys are remembered, and only for so
    /// long.
    fn known(&self, key: Id) -> Option<&Key> {
        let forgotten = self.keys.len().saturating_sub(self.setup.window_keys);
        let known = self.keys[forgotten..].iter().rfind(|known| known.key == key);
        known.filter(|known| known.at.elapsed() < self.age())
    }

    /// Returns the transports that a client has left and uses now, if it presents its own cursor
    /// over another transport than before.
    pub(crate) fn crossing(&self, serial: usize) -> Option<(Transport, Transport)> {
        let Conn { client, viewer, presented, .. } = &self.conns[serial];
        let before = self.conns[..serial].iter().rfind(|conn| conn.client == *client && conn.connected)?;
        let is_own = presented.is_some() && before.viewer.transport != viewer.transport;
        is_own.then_some((before.viewer.transport, viewer.transport))
    }

    /// Returns the connections of this process.
    pub(crate) fn current_conns(&self) -> impl DoubleEndedIterator<Item = &Conn> {
        self.conns[self.first..].iter()
    }

    /// Returns the connections of this process that something may match which they see so, with
    /// their serial numbers; `true` for those that it must match.
    pub(crate) fn matching(&self, sees: impl Fn(&Conn) -> Visibility) -> impl Iterator<Item = (usize, &Conn, bool)> {
        self.conns.iter().enumerate().skip(self.first).filter_map(move |(serial, conn)| {
            let seen = sees(conn);
            // The rooms of outdated connections are not known any more.
            let may_match = conn.may_be_registered() && (conn.outdated || seen != Visibility::No);
            may_match.then(|| (serial, conn, conn.is_registered() && seen == Visibility::Yes))
        })
    }

    /// Registers a request to enter or exit a room.
    pub(crate) fn request_room(&mut self, serial: usize, ack: u64, room: Id, enter: bool) {
        let end = self.log_of(&self.conns[serial]).end();
        let conn = &mut self.conns[serial];
        conn.request = Some(RoomRequest { ack, room, enter });
        if !enter {
            conn.viewer.own.leave(room, end, Position::MAX);
        } else if room != CLOSED_ROOM {
            conn.viewer.own.enter(room, end, Position::MAX);
        }
    }

    /// Checks that a provider's window holds what its bounds say; only when nothing is under way.
    pub(crate) fn check_window(&mut self, (transport, stats): &(Transport, Stats)) -> Result<(), String> {
        if self.setup.mixed {
            return self.check_shared_window(*transport, stats);
        }
        let end = self.log().end();
        let start = end.saturating_sub(stats.window_records);
        let (records, bytes) = (self.setup.window_records as u64, self.setup.window_bytes as u64);
        let now = Instant::now();
        let must_be_gone = self.log().older_than(self.age() + LATE, now);
        let may_be_gone = self.log().older_than(self.age(), now);
        if stats.window_records > records.max(1) || stats.window_records > 1 && stats.window_bytes > bytes {
            let Stats { window_records, window_bytes, .. } = stats;
            return Err(format!("the window is too large: {window_records} records, {window_bytes} bytes"));
        }
        if start < must_be_gone {
            return Err(format!("the window begins at {start}, but records up to {must_be_gone} are too old"));
        }
        let by_count = end.saturating_sub(records);
        if start > by_count.max(may_be_gone) {
            // Only the bytes can have been too many: with the newest record that is gone there
            // would be more than allowed.
            let gone = self.log().record(start).least_bytes as u64;
            if stats.window_bytes + gone + MOST <= bytes {
                return Err(format!("the window begins at {start} and could begin at {}", by_count.max(may_be_gone)));
            }
            self.cover("window exceeded by bytes");
        } else if start > 0 {
            self.cover(if by_count >= may_be_gone { "window exceeded by count" } else { "window exceeded by age" });
        }
        Ok(())
    }
}
