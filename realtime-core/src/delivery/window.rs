use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;
use tokio::time::Instant;

mod read;

use crate::delivery::cuts::Cuts;
use crate::delivery::hub::Visibility;
use crate::delivery::key::Key;
use crate::log::feed::Marked;
use crate::traits::codec::Frame;
use crate::values::config::WindowConfig;
use crate::values::cursor::Mark;
use crate::values::identity::Identity;
use crate::values::position::Position;
use crate::values::target::Target;
pub(crate) use read::Read;

/// The newest part of a provider's log in this node's memory, encoded, and indexed by target so
/// that a read costs what it returns. Connections read nothing but this.
#[derive(Debug)]
pub struct Window<F> {
    config: WindowConfig,
    /// The records and their index. Held for one append or one read of a bounded batch, never
    /// across a send or an await.
    inner: RwLock<Inner<F>>,
}

#[derive(Debug)]
struct Inner<F> {
    /// The position before the oldest record.
    start: Position,
    /// The mark of the record at the start.
    start_mark: Mark,
    records: VecDeque<Record<F>>,
    index: HashMap<Key, VecDeque<Position>>,
    /// The positions of each series.
    latest: HashMap<Arc<Series>, VecDeque<Position>>,
    bytes: usize,
    /// The number of records that are for other providers only.
    passed: usize,
    cuts: Cuts,
}

/// One record of the window.
#[derive(Debug)]
pub(crate) struct Record<F> {
    pub(crate) position: Position,
    pub(crate) mark: Mark,
    pub(crate) content: Content<F>,
    /// The time at which this node read the record; the window's age counts from here.
    pub(crate) seen: Instant,
}

/// The part of a record that readers of the window need.
#[derive(Debug)]
pub(crate) enum Content<F> {
    /// An event or ask: its target and the encoded frame.
    Event { target: Target, frame: F, kind: Kind },
    /// A record that was applied already (a join, a leave, one that could not be read): only its
    /// position counts.
    Nothing,
    /// A record for other providers: its position is known, and counts against no bound but that of
    /// positions.
    Passed,
}

/// The condition, in addition to the target, under which a reader gets an event.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Only for connections that were registered when it was applied, until its deadline.
    Ask(Instant),
    /// No further condition.
    Event,
    /// Skipped when a newer event of the same series is visible to the reader in the same pass.
    Latest(Arc<Series>),
}

/// A series of events, of which only the newest matters to a connection that catches up.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Series {
    pub(crate) target: Target,
    pub(crate) key: Arc<str>,
}

/// The bound of positions, in multiples of the bound of records: most may be other providers'
/// records.
const POSITIONS: usize = 8;
/// The bookkeeping that a record costs in addition to its frame, in bytes.
const RECORD_BYTES: usize = 160;

impl<F: Frame> Record<F> {
    fn size(&self) -> usize {
        match &self.content {
            Content::Event { frame, .. } => RECORD_BYTES + frame.size(),
            Content::Nothing => RECORD_BYTES,
            Content::Passed => 0,
        }
    }

    fn is_passed(&self) -> bool {
        matches!(self.content, Content::Passed)
    }
}

impl<F: Frame> Window<F> {
    /// Creates an empty window at the start of a log.
    pub(crate) fn new(config: WindowConfig) -> Self {
        let inner = Inner {
            start: Position::START,
            start_mark: Mark::NONE,
            records: VecDeque::new(),
            index: HashMap::new(),
            latest: HashMap::new(),
            bytes: 0,
            passed: 0,
            cuts: Cuts::default(),
        };
        Self { config, inner: RwLock::new(inner) }
    }

    /// Forgets everything and begins after this position, whose record has this mark.
    pub(crate) fn restart(&self, start: Position, mark: Mark) {
        let mut inner = self.write();
        inner.records.clear();
        inner.index.clear();
        inner.latest.clear();
        inner.bytes = 0;
        inner.passed = 0;
        inner.cuts.clear();
        inner.start = start;
        inner.start_mark = mark;
    }

    /// Adds the next record, and drops the oldest ones that exceed the bounds.
    pub(crate) fn append(&self, record: Record<F>) {
        let mut inner = self.write();
        debug_assert_eq!(record.position, inner.end().next(), "positions have no gap");
        if let Content::Event { target, kind, .. } = &record.content {
            if let Some(key) = Key::of(target.scope()) {
                inner.index.entry(key).or_default().push_back(record.position);
            }
            if let Kind::Latest(series) = kind {
                inner.latest.entry(Arc::clone(series)).or_default().push_back(record.position);
            }
        }
        inner.bytes += record.size();
        inner.passed += usize::from(record.is_passed());
        let now = record.seen;
        inner.records.push_back(record);
        inner.trim(&self.config, now);
    }

    /// Drops the records that are too old.
    pub(crate) fn expire(&self, now: Instant) {
        self.write().trim(&self.config, now);
    }

    /// Counts a connection of this identity that was closed within this record, which is passed
    /// over for that identity from the third time on.
    pub(crate) fn count_cut(&self, position: Position, identity: &Identity) {
        let mut inner = self.write();
        if inner.record(position).is_some() {
            inner.cuts.count(position, identity);
        }
    }

    /// Returns the mark of the record at this position, [`Mark::NONE`] if this node never read that
    /// record; `None` if the position is outside the window. The start counts as inside.
    pub(crate) fn mark(&self, position: Position) -> Option<Mark> {
        let inner = self.read_lock();
        if position == inner.start {
            return Some(inner.start_mark);
        }
        inner.record(position).map(|record| record.mark)
    }

    /// Returns the positions of the records with this mark, and what the window covers; looks at
    /// every record.
    pub(crate) fn marked(&self, mark: Mark) -> Marked {
        let inner = self.read_lock();
        let found = inner.records.iter().filter(|record| record.mark == mark).map(|record| record.position);
        Marked { positions: found.collect(), start: inner.start, end: inner.end() }
    }

    /// Returns the position before the oldest record.
    pub fn start(&self) -> Position {
        self.read_lock().start
    }

    /// Returns the position before the newest quarter of the window, by age and by bytes; a client
    /// whose newest cursor is older should get a new one.
    pub(crate) fn quarter(&self, now: Instant) -> Position {
        let inner = self.read_lock();
        let is_old = |record: &Record<F>| now.saturating_duration_since(record.seen) > self.config.age / 4;
        let by_age = inner.records.partition_point(is_old);
        let mut by_bytes = 0;
        if inner.bytes > self.config.bytes / 4 {
            by_bytes = inner.records.len();
            let mut bytes = 0;
            while by_bytes > 0 && bytes <= self.config.bytes / 4 {
                by_bytes -= 1;
                bytes += inner.records[by_bytes].size();
            }
        }
        Position::new(inner.start.get() + by_age.max(by_bytes) as u64)
    }

    /// Returns the number of records and of bytes.
    pub fn size(&self) -> (usize, usize) {
        let inner = self.read_lock();
        (inner.records.len() - inner.passed, inner.bytes)
    }

    /// Returns how long ago the oldest record was applied here; zero without one.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        let oldest = self.read_lock().records.front().map(|record| record.seen);
        oldest.map_or(Duration::ZERO, |seen| now.saturating_duration_since(seen))
    }

    fn read_lock(&self) -> RwLockReadGuard<'_, Inner<F>> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner<F>> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Frame> Inner<F> {
    fn end(&self) -> Position {
        Position::new(self.start.get() + self.records.len() as u64)
    }

    /// Returns the position from which a reader resumes whose own has left the window, and its
    /// mark; `losses` is the number of times that this happened to the reader before.
    ///
    /// Not the oldest record, which would have left the window too when the reader comes for the
    /// next part, but the end of the oldest quarter: a reader that is slower than the window turns
    /// over gets a few losses and not one for each part. Up to an eighth more, in turns, or a
    /// series with the same rhythm could always be in what is skipped.
    fn well_inside(&self, losses: u32) -> (Position, Mark) {
        let records = self.records.len() as u64;
        let position = Position::new(self.start.get() + records / 4 + u64::from(losses) % (records / 8 + 1));
        (position, self.record(position).map_or(self.start_mark, |record| record.mark))
    }

    fn record(&self, position: Position) -> Option<&Record<F>> {
        let at = position.get().checked_sub(self.start.get() + 1)?;
        self.records.get(at as usize)
    }

    /// Returns the newest event of the series, up to this position, that the reader may see.
    fn newest(&self, series: &Series, visibility: &Visibility, until: Position) -> Option<Position> {
        let positions = self.latest.get(series)?;
        let known = positions.partition_point(|position| *position <= until);
        positions.range(..known).rev().copied().find(|position| visibility.sees(*position, &series.target))
    }

    fn trim(&mut self, config: &WindowConfig, now: Instant) {
        while let Some(oldest) = self.records.front() {
            let too_old = now.saturating_duration_since(oldest.seen) > config.age;
            // The newest record stays whatever its size: an event larger than the bound still has
            // to be read.
            let own = self.records.len() - self.passed;
            let too_many = own > config.records || self.records.len() > config.records.saturating_mul(POSITIONS);
            let too_much = self.records.len() > 1 && (too_many || self.bytes > config.bytes);
            if !too_old && !too_much {
                break;
            }
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(record) = self.records.pop_front() else { return };
        self.bytes -= record.size();
        self.passed -= usize::from(record.is_passed());
        self.start = record.position;
        self.start_mark = record.mark;
        self.cuts.forget(record.position);
        let Content::Event { target, kind, .. } = &record.content else { return };
        if let Some(key) = Key::of(target.scope())
            && let Some(positions) = self.index.get_mut(&key)
        {
            positions.pop_front();
            if positions.is_empty() {
                self.index.remove(&key);
            }
        }
        if let Kind::Latest(series) = kind
            && let Some(positions) = self.latest.get_mut(series)
        {
            positions.pop_front();
            if positions.is_empty() {
                self.latest.remove(series);
            }
        }
    }
}

#[cfg(test)]
mod tests;
