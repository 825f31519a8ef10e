//! What must be: the log, every connection, and what has been sent.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use realtime_core::spi::Epoch;
use realtime_core::{EventId, Stats};
use tokio::time::Instant;

use crate::calls::Sending;
use crate::conn::{Conn, Moment, RoomRequest};
use crate::coverage::Coverage;
use crate::generate::CLOSED_ROOM;
use crate::lives::{Beneath, Life};
use crate::log::{Audience, Change, LATE, Place, Viewer, What};
use crate::receipts::{Becomes, Predicted};
use crate::rooms::{Rooms, Sees};
use crate::schedule::{Except, Id, Kind, Member, Present, Providers, Scope, Setup, Transport};
use crate::server::Note;
use crate::shared::MOST;

/// Where an event went.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    /// A record, in each life of the log that has it.
    Logged { place: Place, pad: usize },
    /// To connections that were there.
    Volatile { may: Vec<usize>, pad: usize },
}

/// The reference for one run.
pub(crate) struct Reference {
    pub(crate) setup: Setup,
    /// The lives of the log, the last one being that of now.
    pub(crate) lives: Vec<Life>,
    /// What the log holds, if the process does not know.
    pub(crate) beneath: Option<Beneath>,
    /// The marks that records have had.
    pub(crate) marks: u64,
    /// Every place that the server has given to a client, as its text, and what was there: there are no others.
    pub(crate) given: HashMap<String, Given>,
    pub(crate) conns: Vec<Conn>,
    /// The log's end when the calls under way began.
    before: Place,
    /// Which process this is.
    pub(crate) process: usize,
    /// The first connection of this process, and its first life of the log.
    pub(crate) first: usize,
    pub(crate) first_life: usize,
    pub(crate) sent: Vec<Sent>,
    /// Idempotency keys in the order of their first events, of the life that the log is in.
    pub(crate) keys: Vec<Key>,
    /// What each client has received by its own cursor, with the epoch.
    pub(crate) delivered: Vec<BTreeSet<(u64, Place)>>,
    pub(crate) coverage: Coverage,
}

/// A place that a client was given.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Given {
    /// The mark of the record there.
    pub(crate) mark: Option<u64>,
    pub(crate) process: usize,
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) key: Id,
    pub(crate) place: Place,
    /// What was sent, and its number.
    sending: Sending,
    number: u64,
    /// Known when its receipt is there.
    pub(crate) id: Option<EventId>,
    pub(crate) at: Instant,
}

impl Reference {
    pub(crate) fn new(setup: Setup, epoch: Epoch) -> Self {
        let delivered = vec![BTreeSet::new(); setup.persons.len()];
        Self {
            setup,
            lives: vec![Life::new(epoch)],
            beneath: None,
            marks: 0,
            given: HashMap::new(),
            before: 0,
            conns: Vec::new(),
            process: 0,
            first: 0,
            first_life: 0,
            sent: Vec::new(),
            keys: Vec::new(),
            delivered,
            coverage: Coverage::default(),
        }
    }

    pub(crate) fn cover(&mut self, what: &'static str) {
        self.coverage.add(self.setup.transport, what, 1);
    }

    pub(crate) fn age(&self) -> Duration {
        Duration::from_secs(self.setup.window_seconds)
    }

    /// Where the server is, which has applied everything up to here, and has this provider for the transport.
    pub(crate) fn moment(&self, transport: Transport, stats: &Stats, end: Place) -> Moment {
        let start = if self.setup.mixed {
            self.bounds(transport, stats, end).start()
        } else {
            end.saturating_sub(stats.window_records)
        };
        Moment { life: self.life(), end, start }
    }

    /// A client asks for a connection; its serial number.
    pub(crate) fn ask_to_connect(
        &mut self,
        (client, transport): (usize, Transport),
        present: Present,
        presented: Option<String>,
        named: &[Id],
        asked: Moment,
    ) -> usize {
        if present != Present::Own {
            self.delivered[client].clear();
        }
        let mut own = Rooms::default();
        named.iter().filter(|room| **room != CLOSED_ROOM).for_each(|room| own.enter(*room, 0, Place::MAX));
        let viewer = Viewer { person: self.setup.persons[client], transport, connection: None, own };
        self.conns.push(Conn {
            client,
            viewer,
            presented,
            named: named.to_vec(),
            asked,
            admitted: Instant::now(),
            life: None,
            sent_back: false,
            came: None,
            came_at: None,
            went: None,
            connected: false,
            resumed: false,
            place: 0,
            settled: None,
            calm: true,
            over: false,
            request: None,
            asks: Default::default(),
            owed: Vec::new(),
            volatile: BTreeSet::new(),
            looker: None,
        });
        self.conns.len() - 1
    }

    /// What a hook has told.
    pub(crate) fn note(&mut self, note: &Note, moment: Moment) -> Result<(), String> {
        let life = self.life();
        let conn = self.conns.get_mut(note.serial).ok_or("a hook told of a connection that nobody asked for")?;
        let of_now = note.serial >= self.first;
        let person = conn.viewer.person;
        match note.came {
            Some(_) if conn.came.is_some() => return Err("a connection came twice".to_owned()),
            Some(id) => {
                conn.came = Some(moment);
                conn.viewer.connection = Some(id.to_string());
                conn.came_at = Some(note.at);
                if conn.asked.life == life {
                    conn.life = Some(life);
                }
                if of_now {
                    self.log_mut().users.came(person);
                }
            }
            None if conn.came.is_none() || conn.went.is_some() => {
                return Err("a connection went that was not there".to_owned());
            }
            None => {
                conn.went = Some(note.at);
                if of_now {
                    self.log_mut().users.went(person, note.at);
                }
            }
        }
        Ok(())
    }

    /// Whether it is clear in which of this user's connections a leave would find the room.
    pub(crate) fn may_leave(&self, member: Member, room: Id) -> bool {
        let of_user = |conn: &&Conn| member.means(conn.viewer.person) && conn.may_be_there();
        self.of_now().filter(of_user).all(|conn| {
            let is_there = conn.came.is_some() || conn.over && !conn.named.contains(&room);
            is_there && (conn.life.is_some() || conn.over) && conn.request.is_none_or(|request| request.room != room)
        })
    }

    /// Calls begin that do not wait for each other.
    pub(crate) fn begin_calls(&mut self) {
        self.before = self.log().end();
    }

    /// A user joins a room, which takes the log's next place.
    pub(crate) fn join(&mut self, member: Member, room: Id) {
        let record = self.record_of(Change::Join { member, room });
        let place = self.log_mut().push(record);
        self.log_mut().users.join(member, room, place, true, Instant::now());
        self.cover(if member.tenant.is_some() { "room joined within a tenant" } else { "room joined" });
    }

    /// A user leaves a room, with all connections there are, by whichever way they were in.
    pub(crate) fn leave(&mut self, member: Member, room: Id) {
        let record = self.record_of(Change::Leave { member, room });
        let place = self.log_mut().push(record);
        if self.log_mut().users.leave(member, room, place) {
            self.cover("shut out of a bare membership");
        }
        let (first, life) = (self.first, self.life());
        for conn in self.conns[first..].iter_mut().filter(|conn| member.means(conn.viewer.person)) {
            if conn.life == Some(life) {
                conn.viewer.own.leave(room, place, place);
            }
        }
        self.cover(if member.tenant.is_some() { "room left within a tenant" } else { "room left" });
    }

    /// Whom something is for, over these providers.
    pub(crate) fn audience(&self, scope: Scope, except: Option<Except>, providers: Providers) -> Audience {
        let scope = match scope {
            Scope::Room(_) if self.setup.everyone => Scope::All,
            Scope::RoomIn(tenant, _) if self.setup.everyone => Scope::Tenant(tenant),
            scope => scope,
        };
        let (mut except_user, mut except_connection) = (None, None);
        match except {
            Some(Except::Client(client)) => {
                let conn = self.of_now().rfind(|conn| conn.client == client);
                except_connection = conn.and_then(|conn| conn.viewer.connection.clone());
            }
            except => except_user = crate::calls::except_user(except),
        }
        Audience { scope, except_user, except_connection, providers }
    }

    /// An event is sent. Who sends one with a key that is known sends the same once more, unless it leaves somebody out.
    pub(crate) fn send(&mut self, sending: Sending) -> Predicted {
        let number = self.sent.len() as u64;
        if let Kind::Once(key) = sending.kind
            && let Some(known) = self.known(key)
        {
            let (place, first) = (known.place, known.sending.clone());
            let except = &sending.audience;
            if except.except_user.is_some() || except.except_connection.is_some() {
                self.cover("idempotency key of another event");
                return Predicted { number, sending, becomes: Becomes::Refused, matches: Vec::new() };
            }
            return Predicted {
                number: known.number,
                sending: first,
                becomes: Becomes::Repeat(place),
                matches: Vec::new(),
            };
        }
        let Sending { audience, kind, pad, by, .. } = sending.clone();
        if kind == Kind::Volatile {
            // It goes at once: before what was called with it has been applied, or after what was applied at once.
            let latest = if self.setup.at_once { self.log().end() } else { self.before };
            let places = self.before + 1..=latest + 1;
            let sees = |conn: &Conn| self.sees_between(conn, &audience, places.clone()) != Sees::No;
            let may = |conn: &Conn| conn.may_be_there() && (conn.sent_back || sees(conn));
            let may = self.of_now_numbered().filter(|(_, conn)| may(conn));
            let may = may.map(|(serial, _)| serial).collect();
            self.sent.push(Sent::Volatile { may, pad });
            let matches = self.matches(&audience, places);
            return Predicted { number, sending, becomes: Becomes::Volatile, matches };
        }
        let record = self.record(number, What::Event, audience.clone()).of(kind, pad, by);
        let place = self.log_mut().push(record);
        if let Kind::Once(key) = kind {
            self.keys.push(Key { key, place, sending: sending.clone(), number, id: None, at: Instant::now() });
        }
        self.sent.push(Sent::Logged { place, pad });
        Predicted { number, sending, becomes: Becomes::Record(place), matches: self.matches(&audience, place..=place) }
    }

    /// An ask is sent; its number.
    pub(crate) fn ask(&mut self, audience: Audience) -> u64 {
        let number = self.sent.len() as u64;
        let record = self.record(number, What::Ask, audience);
        let place = self.log_mut().push(record);
        self.sent.push(Sent::Logged { place, pad: 0 });
        number
    }

    /// The first event with this key: only so many keys are remembered, and only for so long.
    fn known(&self, key: Id) -> Option<&Key> {
        let forgotten = self.keys.len().saturating_sub(self.setup.window_keys);
        let known = self.keys[forgotten..].iter().rfind(|known| known.key == key);
        known.filter(|known| known.at.elapsed() < self.age())
    }

    /// From which transport to which a client has come, if it presents its own place and is over another one than before.
    pub(crate) fn crossing(&self, serial: usize) -> Option<(Transport, Transport)> {
        let Conn { client, viewer, presented, .. } = &self.conns[serial];
        let before = self.conns[..serial].iter().rfind(|conn| conn.client == *client && conn.connected)?;
        let is_own = presented.is_some() && before.viewer.transport != viewer.transport;
        is_own.then_some((before.viewer.transport, viewer.transport))
    }

    /// The connections of this process.
    pub(crate) fn of_now(&self) -> impl DoubleEndedIterator<Item = &Conn> {
        self.conns[self.first..].iter()
    }

    /// The connections of this process with their serial numbers.
    pub(crate) fn of_now_numbered(&self) -> impl Iterator<Item = (usize, &Conn)> {
        self.conns.iter().enumerate().skip(self.first)
    }

    /// Someone asks for, or out of, a room.
    pub(crate) fn request_room(&mut self, serial: usize, ack: u64, room: Id, enter: bool) {
        let end = self.log_of(&self.conns[serial]).end();
        let conn = &mut self.conns[serial];
        conn.request = Some(RoomRequest { ack, room, enter });
        if !enter {
            conn.viewer.own.leave(room, end, Place::MAX);
        } else if room != CLOSED_ROOM {
            conn.viewer.own.enter(room, end, Place::MAX);
        }
    }

    /// Looks whether a provider's window holds what its bounds say; only when nothing is under way.
    pub(crate) fn check_window(&mut self, (transport, stats): &(Transport, Stats)) -> Result<(), String> {
        if self.setup.mixed {
            return self.check_shared(*transport, stats);
        }
        let end = self.log().end();
        let start = end.saturating_sub(stats.window_records);
        let (records, bytes) = (self.setup.window_records as u64, self.setup.window_bytes as u64);
        let now = Instant::now();
        let must_be_gone = self.log().older_than(self.age() + LATE, now);
        let may_be_gone = self.log().older_than(self.age(), now);
        if stats.window_records > records.max(1) || stats.window_records > 1 && stats.window_bytes > bytes {
            return Err(format!(
                "the window is too large: {} records, {} bytes",
                stats.window_records, stats.window_bytes
            ));
        }
        if start < must_be_gone {
            return Err(format!("the window begins at {start}, but records up to {must_be_gone} are too old"));
        }
        let by_count = end.saturating_sub(records);
        if start > by_count.max(may_be_gone) {
            // Only the bytes can have been too many: with the newest one that is gone there would be more than allowed.
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
