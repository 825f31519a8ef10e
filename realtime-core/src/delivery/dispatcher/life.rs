//! The log's life: cursors, what a presented one leads to, and how a new life is taken up.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use super::follow::Tip;
use crate::delivery::dispatcher::Dispatcher;
use crate::log::backplane::LogState;
use crate::traits::codec::Codec;
use crate::traits::runtime::Runtime;
use crate::values::cursor::{Cursor, CursorError, Life, Mark};
use crate::values::error::Result;
use crate::values::event_id::EventId;
use crate::values::position::Position;

impl<C: Codec> Dispatcher<C> {
    /// The cursor for a place in the log of now. One that has left the window leads nowhere any more.
    pub fn cursor(&self, position: Position) -> Cursor {
        self.cursor_of(position, self.window.mark(position).unwrap_or(Mark::NONE))
    }

    /// The cursor for a place at which there is a record with this mark.
    pub(crate) fn cursor_of(&self, position: Position, mark: Mark) -> Cursor {
        self.life.read().unwrap_or_else(PoisonError::into_inner).cursor(position, mark)
    }

    pub(crate) fn life(&self) -> Life {
        self.life.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where a presented cursor leads, and the word for it in `connected`; in one step with what was applied. Who presents it
    /// may have lost rooms at a place, by absence, and cannot go on from before it.
    pub(crate) fn place_of(
        &self,
        cursor: Option<&str>,
        applied: Position,
        ended: Option<Position>,
    ) -> (Option<Position>, &'static str) {
        let Some(text) = cursor.filter(|text| !text.is_empty()) else { return (None, "new") };
        let cursor: Cursor = match text.parse() {
            Ok(cursor) => cursor,
            Err(CursorError::Malformed | CursorError::Version) => return (None, "invalid"),
        };
        let life = self.life();
        if cursor.epoch() != life.epoch() {
            // Whatever its MAC: the key of that life is gone.
            return (None, "epoch");
        }
        if !life.made(&cursor) {
            return (None, "invalid");
        }
        let position = cursor.position();
        if position > applied {
            return (None, "epoch");
        }
        match self.window.mark(position) {
            None => (None, "expired"),
            // Never seen here, or not when the cursor was made: it may have been another record.
            Some(mark) if position > Position::START && (mark == Mark::NONE || cursor.mark() == Mark::NONE) => {
                (None, "expired")
            }
            Some(mark) if mark != cursor.mark() => (None, "epoch"),
            Some(_) if ended.is_some_and(|ended| position < ended) => (None, "expired"),
            Some(_) => (Some(position), "resumed"),
        }
    }

    /// Begins at the oldest place that the log and the window still hold; `before` is the id of the record there.
    pub(super) fn take_up(&self, state: &LogState, before: Option<EventId>) -> Tip {
        let mark = before.map_or(Mark::NONE, Mark::of);
        let start = self.start_in(state);
        self.filled.store(state.last.get(), Ordering::Release);
        self.hub.restart(start, || {
            *self.life.write().unwrap_or_else(PoisonError::into_inner) = Life::new(state.epoch, &state.key);
            self.window.restart(start, mark);
        });
        Tip::new(start, before)
    }

    /// The id of the record after which a log is read; nothing if it is no longer there.
    pub(super) async fn before_start(&self, runtime: &Runtime, state: &LogState) -> Result<Option<EventId>> {
        let start = self.start_in(state);
        if start == Position::START {
            return Ok(None);
        }
        let entries = runtime.backplane.range(self.config.provider, start.previous(), 1).await?;
        Ok(entries.first().filter(|entry| entry.position == start).map(|entry| entry.id))
    }

    /// The place after which a log is read into the window.
    fn start_in(&self, state: &LogState) -> Position {
        let most = self.config.window.records as u64;
        state.start.max(Position::new(state.last.get().saturating_sub(most)))
    }
}
