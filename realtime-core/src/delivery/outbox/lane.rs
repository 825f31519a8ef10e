use std::collections::VecDeque;

use crate::traits::codec::Frame;
use crate::values::config::OutboxConfig;
use crate::values::position::Position;
use crate::values::stamp::Stamp;

/// One of an outbox's bounded queues, and the size of what waits in it.
#[derive(Debug)]
pub(super) struct Lane<T> {
    pub(super) frames: VecDeque<T>,
    /// The sizes of the frames added up, in bytes.
    pub(super) bytes: usize,
}

/// A durable frame of a live connection, with its position in the log.
#[derive(Clone, Debug)]
pub(super) struct Queued<F> {
    pub(super) position: Position,
    pub(super) frame: F,
    pub(super) kind: QueuedKind,
    /// The moment at which it was sent, if it is timed.
    pub(super) sent: Stamp,
}

/// The kind of a queued frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum QueuedKind {
    /// A record without its cursor.
    Ask,
    /// A bare cursor, whose record was taken earlier.
    Cursor,
    /// A record with its cursor.
    Event,
}

impl<T: Frame> Lane<T> {
    pub(super) fn new() -> Self {
        Self { frames: VecDeque::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, frame: T) {
        self.bytes += frame.size();
        self.frames.push_back(frame);
    }

    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Returns whether a frame of this size would exceed the bound; an empty lane accepts every
    /// frame.
    pub(super) fn is_full(&self, size: usize, bound: OutboxConfig) -> bool {
        !self.is_empty() && (self.len() >= bound.frames || self.bytes + size > bound.bytes)
    }

    /// Moves frames out, oldest first, while `taken` stays within `budget` bytes, but at least one
    /// if nothing has been taken yet; returns whether the lane is empty now.
    pub(super) fn move_out(&mut self, budget: usize, taken: &mut usize, mut each: impl FnMut(T)) -> bool {
        if *taken + self.bytes <= budget {
            // Nearly always: everything, without a look at the size of each.
            *taken += std::mem::take(&mut self.bytes);
            while let Some(next) = self.frames.pop_front() {
                each(next);
            }
            return true;
        }
        while let Some(next) = self.frames.front() {
            let size = next.size();
            if *taken > 0 && *taken + size > budget {
                return false;
            }
            *taken += size;
            self.bytes -= size;
            self.frames.pop_front().into_iter().for_each(&mut each);
        }
        true
    }

    /// Makes an empty lane ready for the next frame: a capacity above `kept` frames is freed,
    /// because most connections are idle most of the time.
    pub(super) fn reset(&mut self, kept: usize) {
        // The next frame is written where the last first one was, and not ever further into memory
        // that is not in a cache.
        self.frames.clear();
        if self.frames.capacity() > kept {
            self.frames = VecDeque::new();
        }
    }
}

impl<F> Queued<F> {
    /// Returns the position up to which everything has been taken while this frame is the first in
    /// the queue: the reader resumes from there if the queue is dropped.
    pub(super) fn taken(&self) -> Position {
        if self.kind == QueuedKind::Cursor { self.position } else { self.position.previous() }
    }

    /// Returns the position that the client knows once it has this frame; asks carry none.
    pub(super) fn cursor(&self) -> Option<Position> {
        (self.kind != QueuedKind::Ask).then_some(self.position)
    }
}

impl<F: Frame> Frame for Queued<F> {
    fn size(&self) -> usize {
        self.frame.size()
    }
}
