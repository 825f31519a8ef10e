//! The rooms of users: one value for each, with the changes of the records that the log still has,
//! so that it says what they were at each of their positions.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use realtime_core::spi::{Position, RoomEdit, RoomTable, Stored, UserRooms, random_between};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::api::{self, RESPONSE};
use crate::deadline::Deadline;
use crate::error::Fault;
use crate::life::Life;
use crate::reader::{Read, Reader, Start};
use crate::store::Store;

/// The changes that a value has before those are folded that every value has, although the log
/// still has their records.
const MOST_EDITS: usize = 1000;
/// The attempts to write a value that other nodes write too, and to read all of them while the log
/// drops records.
const ATTEMPTS: u32 = 32;

/// The rooms of a user, as they are stored.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
struct Rooms {
    user: String,
    /// The position up to which the changes are in the table.
    folded: u64,
    #[serde(default)]
    table: UserRooms,
    /// The later changes with their positions, in order.
    #[serde(default)]
    edits: Vec<(u64, RoomEdit)>,
}

impl Rooms {
    fn read(data: &[u8]) -> Result<Self, Fault> {
        serde_json::from_slice(data).map_err(|_| Fault::Unexpected("rooms that cannot be read"))
    }

    fn has(&self, position: u64) -> bool {
        position <= self.folded || self.edits.binary_search_by_key(&position, |(at, _)| *at).is_ok()
    }

    fn insert(&mut self, position: u64, edit: &RoomEdit) {
        if let Err(at) = self.edits.binary_search_by_key(&position, |(at, _)| *at)
            && position > self.folded
        {
            self.edits.insert(at, (position, edit.clone()));
        }
    }

    /// Applies the changes up to a position to the table.
    fn fold(&mut self, to: u64) {
        let due = self.edits.partition_point(|(at, _)| *at <= to);
        if due > 0 {
            let mut table = RoomTable::default();
            table.restore(&self.user, std::mem::take(&mut self.table));
            for (at, edit) in self.edits.drain(..due) {
                table.edit(Position::new(at), &edit);
                self.folded = at;
            }
            self.table = table.user(&self.user).cloned().unwrap_or_default();
        }
    }

    fn fold_known(&mut self, life: &Life) {
        self.fold(life.extent.start());
        if self.edits.len() > MOST_EDITS {
            self.fold(life.extent.complete());
        }
    }

    fn is_empty(&self) -> bool {
        self.edits.is_empty() && self.table == UserRooms::default()
    }

    fn to_json(&self) -> Result<Bytes, Fault> {
        serde_json::to_vec(self).map(Bytes::from).map_err(|_| Fault::Unexpected("rooms that cannot be written"))
    }
}

/// Adds the change of a record to the rooms of its user.
pub(crate) async fn insert(
    store: &Store,
    life: &Life,
    position: Position,
    edit: &RoomEdit,
    deadline: Deadline,
) -> Result<(), Fault> {
    deadline.within(store, merge(store, life, &edit.user, &[(position.get(), edit.clone())])).await
}

/// Adds changes to the rooms of a user, except those that are there.
async fn merge(store: &Store, life: &Life, user: &str, edits: &[(u64, RoomEdit)]) -> Result<(), Fault> {
    let hash = Sha256::digest(user.as_bytes());
    let subject = store.names.rooms(&life.name, &URL_SAFE_NO_PAD.encode(hash));
    let _turn = store.users[usize::from(hash[0]) % store.users.len()].lock().await;
    for _ in 0..ATTEMPTS {
        let found = api::last(&store.link, &store.names.state, &subject).await?;
        let (mut rooms, revision) = match &found {
            Some(found) => (Rooms::read(&found.data)?, found.sequence),
            None => (Rooms { user: user.to_owned(), ..Rooms::default() }, 0),
        };
        if edits.iter().all(|(position, _)| rooms.has(*position)) {
            return Ok(());
        }
        edits.iter().for_each(|(position, edit)| rooms.insert(*position, edit));
        rooms.fold_known(life);
        if api::store_after(&store.link, &subject, revision, rooms.to_json()?, RESPONSE).await?.is_some() {
            return Ok(());
        }
        tokio::time::sleep(random_between(Duration::ZERO, Duration::from_millis(10))).await;
    }
    Err(Fault::Unexpected("rooms that other nodes change again and again"))
}

/// Returns the rooms of all users at a position, or at the log's start if that is later.
pub(crate) async fn table(store: &Store, at: Position) -> Result<RoomTable, Fault> {
    let life = store.load().await?.ok_or(Fault::Lost)?;
    for _ in 0..ATTEMPTS {
        let before = store.extent(&life).await?.ok_or(Fault::Lost)?.state.start();
        let at = at.get().max(before);
        let (complete, _) = complete(store, &life).await?;
        let values = values(store, &life).await?;
        let changes = changes(store, &life, complete).await?;
        let start = store.extent(&life).await?.ok_or(Fault::Lost)?.state.start();
        // What was dropped meanwhile may be in some tables and not in others.
        if start == before || values.iter().all(|(rooms, _)| rooms.folded <= at) && start <= at {
            return Ok(build(values, changes, at));
        }
    }
    Err(Fault::Trimmed)
}

fn build(values: Vec<(Rooms, u64)>, changes: Vec<(u64, RoomEdit)>, at: u64) -> RoomTable {
    let mut users: BTreeMap<String, Rooms> = values.into_iter().map(|(rooms, _)| (rooms.user.clone(), rooms)).collect();
    for (position, edit) in changes {
        let new = || Rooms { user: edit.user.to_string(), ..Rooms::default() };
        users.entry(edit.user.to_string()).or_insert_with(new).insert(position, &edit);
    }
    let mut table = RoomTable::default();
    for (user, mut rooms) in users {
        rooms.fold(at);
        table.restore(&user, rooms.table);
    }
    table
}

/// Returns the values of all users, each with its revision.
async fn values(store: &Store, life: &Life) -> Result<Vec<(Rooms, u64)>, Fault> {
    let connection = store.reads.connection()?;
    let filter = store.names.rooms(&life.name, ">");
    let reader = Reader::open(connection, &store.names.state, Start::After(0), Some(&filter)).await?;
    let all = reader.read_present(usize::MAX).await?;
    // A value that was changed while it was read is there twice, the newer one behind.
    all.iter().map(|read| Ok((Rooms::read(&read.message.payload)?, read.sequence))).collect()
}

/// Returns the changes of rooms that the log has after a position.
async fn changes(store: &Store, life: &Life, after: u64) -> Result<Vec<(u64, RoomEdit)>, Fault> {
    let connection = store.reads.connection()?;
    let filter = store.names.changes(&life.name);
    let reader = Reader::open(connection, &store.names.log(&life.name), Start::After(after), Some(&filter)).await?;
    Ok(reader.read_present(usize::MAX).await?.iter().filter_map(change).collect())
}

fn change(read: &Read) -> Option<(u64, RoomEdit)> {
    // What this build cannot read is skipped, as everywhere else.
    let record = Stored::Bytes(read.message.payload.clone()).decode().ok()?;
    Some((read.sequence, record.room_edit()?))
}

/// Returns the position up to which all changes are in the values, and its revision.
async fn complete(store: &Store, life: &Life) -> Result<(u64, u64), Fault> {
    let found = api::last(&store.link, &store.names.state, &store.names.complete(&life.name)).await?;
    let Some(found) = found else { return Ok((0, 0)) };
    let position = std::str::from_utf8(&found.data).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
    life.extent.note_complete(position);
    Ok((position, found.sequence))
}

/// Adds the changes of records up to a position whose nodes ended before they did it.
pub(crate) async fn repair(store: &Store, life: &Life, up_to: u64) -> Result<(), Fault> {
    let (after, revision) = complete(store, life).await?;
    if up_to <= after {
        return Ok(());
    }
    let mut users: BTreeMap<String, Vec<(u64, RoomEdit)>> = BTreeMap::new();
    for (position, edit) in changes(store, life, after).await? {
        if position <= up_to {
            users.entry(edit.user.to_string()).or_default().push((position, edit));
        }
    }
    for (user, edits) in &users {
        merge(store, life, user, edits).await?;
    }
    let subject = store.names.complete(&life.name);
    // Another node may have done it.
    api::store_after(&store.link, &subject, revision, up_to.to_string().into(), RESPONSE).await?;
    life.extent.note_complete(up_to);
    Ok(())
}

/// Returns the position of the last record that changes rooms.
pub(crate) async fn last_change(store: &Store, life: &Life) -> Result<u64, Fault> {
    let found = api::last(&store.link, &store.names.log(&life.name), &store.names.changes(&life.name)).await?;
    Ok(found.map_or(0, |found| found.sequence))
}

/// Folds the values whose changes' records the log has dropped, and removes those that are empty.
pub(crate) async fn sweep(store: &Store, life: &Life) -> Result<(), Fault> {
    for (mut rooms, revision) in values(store, life).await? {
        let before = rooms.edits.len();
        rooms.fold_known(life);
        let subject = {
            let hash = Sha256::digest(rooms.user.as_bytes());
            store.names.rooms(&life.name, &URL_SAFE_NO_PAD.encode(hash))
        };
        if rooms.is_empty() {
            // Only up to this revision: a later one stays.
            api::purge(&store.link, &store.names.state, Some(&subject), Some(revision + 1)).await?;
        } else if rooms.edits.len() < before {
            api::store_after(&store.link, &subject, revision, rooms.to_json()?, RESPONSE).await?;
        }
    }
    Ok(())
}
