//! The log's life: cursors, what a presented one leads to, and how a new life is taken up.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::delivery::dispatcher::Dispatcher;
use crate::log::backplane::LogState;
use crate::traits::codec::Codec;
use crate::values::cursor::{Cursor, CursorError, Life, Mark};
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

    /// Begins after this place, at which there is a record with this mark, in the life of this state.
    pub(super) fn begin_life(&self, state: &LogState, start: Position, mark: Mark) {
        self.filled.store(state.last.get(), Ordering::Release);
        self.hub.restart(start, || {
            *self.life.write().unwrap_or_else(PoisonError::into_inner) = Life::new(state.epoch, &state.key);
            self.window.restart(start, mark);
        });
    }
}
