//! The store: records, idempotency keys, rooms and the log's life in one embedded database.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, PersistMode};
use realtime_core::EventId;
use realtime_core::spi::{
    CursorKey, Epoch, LogState, Position, RepeatKey, Revocation, RevocationTable, RoomTable, Stored, UserRooms,
};
use serde::{Deserialize, Serialize};

use crate::config::{DiskConfig, SyncMode};
use crate::error::DiskError;
use crate::format::{StoredRecord, add_record, key_of, key_value, position_of, time_of};
use crate::records::Records;
use crate::tip::{Tip, TipFile};

/// The format of the files.
const FORMAT: u32 = 2;
/// The oldest format that is read: its records are stored one by one.
const OLDEST_FORMAT: u32 = 1;
/// The size of the journals at which they are written into tables; the least that is possible.
const JOURNAL_BYTES: u64 = 64 * 1024 * 1024;
/// The most tables of records that are not written yet: fewer than those at which the database
/// itself blocks a change.
const MOST_UNWRITTEN: usize = 2;
/// The size in memory at which what is beside the records is written into a table.
const MEMTABLE_BYTES: u64 = 16 * 1024 * 1024;
/// The bytes of records after which no further one is stored together with them.
const TOGETHER_BYTES: usize = 1024 * 1024;

/// An open store.
pub(crate) struct Store {
    database: Database,
    records: Records,
    keys: Keyspace,
    rooms: Keyspace,
    revoked: Keyspace,
    life: Keyspace,
    tip: TipFile,
}

/// The content of a store that was opened.
pub(crate) struct Content {
    pub(crate) state: LogState,
    pub(crate) records: Vec<StoredRecord>,
    /// The keys with their records, the oldest first, and how long each is still remembered.
    pub(crate) keys: Vec<(RepeatKey, Position, EventId)>,
    /// The rooms as of the position before the oldest record.
    pub(crate) rooms: RoomTable,
    pub(crate) revoked: RevocationTable,
    /// The reason for a new epoch, if the store has to begin one.
    pub(crate) renewed: Option<&'static str>,
}

/// The life of a log, as it is stored.
#[derive(Clone, Serialize, Deserialize)]
struct StoredLife {
    format: u32,
    epoch: Epoch,
    key: CursorKey,
    /// The boot of the machine; `None` where it is not known.
    boot: Option<String>,
    /// `true` if the store was closed, and nothing has been appended since.
    clean: bool,
    /// `true` if every append was synced before it was answered.
    synced: bool,
}

/// A change of the store, written as one.
pub(crate) struct Change<'a> {
    store: &'a Store,
    batch: OwnedWriteBatch,
    /// The time of the change.
    at: SystemTime,
    /// The records that are stored together, the last of which is the tip.
    records: Vec<u8>,
    tip: Option<Tip>,
}

const LIFE: &str = "life";
const START: &str = "start";

impl Store {
    /// Opens the store of a directory, and reads it.
    /// Of the idempotency keys only those whose time is not over stay, and at most as many as may.
    pub(crate) fn open(directory: &Path, config: &DiskConfig) -> Result<(Self, Content), DiskError> {
        let (synced, most_keys) = (config.sync == SyncMode::Always, config.bounds.keys);
        let store = Self::reopen(directory, config.table_bytes)?;
        let mut content = store.read(directory)?;
        let key = content.state.key.clone();
        let mut change = store.change();
        let (over, mut live): (Vec<_>, Vec<_>) = content.keys.into_iter().partition(|(key, ..)| key.keep.is_zero());
        let beyond = live.drain(..live.len().saturating_sub(most_keys));
        over.into_iter().chain(beyond).for_each(|(key, ..)| change.forget_key(&key.key));
        content.keys = live;
        let epoch = content.state.epoch;
        change.set_life(&StoredLife { format: FORMAT, epoch, key, boot: boot(), clean: false, synced });
        change.commit(true)?;
        store.records.drop_soon();
        Ok((store, content))
    }

    /// Opens the store again after a failed write, without reading it: its content is known.
    pub(crate) fn reopen(directory: &Path, table_bytes: u64) -> Result<Self, DiskError> {
        let builder = Database::builder(directory.join("store"));
        let database = builder.max_journaling_size(JOURNAL_BYTES).worker_threads(1).open()?;
        let options = || KeyspaceCreateOptions::default().max_memtable_size(2 * MEMTABLE_BYTES);
        Ok(Self {
            records: Records::open(&database, table_bytes)?,
            keys: database.keyspace("keys", options)?,
            rooms: database.keyspace("rooms", options)?,
            revoked: database.keyspace("revoked", options)?,
            life: database.keyspace("life", options)?,
            tip: TipFile::open(directory)?,
            database,
        })
    }

    fn read(&self, path: &Path) -> Result<Content, DiskError> {
        let damaged = |what: String| DiskError::Damaged { path: path.to_owned(), what };
        let life = self.read_life(path)?;
        let start = match self.life.get(START)? {
            Some(bytes) => position_of(&bytes).ok_or_else(|| damaged("the start of the log is unreadable".into()))?,
            None => Position::START,
        };
        let records = self.records.read(start, &damaged)?;
        let last = Position::new(start.get() + records.len() as u64);
        let mut content = Content {
            state: LogState::begin(),
            renewed: None,
            keys: Vec::new(),
            rooms: self.read_rooms(&damaged)?,
            revoked: self.read_revoked(&damaged)?,
            records,
        };
        (content.state.start, content.state.last) = (start, last);
        let Some(life) = life else { return Ok(content) };
        content.renewed = self.reason_for_new_epoch(&life, &content);
        if content.renewed.is_none() {
            (content.state.epoch, content.state.key) = (life.epoch, life.key);
            content.keys = self.read_keys(&damaged)?;
        } else {
            self.keys.clear()?;
        }
        Ok(content)
    }

    /// Returns the reason for a new epoch: records that were answered may be missing.
    fn reason_for_new_epoch(&self, life: &StoredLife, content: &Content) -> Option<&'static str> {
        let newest = content.records.last().map(|record| record.id);
        if let Some(tip) = self.tip.read().filter(|tip| tip.epoch == life.epoch) {
            let last = content.state.last;
            if tip.position > last || tip.position == last && newest.is_some_and(|id| id != tip.id) {
                return Some("its newest records are missing");
            }
        }
        let same_boot = life.boot.is_some() && life.boot == boot();
        if life.clean || life.synced || same_boot {
            return None;
        }
        Some("it was not closed before the machine was restarted")
    }

    fn read_life(&self, path: &Path) -> Result<Option<StoredLife>, DiskError> {
        /// The part of a life that every format has.
        #[derive(Deserialize)]
        struct AnyLife {
            format: u32,
        }

        let Some(bytes) = self.life.get(LIFE)? else { return Ok(None) };
        let unreadable = |_| DiskError::Damaged { path: path.to_owned(), what: "its format is unreadable".into() };
        let AnyLife { format } = serde_json::from_slice(&bytes).map_err(unreadable)?;
        if !(OLDEST_FORMAT..=FORMAT).contains(&format) {
            return Err(DiskError::Format { path: path.to_owned(), found: format, known: FORMAT });
        }
        serde_json::from_slice(&bytes).map(Some).map_err(unreadable)
    }

    fn read_keys(
        &self,
        damaged: &impl Fn(String) -> DiskError,
    ) -> Result<Vec<(RepeatKey, Position, EventId)>, DiskError> {
        let now = SystemTime::now();
        let mut keys = Vec::new();
        for item in self.keys.iter() {
            let (key, value) = item.into_inner()?;
            keys.push(key_of(&key, &value).ok_or_else(|| damaged("an idempotency key is unreadable".into()))?);
        }
        // The times are those at which the keys end, until here.
        let left = |until: Duration| (UNIX_EPOCH + until).duration_since(now).unwrap_or_default();
        keys.iter_mut().for_each(|(key, ..)| key.keep = left(key.keep));
        keys.sort_unstable_by_key(|(_, position, _)| *position);
        Ok(keys)
    }

    fn read_rooms(&self, damaged: &impl Fn(String) -> DiskError) -> Result<RoomTable, DiskError> {
        let mut rooms = RoomTable::default();
        for item in self.rooms.iter() {
            let (name, value) = item.into_inner()?;
            let read = || {
                let rooms: UserRooms = serde_json::from_slice(&value).ok()?;
                Some((String::from_utf8(name.to_vec()).ok()?, rooms))
            };
            let (name, of_user) = read().ok_or_else(|| damaged("the rooms of a user are unreadable".into()))?;
            rooms.restore(&name, of_user);
        }
        Ok(rooms)
    }

    fn read_revoked(&self, damaged: &impl Fn(String) -> DiskError) -> Result<RevocationTable, DiskError> {
        let revoked = RevocationTable::default();
        for item in self.revoked.iter() {
            let (token, until) = item.into_inner()?;
            let read = || Some((std::str::from_utf8(&token).ok()?, time_of(&until)?));
            let (token, until) = read().ok_or_else(|| damaged("a revoked token is unreadable".into()))?;
            revoked.add(&Revocation::new(token, UNIX_EPOCH + until));
        }
        Ok(revoked)
    }

    /// Begins a change.
    pub(crate) fn change(&self) -> Change<'_> {
        Change { store: self, batch: self.database.batch(), at: SystemTime::now(), records: Vec::new(), tip: None }
    }

    /// Begins the epoch of this state, which has no idempotency keys and, as of its start, no
    /// rooms.
    pub(crate) fn begin(&self, state: &LogState, synced: bool) -> Result<(), DiskError> {
        let mut change = self.change();
        for old in [&self.keys, &self.rooms] {
            for item in old.iter() {
                change.batch.remove(old, item.key()?);
            }
        }
        let (epoch, key) = (state.epoch, state.key.clone());
        change.set_life(&StoredLife { format: FORMAT, epoch, key, boot: boot(), clean: false, synced });
        change.commit(true)
    }

    /// Returns the records.
    pub(crate) fn records(&self) -> &Records {
        &self.records
    }

    /// Drops records before the log's start, if it is time to: this start, which is stored.
    pub(crate) fn drop_old(&self, start: Position) -> Result<(), DiskError> {
        if !self.records.may_drop(start) {
            return Ok(());
        }
        // A loss of power must not bring an older start back: its records would be missing.
        self.sync()?;
        self.records.drop_up_to(start)
    }

    /// Has what fills a table written into one; `false` while too many of them are not written yet,
    /// during which nothing should be appended.
    ///
    /// The database would have tables written by itself, but late, and its journals have no bound
    /// until then. A journal is deleted once all of its content is in tables.
    pub(crate) fn keep_up(&self) -> Result<bool, DiskError> {
        if !self.records.is_check_due() {
            return Ok(true);
        }
        if self.records.unwritten_tables() > MOST_UNWRITTEN {
            // An error, if the thread that writes tables has failed.
            self.database.persist(PersistMode::Buffer)?;
            return Ok(false);
        }
        let has_old_journals = self.database.journal_count() > 1;
        let fills_table = self.records.fills_table();
        if fills_table {
            self.records.flush()?;
        }
        for keyspace in [&self.keys, &self.rooms, &self.revoked, &self.life] {
            let is_full = keyspace.tree.active_memtable().size() >= MEMTABLE_BYTES;
            if is_full || fills_table && has_old_journals {
                keyspace.rotate_memtable()?;
            }
        }
        self.records.note_check();
        Ok(true)
    }

    /// Syncs what was written to the disk.
    pub(crate) fn sync(&self) -> Result<(), DiskError> {
        Ok(self.database.persist(PersistMode::SyncData)?)
    }

    /// Marks the store as closed, and syncs it.
    pub(crate) fn close(&self) -> Result<(), DiskError> {
        if let Some(life) = self.read_life(self.path())? {
            let mut change = self.change();
            change.set_life(&StoredLife { clean: true, ..life });
            change.commit(true)?;
        }
        Ok(())
    }

    fn path(&self) -> &Path {
        self.life.path()
    }
}

impl Change<'_> {
    /// Makes room for records of about these bytes.
    pub(crate) fn reserve(&mut self, bytes: usize) {
        self.records.reserve(bytes.min(TOGETHER_BYTES));
    }

    /// Adds a record after the previous one, with its key if it has one.
    pub(crate) fn append(
        &mut self,
        epoch: Epoch,
        position: Position,
        id: EventId,
        record: &Stored,
        key: Option<&RepeatKey>,
    ) {
        if self.records.len() >= TOGETHER_BYTES {
            self.insert_records();
        }
        add_record(&mut self.records, self.at, id, record);
        if let Some(key) = key {
            let value = key_value(key, position, id, self.at + key.keep);
            self.batch.insert(&self.store.keys, key.key, value);
        }
        self.tip = Some(Tip { epoch, position, id });
    }

    fn insert_records(&mut self) {
        let records = std::mem::take(&mut self.records);
        if let Some(tip) = self.tip.filter(|_| !records.is_empty()) {
            self.store.records.insert(&mut self.batch, tip.position, records);
        }
    }

    /// Sets the log's start: the records up to this position are dropped.
    pub(crate) fn set_start(&mut self, start: Position) {
        self.batch.insert(&self.store.life, START, start.get().to_be_bytes());
    }

    /// Sets the rooms of a user as of the log's start.
    pub(crate) fn set_rooms(&mut self, user: &str, rooms: Option<&UserRooms>) {
        match rooms.and_then(|rooms| serde_json::to_vec(rooms).ok()) {
            Some(rooms) => self.batch.insert(&self.store.rooms, user, rooms),
            None => self.batch.remove(&self.store.rooms, user),
        }
    }

    /// Sets until when a token is revoked.
    pub(crate) fn set_revocation(&mut self, revocation: &Revocation) {
        self.batch.insert(&self.store.revoked, &*revocation.token, revocation.until_ms.to_be_bytes());
    }

    /// Removes a revocation that is over.
    pub(crate) fn forget_revocation(&mut self, token: &str) {
        self.batch.remove(&self.store.revoked, token);
    }

    fn set_life(&mut self, life: &StoredLife) {
        self.batch.insert(&self.store.life, LIFE, serde_json::to_vec(life).unwrap_or_default());
    }

    /// Removes a key that has ended.
    pub(crate) fn forget_key(&mut self, key: &[u8; 16]) {
        self.batch.remove(&self.store.keys, *key);
    }

    /// Writes the change: when this returns, the end of the process loses nothing of it; with
    /// `sync`, neither does a loss of power.
    pub(crate) fn commit(mut self, sync: bool) -> Result<(), DiskError> {
        self.insert_records();
        let batch = if sync { self.batch.durability(Some(PersistMode::SyncData)) } else { self.batch };
        batch.commit()?;
        if let Some(tip) = self.tip {
            self.store.tip.write(tip);
        }
        Ok(())
    }
}

/// Returns the boot of the machine, where it can be told from others.
fn boot() -> Option<String> {
    let id = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(id.trim().to_owned())
}
