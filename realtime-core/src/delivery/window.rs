use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::SystemTime;
use tokio::time::Instant;

use crate::delivery::cuts::{Cuts, LARGE, Large};
use crate::delivery::hub::Sight;
use crate::delivery::key::Key;
use crate::delivery::pass::Pass;
use crate::traits::codec::Frame;
use crate::values::config::WindowConfig;
use crate::values::cursor::Mark;
use crate::values::identity::Identity;
use crate::values::position::Position;
use crate::values::target::Target;

/// The newest part of a provider's log in this node's memory, encoded, and indexed by target so that
/// a read costs what it returns. Connections read nothing but this.
#[derive(Debug)]
pub struct Window<F> {
    config: WindowConfig,
    /// The records and their index. Held for one append or one read of a bounded batch, never across a send or an await.
    inner: RwLock<Inner<F>>,
}

#[derive(Debug)]
struct Inner<F> {
    /// The place before the oldest record.
    start: Position,
    /// What the record there was told by.
    start_mark: Mark,
    records: VecDeque<Record<F>>,
    index: HashMap<Key, VecDeque<Position>>,
    /// The events of each series.
    latest: HashMap<Arc<Series>, VecDeque<Position>>,
    bytes: usize,
    /// How many of the records are other providers'.
    passed: usize,
    cuts: Cuts,
}

/// One record of the window.
#[derive(Debug)]
pub(crate) struct Record<F> {
    pub(crate) position: Position,
    pub(crate) mark: Mark,
    pub(crate) content: Content<F>,
    /// When this node saw it; the window's age counts from here.
    pub(crate) seen: Instant,
}

/// What of a record still matters once it has been applied.
#[derive(Debug)]
pub(crate) enum Content<F> {
    /// For whom, and the encoded frame.
    Event { target: Target, frame: F, kind: Kind },
    /// Applied already (joins, leaves, what could not be read): it only fills its place.
    Nothing,
    /// For other providers: its place is known, and it counts for no bound but that of places.
    Passed,
}

/// What a reader of the window has to know of an event beside its target.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Only for connections that were there, until its deadline.
    Ask(SystemTime),
    /// For whoever it is for.
    Event,
    /// Only for whom no newer event of its series comes in the same pass.
    Latest(Arc<Series>),
}

/// Events of which only the newest matters to those who catch up.
#[derive(Debug, PartialEq, Eq, Hash)]
pub(crate) struct Series {
    pub(crate) target: Target,
    pub(crate) key: Arc<str>,
}

/// What a read found.
#[derive(Debug)]
pub(crate) struct Read {
    /// Everything for the reader up to here has been handed out.
    pub(crate) place: Position,
    /// The place asked for had left the window: what is between it and this place is gone.
    pub(crate) lost_until: Option<(Position, Mark)>,
    /// The newest place that what was found tells the client; asks tell none.
    pub(crate) told: Option<Position>,
    /// Events left out because a newer one of their series comes in the same pass.
    pub(crate) superseded: usize,
    /// The record at the place is passed over; it has this mark and this size.
    pub(crate) passed_over: Option<(Mark, usize)>,
    /// The large records among what was found.
    pub(crate) large: Vec<Large>,
}

/// How many times as many places are kept as records, where most are other providers'.
const PLACES: usize = 8;
/// Bookkeeping that a record costs beside its frame.
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
    /// An empty window that begins after this place.
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

    /// Forgets everything and begins anew after this place, the record at which has this mark.
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

    /// Adds the next record, and drops the oldest ones that are over the bounds.
    pub(crate) fn append(&self, record: Record<F>) {
        let mut inner = self.write();
        debug_assert_eq!(record.position, inner.end().next(), "records come without a gap");
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

    /// Drops what has become too old.
    pub(crate) fn expire(&self, now: Instant) {
        self.write().trim(&self.config, now);
    }

    /// A connection of this identity has ended within this record, which is passed over for it from the third time on.
    pub(crate) fn count_cut(&self, position: Position, identity: &Identity) {
        let mut inner = self.write();
        if inner.record(position).is_some() {
            inner.cuts.count(position, identity);
        }
    }

    /// The mark of the record at this place, [`Mark::NONE`] if it was never seen here; nothing if the place is not one of
    /// the window, whose start is.
    pub(crate) fn mark(&self, position: Position) -> Option<Mark> {
        let inner = self.read_lock();
        if position == inner.start {
            return Some(inner.start_mark);
        }
        inner.record(position).map(|record| record.mark)
    }

    /// The place before the oldest record.
    pub fn start(&self) -> Position {
        self.read_lock().start
    }

    /// The place before the newest quarter of the window, by age and by bytes; a client that was told of no place since
    /// then should be.
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

    /// Records and bytes held now.
    pub fn size(&self) -> (usize, usize) {
        let inner = self.read_lock();
        (inner.records.len() - inner.passed, inner.bytes)
    }

    /// Collects what this reader may see after `place`, up to the end of its pass or `budget` bytes (but at least one frame); it
    /// has lost its place so often before.
    pub(crate) fn read(
        &self,
        place: Position,
        sight: &Sight,
        (pass, losses): (&mut Pass, u32),
        budget: usize,
        frames: &mut Vec<F>,
    ) -> Read {
        let inner = self.read_lock();
        let lost_until = (place < inner.start).then(|| inner.well_inside(losses));
        let mut told = lost_until.map(|(start, _)| start);
        let from = told.unwrap_or(place);
        let until = pass.over(place, from, sight.end);
        let now = SystemTime::now();
        let lists: Vec<&VecDeque<Position>> = sight.keys().filter_map(|key| inner.index.get(&key)).collect();
        // A merge of the targets' lists: the smallest next position first.
        let mut next = BinaryHeap::with_capacity(lists.len());
        for (list, positions) in lists.iter().enumerate() {
            let at = positions.partition_point(|position| *position <= from);
            if let Some(position) = positions.get(at) {
                next.push(Reverse((*position, list, at)));
            }
        }
        let mut taken = 0;
        let mut superseded = 0;
        let (mut passed_over, mut large) = (None, Vec::new());
        // The newest event of each series that this reader is going to find.
        let mut newest: HashMap<&Series, Option<Position>> = HashMap::new();
        while let Some(Reverse((position, list, at))) = next.pop() {
            if position > until {
                break;
            }
            if let Some(position) = lists[list].get(at + 1) {
                next.push(Reverse((*position, list, at + 1)));
            }
            let Some(record) = inner.record(position) else { continue };
            let Content::Event { target, frame, kind } = &record.content else { continue };
            if !sight.sees(position, target) {
                continue;
            }
            match kind {
                Kind::Ask(until) if !sight.was_there(position) || *until <= now => continue,
                Kind::Latest(series) => {
                    if *newest.entry(series).or_insert_with(|| inner.newest(series, sight, until)) > Some(position) {
                        superseded += 1;
                        continue;
                    }
                }
                Kind::Ask(_) | Kind::Event => {}
            }
            let size = frame.size();
            let is_ask = matches!(kind, Kind::Ask(_));
            let passes_over = !is_ask && inner.cuts.passes_over(position, size, sight.identity());
            // It is told alone.
            if taken > 0 && taken + size > budget || passes_over && (taken > 0 || lost_until.is_some()) {
                return Read { place: position.previous(), lost_until, told, superseded, passed_over, large };
            }
            if passes_over {
                passed_over = Some((record.mark, size));
                return Read { place: position, lost_until, told: Some(position), superseded, passed_over, large };
            }
            taken += size;
            if size > LARGE && !is_ask {
                large.push(Large { at: frames.len(), position, size });
            }
            frames.push(frame.clone());
            if !is_ask {
                told = Some(position);
            }
        }
        Read { place: until.max(from), lost_until, told, superseded, passed_over, large }
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

    /// Where a reader goes on whose place is gone, which happened to it so often before: not at the oldest record, which would be gone too when it
    /// comes for the next part, but after the oldest quarter. One who is slower than the window turns over is so told a few
    /// times what it lost, instead of once for each part. Up to an eighth more, by turns, or a series that comes in the same
    /// rhythm could always be in what it passes over.
    fn well_inside(&self, losses: u32) -> (Position, Mark) {
        let records = self.records.len() as u64;
        let place = Position::new(self.start.get() + records / 4 + u64::from(losses) % (records / 8 + 1));
        (place, self.record(place).map_or(self.start_mark, |record| record.mark))
    }

    fn record(&self, position: Position) -> Option<&Record<F>> {
        let at = position.get().checked_sub(self.start.get() + 1)?;
        self.records.get(at as usize)
    }

    /// The newest event of the series up to here that is for this reader.
    fn newest(&self, series: &Series, sight: &Sight, until: Position) -> Option<Position> {
        let positions = self.latest.get(series)?;
        let known = positions.partition_point(|position| *position <= until);
        positions.range(..known).rev().copied().find(|position| sight.sees(*position, &series.target))
    }

    fn trim(&mut self, config: &WindowConfig, now: Instant) {
        while let Some(oldest) = self.records.front() {
            let too_old = now.saturating_duration_since(oldest.seen) > config.age;
            // The newest record stays whatever its size: an event larger than the bound still has to be read.
            let own = self.records.len() - self.passed;
            let too_many = own > config.records || self.records.len() > config.records.saturating_mul(PLACES);
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
