//! Finding a record by its id.

use std::time::Duration;

use tokio::time::timeout;

use crate::log::backplane::Entry;
use crate::log::shared::Shared;
use crate::values::cursor::{Epoch, Mark};
use crate::values::error::Result;
use crate::values::event_id::EventId;
use crate::values::fate::Unknown;
use crate::values::position::Position;

/// The longest time of a part of a search, and of the wait for its turn.
const TIME: Duration = Duration::from_secs(2);
/// The records that are read in one step, each of which may have the size of the largest event; and
/// in all.
const PAGE: u64 = 100;
const MOST: u64 = 100_000;

/// The positions after which, and up to which, the windows have the marks of the records.
type Covered = (Position, Position);

/// Waits for a part of the search for an event.
async fn in_time<T>(id: EventId, part: impl Future<Output = Result<T>>) -> std::result::Result<T, Unknown> {
    match timeout(TIME, part).await {
        Err(_) => Err(Unknown::Search),
        Ok(Err(error)) => {
            tracing::debug!(event = %id, %error, "an event cannot be looked for");
            Err(Unknown::Log)
        }
        Ok(Ok(found)) => Ok(found),
    }
}

impl Shared {
    /// Returns the record with this id, and the epoch of the log. It is looked up among the marks
    /// of the windows, which are in memory; what no window covers is read from the log, the newest
    /// records first, 100,000 at most. One search at a time reads the log: two seconds for its
    /// turn, and two for itself.
    pub(super) async fn find_record(&self, id: EventId) -> std::result::Result<(Entry, Epoch), Unknown> {
        let covered = match in_time(id, self.marked_record(id)).await? {
            Ok(found) => return Ok(found),
            Err(covered) => covered,
        };
        // Never closed. What a search has in memory is bounded by one step's records.
        let Ok(Ok(_turn)) = timeout(TIME, self.explains.searches.acquire()).await else {
            return Err(Unknown::Search);
        };
        in_time(id, self.search(id, covered)).await?
    }

    /// Returns the record at a position if it has this id.
    pub(super) async fn record_at(&self, position: Position, id: EventId) -> Result<Option<Entry>> {
        let found = timeout(TIME, self.backplane.range(position.previous(), 1)).await;
        let found =
            found.unwrap_or_else(|_| Err(crate::values::error::Error::Backplane("no answer in time".into())))?;
        Ok(found.into_iter().find(|entry| entry.position == position && entry.id == id))
    }

    /// Returns the record that a window has the mark of, or the range that the windows cover.
    async fn marked_record(&self, id: EventId) -> Result<std::result::Result<(Entry, Epoch), Covered>> {
        let mut covered = (Position::START, Position::START);
        for feed in self.feeds() {
            let marked = feed.marked(Mark::of(id));
            for position in marked.positions {
                if let Some(entry) = self.record_at(position, id).await? {
                    return Ok(Ok((entry, self.backplane.state().await?.epoch)));
                }
            }
            if marked.end > covered.1 {
                covered = (marked.start, marked.end);
            }
        }
        Ok(Err(covered))
    }

    /// Reads the records that the windows do not cover.
    async fn search(&self, id: EventId, covered: Covered) -> Result<std::result::Result<(Entry, Epoch), Unknown>> {
        let state = self.backplane.state().await?;
        let newer = (covered.1.max(state.start), state.last);
        let older = (state.start, covered.0.min(state.last));
        let mut left = MOST;
        for (after, until) in [newer, older] {
            let mut end = until;
            while end > after {
                let begin = Position::new(end.get().saturating_sub(PAGE)).max(after);
                let size = end.get() - begin.get();
                let page = self.backplane.range(begin, usize::try_from(size).unwrap_or(usize::MAX)).await?;
                if let Some(entry) = page.into_iter().find(|entry| entry.id == id) {
                    return Ok(Ok((entry, state.epoch)));
                }
                left = left.saturating_sub(size);
                if left == 0 {
                    return Ok(Err(Unknown::Search));
                }
                end = begin;
            }
        }
        let oldest = self.backplane.range(state.start, 1).await?;
        let since_ms = oldest.first().and_then(|entry| entry.id.created_ms());
        Ok(Err(Unknown::NotInLog { since_ms }))
    }
}
