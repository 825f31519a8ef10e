//! The log's life: its cursors, the position that a presented one stands for, and the beginning of
//! a new life.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;

use crate::delivery::dispatcher::Dispatcher;
use crate::log::backplane::LogState;
use crate::log::feed::Beginning;
use crate::traits::codec::Codec;
use crate::values::cursor::{Cursor, CursorError, CursorSigner, Mark};
use crate::values::position::Position;

impl<C: Codec> Dispatcher<C> {
    /// Returns the cursor for a position in the log of the current epoch. No connection resumes
    /// from a position that has left the window.
    #[must_use]
    pub fn cursor(&self, position: Position) -> Cursor {
        self.cursor_of(position, self.window.mark(position).unwrap_or(Mark::NONE))
    }

    /// Returns the cursor for a position whose record has this mark.
    pub(crate) fn cursor_of(&self, position: Position, mark: Mark) -> Cursor {
        self.signer.read().unwrap_or_else(PoisonError::into_inner).cursor(position, mark)
    }

    pub(crate) fn signer(&self) -> CursorSigner {
        self.signer.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Returns the position that a presented cursor stands for, and the `reason` in `connected`;
    /// called in one step with `applied`. The user's rooms may have ended by absence at a position
    /// (`ended`), and earlier cursors are expired then.
    pub(crate) fn resolve_cursor(
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
        let signer = self.signer();
        if cursor.epoch() != signer.epoch() {
            // Whatever the MAC: the key of that life is gone.
            return (None, "epoch");
        }
        if !signer.verify(&cursor) {
            return (None, "invalid");
        }
        let position = cursor.position();
        if position > applied {
            return (None, "epoch");
        }
        match self.window.mark(position) {
            None => (None, "expired"),
            // Not read by this node, or not when the cursor was made: the record may have been
            // another one.
            Some(mark) if position > Position::START && (mark == Mark::NONE || cursor.mark() == Mark::NONE) => {
                (None, "expired")
            }
            Some(mark) if mark != cursor.mark() => (None, "epoch"),
            Some(_) if ended.is_some_and(|ended| position < ended) => (None, "expired"),
            Some(_) => (Some(position), "resumed"),
        }
    }

    /// Begins after this position in the life of this state.
    pub(super) fn begin_life(&self, state: &LogState, start: Position, beginning: &Beginning) {
        self.filled.store(state.last.get(), Ordering::Release);
        let secret = self.runtime.get().and_then(|runtime| runtime.cursor_secret.as_ref());
        let key = secret.map_or_else(|| state.key.clone(), |secret| secret.key(state.epoch));
        let mark = beginning.before.map_or(Mark::NONE, Mark::of);
        self.hub.restart(start, &beginning.rooms, || {
            *self.signer.write().unwrap_or_else(PoisonError::into_inner) = CursorSigner::new(state.epoch, &key);
            self.window.restart(start, mark);
        });
    }
}
