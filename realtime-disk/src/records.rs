//! The records of a log in the store, by position.

use std::cell::Cell;
use std::time::{Duration, Instant};

use fjall::config::{BlockSizePolicy, FilterPolicy};
use fjall::{AbstractTree, Database, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch};
use realtime_core::EventId;
use realtime_core::spi::Position;

use crate::error::DiskError;
use crate::format::{StoredRecord, position_of, records_of};

/// The size of a block of records: they are only read from the first to the last.
const BLOCK_BYTES: u32 = 64 * 1024;
/// The longest time after which tables of records before the log's start are dropped, when little
/// is appended.
const DROP_INTERVAL: Duration = Duration::from_secs(60);

/// The records in a store: those of a change are stored together, under the position of the last of
/// them, so that a record costs little more than its bytes.
///
/// They are written into tables in the order of their positions, and leave the store with the table
/// that they are in: a record that is dropped from the log is not removed by itself, and no table
/// has to be merged with another one.
pub(crate) struct Records {
    keyspace: Keyspace,
    /// The size of the records in memory at which they are written into a table.
    table_bytes: u64,
    /// The bytes that were written since tables were dropped.
    written: Cell<u64>,
    /// The bytes that were written since the tables were looked at.
    unchecked: Cell<u64>,
    /// The log's start as of which tables were dropped, and when that was.
    dropped: Cell<(Position, Instant)>,
}

impl Records {
    /// Opens the records of a database; `table_bytes` counts when they are created.
    pub(crate) fn open(database: &Database, table_bytes: u64) -> fjall::Result<Self> {
        let options = || {
            // No filter: a record is looked for by its position after a failed write only.
            KeyspaceCreateOptions::default()
                // Before that [`Records::flush`] is called.
                .max_memtable_size(2 * table_bytes)
                .filter_policy(FilterPolicy::disabled())
                .data_block_size_policy(BlockSizePolicy::all(BLOCK_BYTES))
        };
        Ok(Self {
            keyspace: database.keyspace("records", options)?,
            table_bytes,
            written: Cell::default(),
            unchecked: Cell::new(table_bytes),
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
        let mut position = start.get();
        for item in self.keyspace.range(start.next().get().to_be_bytes()..) {
            let (key, value) = item.into_inner()?;
            let next = position + 1;
            let together = records_of(&value).ok_or_else(|| damaged(format!("the record {next} is unreadable")))?;
            let last = position_of(&key).map_or(0, Position::get);
            // Those of the first ones that are before the start have been dropped.
            let dropped = match last.checked_sub(together.len() as u64).map(|before| before + 1) {
                Some(first) if first == next || first < next && records.is_empty() => next - first,
                _ => return Err(damaged(format!("the record {next} is missing"))),
            };
            records.extend(together.into_iter().skip(dropped as usize));
            position = last;
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
        let Some(item) = self.keyspace.range(position.get().to_be_bytes()..).next() else { return Ok(false) };
        let (last, value) = item.into_inner()?;
        let after = position_of(&last).and_then(|last| last.get().checked_sub(position.get()));
        let Some(after) = after else { return Ok(false) };
        let records = records_of(&value).unwrap_or_default();
        Ok(records.iter().rev().nth(after as usize).is_some_and(|record| record.id == id))
    }

    /// Adds records to a change, the last of which has this position.
    pub(crate) fn insert(&self, batch: &mut OwnedWriteBatch, last: Position, records: Vec<u8>) {
        for counter in [&self.written, &self.unchecked] {
            counter.set(counter.get() + records.len() as u64);
        }
        batch.insert(&self.keyspace, last.get().to_be_bytes(), records);
    }

    /// Returns whether enough was written for a look at the tables, which costs as much as a
    /// change.
    pub(crate) fn is_check_due(&self) -> bool {
        self.unchecked.get() >= self.table_bytes / 16
    }

    /// Notes that the tables were looked at.
    pub(crate) fn note_check(&self) {
        self.unchecked.set(0);
    }

    /// Returns the number of tables that are to be written, the one that is under way included.
    pub(crate) fn unwritten_tables(&self) -> usize {
        self.keyspace.tree.sealed_memtable_count()
    }

    /// Returns whether the records that are in no table yet fill one.
    pub(crate) fn fills_table(&self) -> bool {
        self.keyspace.tree.active_memtable().size() >= self.table_bytes
    }

    /// Has the records that are in no table yet written into one.
    pub(crate) fn flush(&self) -> Result<(), DiskError> {
        self.keyspace.rotate_memtable()?;
        Ok(())
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

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use bytes::Bytes;
    use realtime_core::spi::Stored;

    use super::*;
    use crate::format::add_record;

    /// Stores records of these ids together, the last of which has this position.
    fn insert(database: &Database, records: &Records, last: u64, ids: &[EventId]) {
        let (mut together, record) = (Vec::new(), Stored::from(Bytes::from_static(b"record")));
        ids.iter().for_each(|id| add_record(&mut together, SystemTime::now(), *id, &record));
        let mut batch = database.batch();
        records.insert(&mut batch, Position::new(last), together);
        batch.commit().unwrap();
    }

    #[test]
    fn records_that_are_stored_together_are_found_one_by_one() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::builder(directory.path()).open().unwrap();
        let records = Records::open(&database, 1024).unwrap();
        assert_eq!(records.last().unwrap(), Position::START);
        let ids: Vec<_> = (0..6).map(|_| EventId::random()).collect();
        insert(&database, &records, 3, &ids[..3]);
        insert(&database, &records, 5, &ids[3..5]);
        assert_eq!(records.last().unwrap(), Position::new(5));
        for (position, id) in (1..).zip(&ids) {
            assert_eq!(records.has(Position::new(position), *id).unwrap(), position <= 5, "{position}");
            assert!(!records.has(Position::new(position), EventId::random()).unwrap());
        }
        let damaged = |what| DiskError::Damaged { path: directory.path().to_owned(), what };
        for start in 0..=5 {
            let read = records.read(Position::new(start), &damaged).unwrap();
            let read: Vec<_> = read.iter().map(|record| record.id).collect();
            assert_eq!(read, ids[start as usize..5], "after {start}");
        }
        // One is missing, or one is there twice.
        for (last, ids) in [(7, &ids[..1]), (6, &ids[..2])] {
            insert(&database, &records, last, ids);
            assert!(matches!(records.read(Position::START, &damaged), Err(DiskError::Damaged { .. })));
        }
    }
}
