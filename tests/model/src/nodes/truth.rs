//! Every record that the broker has ever appended, each with the one before it: a log that loses
//! records and goes on is a branch of this tree.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use realtime_core::spi::{Epoch, Record};
use realtime_core::{Scope, Target};
use serde_json::Value;
use tokio::time::Instant;

use crate::nodes::schedule::{Id, To, Who};

/// A record's number in the order of appends; the place before all records has none.
pub(crate) type Place = Option<usize>;

/// A user of a tenant, or of that name in all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Member {
    pub(crate) user: Id,
    pub(crate) tenant: Option<Id>,
}

/// The meaning of a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Absent { member: Member, seen: u64 },
    Ask { number: u64, to: To },
    Check,
    Close { code: u16, to: To },
    Event { number: u64, to: To },
    Join { member: Member, room: Id },
    Leave { member: Member, room: Id },
    Present { member: Member },
}

/// A record.
#[derive(Clone, Debug)]
pub(crate) struct Rec {
    pub(crate) position: u64,
    pub(crate) before: Place,
    /// The epoch in which it was appended.
    pub(crate) epoch: Epoch,
    pub(crate) content: Content,
    /// The rooms of all users once it is applied.
    pub(crate) rooms: Arc<Rooms>,
    pub(crate) at: Instant,
    /// The link over which it was appended.
    pub(crate) link: usize,
    /// Set for the end of an absent user's rooms, if there were any to end.
    pub(crate) ends_rooms: bool,
}

/// All records.
#[derive(Debug, Default)]
pub(crate) struct Truth {
    pub(crate) records: Vec<Rec>,
    /// The records by position and mark, which is what a cursor names.
    by_cursor: HashMap<(u64, u32), usize>,
    /// The records of each event, by its number.
    pub(crate) by_number: HashMap<u64, Vec<usize>>,
}

/// The rooms that users are joined to, with the positions of the joins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rooms {
    joined: BTreeMap<(Member, Id), u64>,
    /// The tenants' users that were removed from a room to which the bare name is joined.
    shut_out: BTreeSet<(Member, Id)>,
    /// The last confirmation that a user is online.
    present: BTreeMap<Member, u64>,
    /// The last position at which rooms ended by absence.
    ended: BTreeMap<Member, u64>,
}

impl Truth {
    /// Adds a record after another one; returns its number.
    pub(crate) fn push(&mut self, before: Place, epoch: Epoch, record: &Record, link: usize) -> Result<usize, String> {
        let position = self.position(before) + 1;
        let [.., a, b, c, d] = record.id().to_bytes();
        let mark = u32::from_be_bytes([a, b, c, d]).max(1);
        let content = content_of(record).ok_or_else(|| format!("unreadable: {record:?}"))?;
        let known = before.map(|before| Arc::clone(&self.records[before].rooms)).unwrap_or_default();
        let (rooms, ends_rooms) = known.after(position, &content);
        let number = self.records.len();
        if let Content::Event { number: event, .. } | Content::Ask { number: event, .. } = content {
            self.by_number.entry(event).or_default().push(number);
        }
        let at = Instant::now();
        self.records.push(Rec { position, before, epoch, content, rooms, at, link, ends_rooms });
        self.by_cursor.insert((position, mark), number);
        Ok(number)
    }

    pub(crate) fn position(&self, place: Place) -> u64 {
        place.map_or(0, |place| self.records[place].position)
    }

    /// Returns the place that a cursor names.
    pub(crate) fn find(&self, position: u64, mark: u32) -> Option<Place> {
        if position == 0 { Some(None) } else { self.by_cursor.get(&(position, mark)).map(|number| Some(*number)) }
    }

    /// Returns the records after a place up to another one, the newest first; `None` if they are
    /// not of one log.
    pub(crate) fn path(&self, from: Place, to: Place) -> Option<Vec<usize>> {
        let first = self.position(from);
        let (mut path, mut at) = (Vec::new(), to);
        while let Some(number) = at.filter(|number| self.records[*number].position > first) {
            path.push(number);
            at = self.records[number].before;
        }
        (at == from).then_some(path)
    }

    /// Returns whether a connection of this identity gets a record as an event or an ask.
    pub(crate) fn is_for(&self, who: Who, number: usize) -> bool {
        let record = &self.records[number];
        match &record.content {
            Content::Ask { to, .. } | Content::Event { to, .. } | Content::Close { to, .. } => {
                self.matches(who, *to, record.before)
            }
            _ => false,
        }
    }

    /// Returns whether a target means an identity after all records up to a place.
    pub(crate) fn matches(&self, who: Who, to: To, place: Place) -> bool {
        let in_room = |room| place.is_some_and(|place| self.records[place].rooms.contains(who, room));
        match to {
            To::All => true,
            To::Room(room) => in_room(room),
            To::RoomIn(tenant, room) => who.tenant == Some(tenant) && in_room(room),
            To::Tenant(tenant) => who.tenant == Some(tenant),
            To::User(user) => who.user == user,
            To::UserIn(tenant, user) => who.user == user && who.tenant == Some(tenant),
        }
    }
}

impl Member {
    /// Returns whether a connection of this identity is one of the member's.
    pub(crate) fn is(self, who: Who) -> bool {
        self.user == who.user && (self.tenant.is_none() || self.tenant == who.tenant)
    }
}

impl Rooms {
    /// Returns whether a user of a tenant, or without one, is in a room.
    pub(crate) fn contains(&self, who: Who, room: Id) -> bool {
        let bare = Member { user: who.user, tenant: None };
        let own = Member { user: who.user, tenant: who.tenant };
        who.tenant.is_some() && self.joined.contains_key(&(own, room))
            || self.joined.contains_key(&(bare, room)) && !self.shut_out.contains(&(own, room))
    }

    /// Returns the last position at which rooms of this identity ended by absence.
    pub(crate) fn ended(&self, who: Who) -> u64 {
        let of = |tenant| self.ended.get(&Member { user: who.user, tenant }).copied().unwrap_or(0);
        of(None).max(of(who.tenant))
    }

    /// Returns the rooms after a record, and whether it has ended any by absence.
    fn after(self: &Arc<Self>, position: u64, content: &Content) -> (Arc<Self>, bool) {
        let mut rooms = match content {
            Content::Ask { .. } | Content::Check | Content::Close { .. } | Content::Event { .. } => {
                return (Arc::clone(self), false);
            }
            _ => Self::clone(self),
        };
        let mut ends = false;
        match *content {
            Content::Join { member, room } => {
                rooms.joined.entry((member, room)).or_insert(position);
                rooms.shut_out.retain(|(other, shut)| !(*shut == room && member.covers(*other)));
            }
            Content::Leave { member, room } => {
                rooms.joined.retain(|(other, joined), _| !(*joined == room && member.covers(*other)));
                if member.tenant.is_none() {
                    rooms.shut_out.retain(|(other, shut)| !(*shut == room && member.covers(*other)));
                } else if rooms.joined.contains_key(&(Member { tenant: None, ..member }, room)) {
                    rooms.shut_out.insert((member, room));
                }
            }
            Content::Present { member } => {
                rooms.present.insert(member, position);
            }
            Content::Absent { member, seen } => ends = rooms.end(member, seen, position),
            _ => {}
        }
        (Arc::new(rooms), ends)
    }

    fn end(&mut self, member: Member, seen: u64, position: u64) -> bool {
        if self.present.get(&member).is_some_and(|present| *present > seen) {
            return false;
        }
        let is_meant = |(other, _): &(Member, Id), at: u64| *other == member && at <= seen;
        let ended: Vec<Id> = self.joined.iter().filter(|(key, at)| is_meant(key, **at)).map(|(key, _)| key.1).collect();
        self.joined.retain(|key, at| !is_meant(key, *at));
        if member.tenant.is_none() {
            self.shut_out.retain(|(other, room)| !(member.covers(*other) && ended.contains(room)));
        }
        if !ended.is_empty() {
            self.ended.insert(member, position);
        }
        !ended.is_empty()
    }
}

impl Member {
    fn covers(self, other: Self) -> bool {
        self.user == other.user && (self.tenant.is_none() || self.tenant == other.tenant)
    }
}

/// Reads the header of a record: six bytes with its length in the last four of them, then JSON.
fn content_of(record: &Record) -> Option<Content> {
    let bytes = record.bytes();
    let length = u32::from_be_bytes(bytes.get(2..6)?.try_into().ok()?) as usize;
    let header: Value = serde_json::from_slice(bytes.get(6..6 + length)?).ok()?;
    let number = || serde_json::from_slice::<Value>(bytes.get(6 + length..)?).ok()?["n"].as_u64();
    let (kind, value) = header["kind"].as_object()?.iter().next()?;
    let id = |name: &str| value[name].as_str().and_then(id_of);
    let member = || Some(Member { user: id("user")?, tenant: id("tenant") });
    let to = || to_of(&serde_json::from_value(value["target"].clone()).ok()?);
    Some(match kind.as_str() {
        "absent" => Content::Absent { member: member()?, seen: value["seen"].as_u64()? },
        "ask" => Content::Ask { number: number()?, to: to()? },
        "check" => Content::Check,
        "close" => Content::Close { code: u16::try_from(value["reason"]["code"].as_u64()?).ok()?, to: to()? },
        "event" => Content::Event { number: number()?, to: to()? },
        "join" => Content::Join { member: member()?, room: id("room")? },
        "leave" => Content::Leave { member: member()?, room: id("room")? },
        "present" => Content::Present { member: member()? },
        _ => return None,
    })
}

/// Reads a name: a letter and a number.
fn id_of(name: &str) -> Option<Id> {
    name.get(1..)?.parse().ok()
}

fn to_of(target: &Target) -> Option<To> {
    Some(match target.scope() {
        Scope::All => To::All,
        Scope::Room { name, tenant: None } => To::Room(id_of(name)?),
        Scope::Room { name, tenant: Some(tenant) } => To::RoomIn(id_of(tenant)?, id_of(name)?),
        Scope::Tenant(tenant) => To::Tenant(id_of(tenant)?),
        Scope::User { name, tenant: None } => To::User(id_of(name)?),
        Scope::User { name, tenant: Some(tenant) } => To::UserIn(id_of(tenant)?, id_of(name)?),
        _ => return None,
    })
}
