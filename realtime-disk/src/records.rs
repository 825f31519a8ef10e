//! The records of a log in the store, by position.

use std::cell::Cell;
use std::time::{Duration, Instant};

use fjall::config::{BlockSizePolicy, FilterPolicy};
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch};
use realtime_core::EventId;
use realtime_core::spi::Position;

use crate::error::DiskError;
use crate::format::{StoredRecord, position_of, record_of};

/// The size of a block of records: they are only read from the first to the last.
const BLOCK_BYTES: u32 = 64 * 1024;
/// The longest time after which tables of records before the log's start are dropped, when little
/// is appended.
const DROP_INTERVAL: Duration = Duration::from_secs(60);

/// The records in a store. They are written into tables in the order of their positions, and leave
/// the store with the table that they are in: a record that is dropped from the log is not written
/// again, and no table is merged with another one.
pub(crate) struct Records {
    keyspace: Keyspace,
    /// The size of the records in memory at which they are written into a table.
    table_bytes: u64,
    /// The bytes that were written since tables were dropped.
    written: Cell<u64>,
    /// The log's start as of which tables were dropped, and when that was.
    dropped: Cell<(Position, Instant)>,
}

impl Records {
    /// Opens the records of a database; `table_bytes` counts when they are created.
    pub(crate) fn open(database: &Database, table_bytes: u64) -> fjall::Result<Self> {
        let options = || {
            // No filter: a record is looked for by its position after a failed write only.
            KeyspaceCreateOptions::default()
                .max_memtable_size(table_bytes)
                .filter_policy(FilterPolicy::disabled())
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        };
        Ok(Self {
            keyspace: database.keyspace("records", options)?,
            table_bytes,
            written: Cell::default(),
            dropped: Cell::new((Position::START, Instant::now())),
        })
    }

    /// Reads the records after a position, of which none may be missing.
    pub(crate) fn read(
        &self,
        start: Position,
        damaged: &impl Fn(String) -> DiskError,
    ) -> Result<Vec<StoredRecord>, DiskError> {
        let mut records = Vec::new();
        let mut position = start;
        for item in self.keyspace.range(start.next().get().to_be_bytes()..) {
            let (key, value) = item.into_inner()?;
            position = position.next();
            if position_of(&key) != Some(position) {
                return Err(damaged(format!("the record {position} is missing")));
            }
            records.push(record_of(&value).ok_or_else(|| damaged(format!("the record {position} is unreadable")))?);
        }
        Ok(records)
    }

    /// Returns the position of the newest record, or [`Position::START`].
    pub(crate) fn last(&self) -> Result<Position, DiskError> {
        let Some(item) = self.keyspace.last_key_value() else { return Ok(Position::START) };
        Ok(position_of(&item.key()?).unwrap_or(Position::START))
    }

    /// Returns whether the record at a position has this id.
    pub(crate) fn has(&self, position: Position, id: EventId) -> Result<bool, DiskError> {
        let found = self.keyspace.get(position.get().to_be_bytes())?;
        Ok(found.and_then(|value| record_of(&value)).is_some_and(|record| record.id == id))
    }

    /// Adds a record to a change.
    pub(crate) fn insert(&self, batch: &mut OwnedWriteBatch, position: Position, value: Vec<u8>) {
        self.written.set(self.written.get() + value.len() as u64);
        batch.insert(&self.keyspace, position.get().to_be_bytes(), value);
    }

    /// Lets old tables of an earlier process be dropped as soon as the log's start is known.
    pub(crate) fn drop_soon(&self) {
        self.written.set(self.table_bytes);
    }

    /// Returns whether there may be a table whose records are all before this start of the log.
    pub(crate) fn may_drop(&self, start: Position) -> bool {
        let (dropped, at) = self.dropped.get();
        start > dropped && (self.written.get() >= self.table_bytes || at.elapsed() >= DROP_INTERVAL)
    }

    /// Drops the tables whose records are all before this start of the log, which the disk has.
    pub(crate) fn drop_up_to(&self, start: Position) -> Result<(), DiskError> {
        if self.keyspace.disk_space() > 0 {
            self.keyspace.tree.drop_range(..=start.get().to_be_bytes()).map_err(fjall::Error::from)?;
        }
        self.written.set(0);
        self.dropped.set((start, Instant::now()));
        Ok(())
    }
}
