//! Reads of the window by connections that are behind.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;
use tokio::time::Instant;

use super::{Content, Inner, Kind, Series, Window};
use crate::delivery::cuts::{LARGE, Large};
use crate::delivery::hub::Visibility;
use crate::delivery::key::Key;
use crate::delivery::pass::Pass;
use crate::log::omissions::MOST_SUPERSEDED;
use crate::traits::codec::Frame;
use crate::values::cursor::Mark;
use crate::values::position::Position;

/// The result of a read.
#[derive(Debug)]
pub(crate) struct Read {
    /// The position up to which the reader has everything now.
    pub(crate) position: Position,
    /// Set when the reader's position had left the window: what lies between it and this position
    /// is gone.
    pub(crate) lost_until: Option<(Position, Mark)>,
    /// The newest position that the client has a cursor for after this read; asks carry none.
    pub(crate) last_cursor: Option<Position>,
    /// Events left out because a newer one of their series comes in the same pass.
    pub(crate) superseded: usize,
    /// The last of them, all if there are fewer than 64.
    pub(crate) last_superseded: Vec<Position>,
    /// The mark and size of the record at the position, if that one is passed over.
    pub(crate) passed_over: Option<(Mark, usize)>,
    /// The large records among the frames.
    pub(crate) large: Vec<Large>,
}

/// The positions of several ascending lists, merged into ascending order.
struct Merge<'a> {
    lists: Vec<&'a VecDeque<Position>>,
    /// The next position of each list, with the list's number and the index in it.
    next: BinaryHeap<Reverse<(Position, usize, usize)>>,
}

/// The choice of records for one reader.
struct Reader<'a, F> {
    inner: &'a Inner<F>,
    visibility: &'a Visibility,
    /// The end of the pass.
    until: Position,
    now: Instant,
    /// The newest event of each series that the reader gets in this pass.
    newest: HashMap<&'a Series, Option<Position>>,
    superseded: usize,
    last_superseded: Vec<Position>,
}

/// A record that the reader gets.
struct Found<'a, F> {
    frame: &'a F,
    mark: Mark,
    is_ask: bool,
}

impl<F: Frame> Window<F> {
    /// Collects what this reader may see after `position`, up to the end of its pass or `budget`
    /// bytes (but at least one frame). `losses` is the number of times that the reader's position
    /// had left the window before.
    pub(crate) fn read(
        &self,
        position: Position,
        visibility: &Visibility,
        (pass, losses): (&mut Pass, u32),
        budget: usize,
        frames: &mut Vec<F>,
    ) -> Read {
        let inner = self.read_lock();
        let lost_until = (position < inner.start).then(|| inner.well_inside(losses));
        let last_cursor = lost_until.map(|(start, _)| start);
        let from = last_cursor.unwrap_or(position);
        let until = pass.over(position, from, visibility.end);
        let mut read = Read {
            position: until.max(from),
            lost_until,
            last_cursor,
            superseded: 0,
            last_superseded: Vec::new(),
            passed_over: None,
            large: Vec::new(),
        };
        let mut reader = Reader::new(&inner, visibility, until);
        let mut taken = 0;
        for position in reader.positions(from).take_while(|position| *position <= until) {
            let Some(Found { frame, mark, is_ask }) = reader.admit(position) else { continue };
            let size = frame.size();
            let passes_over = !is_ask && inner.cuts.passes_over(position, size, visibility.identity());
            // A record that is passed over is alone in its read: its `lost` goes out in front of
            // the read's frames.
            if taken > 0 && taken + size > budget || passes_over && (taken > 0 || lost_until.is_some()) {
                read.position = position.previous();
                break;
            }
            if passes_over {
                read.passed_over = Some((mark, size));
                read.position = position;
                read.last_cursor = Some(position);
                break;
            }
            taken += size;
            if size > LARGE && !is_ask {
                read.large.push(Large { at: frames.len(), position, size });
            }
            frames.push(frame.clone());
            if !is_ask {
                read.last_cursor = Some(position);
            }
        }
        read.superseded = reader.superseded;
        read.last_superseded = reader.last_superseded;
        read
    }

    /// Returns the positions after this one of the events that were sent to the reader's user, as
    /// far as it may see them; those of its rooms and of everyone are not among them.
    pub(crate) fn events_for_user(&self, from: Position, visibility: &Visibility) -> Vec<Position> {
        let inner = self.read_lock();
        let Some(user) = visibility.identity().shared_user() else { return Vec::new() };
        let Some(positions) = inner.index.get(&Key::User(Arc::clone(user))) else { return Vec::new() };
        let is_seen = |position: &Position| {
            inner.record(*position).is_some_and(|record| match &record.content {
                Content::Event { target, kind: Kind::Event | Kind::Latest(_), .. } => {
                    visibility.sees(*position, target)
                }
                _ => false,
            })
        };
        let after = positions.partition_point(|position| *position <= from);
        positions.range(after..).copied().filter(is_seen).collect()
    }
}

impl<'a, F: Frame> Reader<'a, F> {
    fn new(inner: &'a Inner<F>, visibility: &'a Visibility, until: Position) -> Self {
        let (now, newest) = (Instant::now(), HashMap::new());
        Self { inner, visibility, until, now, newest, superseded: 0, last_superseded: Vec::new() }
    }

    /// Returns the positions after this one of all records whose targets may mean the reader.
    fn positions(&self, from: Position) -> Merge<'a> {
        let inner = self.inner;
        Merge::after(from, self.visibility.keys().filter_map(|key| inner.index.get(&key)).collect())
    }

    /// Returns the record at this position if the reader gets it, and counts it if a newer one
    /// supersedes it.
    fn admit(&mut self, position: Position) -> Option<Found<'a, F>> {
        let (inner, visibility, until) = (self.inner, self.visibility, self.until);
        let record = inner.record(position)?;
        let Content::Event { target, frame, kind } = &record.content else { return None };
        if !visibility.sees(position, target) {
            return None;
        }
        match kind {
            Kind::Ask(deadline) if !visibility.was_registered(position) || *deadline <= self.now => return None,
            Kind::Latest(series) => {
                let newest = self.newest.entry(series).or_insert_with(|| inner.newest(series, visibility, until));
                if *newest > Some(position) {
                    self.supersede(position);
                    return None;
                }
            }
            Kind::Ask(_) | Kind::Event => {}
        }
        Some(Found { frame, mark: record.mark, is_ask: matches!(kind, Kind::Ask(_)) })
    }
}

impl<F> Reader<'_, F> {
    fn supersede(&mut self, position: Position) {
        self.superseded += 1;
        if self.last_superseded.len() == 2 * MOST_SUPERSEDED {
            self.last_superseded.drain(..MOST_SUPERSEDED - 1);
        }
        self.last_superseded.push(position);
    }
}

impl<'a> Merge<'a> {
    /// Merges the parts of these lists after this position.
    fn after(from: Position, lists: Vec<&'a VecDeque<Position>>) -> Self {
        let mut merge = Self { next: BinaryHeap::with_capacity(lists.len()), lists };
        for list in 0..merge.lists.len() {
            let begin = merge.lists[list].partition_point(|position| *position <= from);
            merge.enqueue(list, begin);
        }
        merge
    }

    /// Adds the position at this index of a list, if there is one.
    fn enqueue(&mut self, list: usize, at: usize) {
        if let Some(position) = self.lists[list].get(at) {
            self.next.push(Reverse((*position, list, at)));
        }
    }
}

impl Iterator for Merge<'_> {
    type Item = Position;

    fn next(&mut self) -> Option<Position> {
        let Reverse((position, list, at)) = self.next.pop()?;
        self.enqueue(list, at + 1);
        Some(position)
    }
}
