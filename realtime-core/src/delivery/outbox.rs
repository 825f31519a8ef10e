use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use tokio::sync::Notify;

mod lane;
mod stats;

use crate::delivery::cuts::{LARGE, Large};
use crate::delivery::pass::Pass;
use crate::log::omissions::Omissions;
use crate::traits::codec::Frame;
use crate::values::close::CloseReason;
use crate::values::config::OutboxConfig;
use crate::values::position::Position;
use crate::values::stamp::Stamp;
use lane::{Lane, Queued, QueuedKind};
pub(crate) use stats::{Counts, Snapshot};

/// The result of a session's take from its outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Take {
    /// The connection is to be closed, for this reason; there is nothing more to take.
    Closed(CloseReason),
    /// There is nothing now; the outlet is woken when there is.
    Empty,
    /// Frames were added to the vector; there may be more.
    Frames,
    /// Frames were added to the vector, all there were: the outlet is woken when there are more.
    Last,
}

/// The frames that wait for one connection.
///
/// Durable frames are in log order while the connection is live. When they exceed the bound, they
/// are dropped here and the connection is behind: it reads the window from its position instead.
///
/// A fan-out reaches a thousand of these for each event, so what a push touches lies together: in
/// the last two cache lines, with the lock behind it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Outbox<F> {
    /// Notified when the side lane has room again: callers that may not drop their frame wait here.
    room: Notify,
    /// Short: held to move frames in or out, never across a write or an await.
    state: Mutex<State<F>>,
}

#[derive(Debug)]
#[repr(C)]
pub(crate) struct State<F> {
    /// Replies, acks and volatile events; no order against durable events while behind.
    side: Lane<F>,
    /// The newest position that the client has received a cursor for.
    pub(crate) last_cursor: Position,
    /// The part of the log that the connection reads at a time while it is behind.
    pub(crate) pass: Pass,
    /// The omissions among the records that were read; most connections have none.
    omissions: Option<Box<Omissions>>,
    pub(crate) counts: Counts,
    /// Set once the connection is to be closed.
    closing: Option<Box<Closing<F>>>,
    pub(crate) mode: Mode,
    /// Durable frames with their positions, only while live.
    queue: Lane<Queued<F>>,
    /// The time when the oldest untaken frame (or close) was queued.
    waiting_since: Option<Instant>,
    /// Set when the last take left nothing, so that the next push must wake the outlet.
    idle: bool,
    /// Set while a caller waits for room in the side lane.
    room_wanted: bool,
    /// The moment at which the oldest of the timed frames was sent that were taken and that
    /// [`State::take_sent`] has not returned.
    taken_sent: Stamp,
}

/// The close of a connection.
#[derive(Debug)]
struct Closing<F> {
    reason: CloseReason,
    /// The position up to which a connection that is behind still reads after the close.
    last_call: Position,
    /// The last frame, which says why.
    last_frame: Option<F>,
}

/// The way a connection gets durable frames, with its position in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// From the window: everything up to the position has been taken.
    Behind(Position),
    /// From the queue: everything up to the position has been taken or is queued.
    Live(Position),
}

/// The result of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The connection is behind and will read the frame from the window.
    Behind,
    /// The connection is closed.
    Closed,
    /// The lane was full, and the frame may be dropped.
    Dropped,
    /// The lane was full, and the frame may not be dropped.
    Full,
    /// The frame is in the queue.
    Queued,
    /// The queue was full: the connection is behind now.
    TurnedBehind,
}

impl Pushed {
    /// Returns the name in the log.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Behind => "behind",
            Self::Closed => "closed",
            Self::Dropped => "dropped",
            Self::Full => "full",
            Self::Queued => "queued",
            Self::TurnedBehind => "turned_behind",
        }
    }
}

/// The frames for which the memory of an empty queue, and of an empty side lane, is kept.
const QUEUE_KEPT: usize = 64;
const SIDE_KEPT: usize = 4;

impl<F: Frame> Outbox<F> {
    /// Creates an outbox that begins behind at this position, with a first frame.
    pub(crate) fn new(position: Position, welcome: F) -> Self {
        let mut side = Lane::new();
        side.push(welcome);
        Self {
            state: Mutex::new(State {
                mode: Mode::Behind(position),
                queue: Lane::new(),
                side,
                closing: None,
                idle: false,
                room_wanted: false,
                taken_sent: Stamp::NONE,
                waiting_since: None,
                last_cursor: position,
                pass: Pass::new(),
                omissions: None,
                counts: Counts::default(),
            }),
            room: Notify::new(),
        }
    }

    /// Waits until the side lane has room for a frame of this size, or the connection is to be
    /// closed.
    pub(crate) async fn room(&self, size: usize, bound: OutboxConfig) {
        loop {
            let room = self.room.notified();
            {
                let mut state = self.lock();
                if state.closing.is_some() || !state.side.is_full(size, bound) {
                    return;
                }
                state.room_wanted = true;
            }
            room.await;
        }
    }

    /// Notifies the callers that wait for room; called after a take that found that there are some.
    pub(crate) fn make_room(&self) {
        self.room.notify_waiters();
    }

    /// Offers a durable frame, with its cursor in it or not, and when it was sent if it is timed;
    /// the flag says whether the outlet must be woken.
    pub(crate) fn push(
        &self,
        position: Position,
        frame: &F,
        has_cursor: bool,
        bound: OutboxConfig,
        now: Instant,
        sent: Stamp,
    ) -> (Pushed, bool) {
        let mut state = self.lock();
        if state.closing.is_some() {
            return (Pushed::Closed, false);
        }
        match state.mode {
            // Read from the window already.
            Mode::Live(at) if position <= at => (Pushed::Queued, false),
            Mode::Behind(_) => {
                state.waiting_since.get_or_insert(now);
                (Pushed::Behind, state.must_wake())
            }
            Mode::Live(_) => {
                state.waiting_since.get_or_insert(now);
                if let Some(first) = state.queue.frames.front()
                    && state.queue.is_full(frame.size(), bound)
                {
                    state.mode = Mode::Behind(first.taken());
                    state.queue = Lane::new();
                    state.counts.overflows = state.counts.overflows.saturating_add(1);
                    return (Pushed::TurnedBehind, state.must_wake());
                }
                state.mode = Mode::Live(position);
                let kind = if has_cursor { QueuedKind::Event } else { QueuedKind::Ask };
                state.queue.push(Queued { position, frame: frame.clone(), kind, sent });
                (Pushed::Queued, state.must_wake())
            }
        }
    }

    /// Offers a frame that has no position in the log.
    pub(crate) fn push_side(&self, frame: F, may_drop: bool, bound: OutboxConfig, now: Instant) -> (Pushed, bool) {
        let mut state = self.lock();
        if state.closing.is_some() {
            return (Pushed::Closed, false);
        }
        if state.side.is_full(frame.size(), bound) {
            state.counts.dropped = state.counts.dropped.saturating_add(u32::from(may_drop));
            return (if may_drop { Pushed::Dropped } else { Pushed::Full }, false);
        }
        if may_drop && matches!(state.mode, Mode::Behind(_)) && !state.side.is_empty() {
            state.counts.dropped = state.counts.dropped.saturating_add(1);
            return (Pushed::Dropped, false);
        }
        state.waiting_since.get_or_insert(now);
        state.side.push(frame);
        (Pushed::Queued, state.must_wake())
    }

    /// Queues a bare cursor if the connection is live and has nothing queued; returns whether the
    /// outlet must be woken. Only called between two deliveries.
    pub(crate) fn push_cursor(&self, position: Position, frame: F, now: Instant) -> bool {
        let mut state = self.lock();
        if state.closing.is_some() || !matches!(state.mode, Mode::Live(_)) || !state.queue.is_empty() {
            return false;
        }
        state.waiting_since.get_or_insert(now);
        state.mode = Mode::Live(position);
        state.queue.push(Queued { position, frame, kind: QueuedKind::Cursor, sent: Stamp::NONE });
        state.must_wake()
    }

    /// Marks the outbox closed once everything up to `last_call` has been taken; the first reason
    /// stays. Returns whether the outlet must be woken, which includes a session that is not idle:
    /// it may wait in a write that never ends.
    pub(crate) fn close(&self, reason: CloseReason, last_call: Position) -> bool {
        self.close_with(reason, last_call, None)
    }

    /// Marks the outbox closed as [`Outbox::close`] does; what is taken ends with this frame.
    pub(crate) fn close_with(&self, reason: CloseReason, last_call: Position, last_frame: Option<F>) -> bool {
        let mut state = self.lock();
        if state.closing.is_some() {
            return false;
        }
        state.closing = Some(Box::new(Closing { reason, last_call, last_frame }));
        state.note_waiting();
        state.idle = false;
        drop(state);
        self.room.notify_waiters();
        true
    }

    /// Marks the outbox closed, unless it is, and ends its reading of the window, whatever
    /// `last_call` was set: the log's positions mean other records from now on. The flag is that of
    /// [`Outbox::close`].
    pub(crate) fn end_life(&self, reason: CloseReason) -> bool {
        let closes = self.close(reason, Position::START);
        if let Some(closing) = &mut self.lock().closing {
            closing.last_call = Position::START;
        }
        closes
    }

    /// Restarts the clock of what waits: bytes of the last take have been written.
    pub(crate) fn progressed(&self, now: Instant) {
        if let Some(since) = &mut self.lock().waiting_since {
            *since = now;
        }
    }

    /// Drops what waits, which no session will take any more.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.queue = Lane::new();
        state.side = Lane::new();
        state.take_last_frame();
        state.waiting_since = None;
    }

    pub(crate) fn snapshot(&self, now: Instant) -> Snapshot {
        let state = self.lock();
        let taken = match (state.mode, state.queue.frames.front()) {
            (Mode::Live(_), Some(first)) => first.taken(),
            (Mode::Behind(position) | Mode::Live(position), _) => position,
        };
        Snapshot {
            behind: matches!(state.mode, Mode::Behind(_)),
            taken,
            last_cursor: state.last_cursor,
            queued_events: state.queue.len() + state.side.len(),
            queued_bytes: state.queue.bytes + state.side.bytes,
            waiting: state.waiting_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            counts: state.counts,
        }
    }

    /// Returns what was left out of the records that were read.
    pub(crate) fn omissions(&self) -> Omissions {
        self.lock().omissions.as_deref().cloned().unwrap_or_default()
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.lock().close_reason().cloned()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closing.is_some()
    }

    /// Returns whether something has been waiting for longer than this without a take.
    pub(crate) fn has_stalled(&self, now: Instant, limit: Duration) -> bool {
        self.lock().waiting_since.is_some_and(|since| now.saturating_duration_since(since) > limit)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Frame> State<F> {
    /// Moves the side lane and, while live, the queue into `frames`, up to `budget` bytes but at
    /// least one frame; notes the large records among them. Returns the bytes that were moved.
    pub(crate) fn drain(&mut self, budget: usize, frames: &mut Vec<F>, large: &mut Vec<Large>) -> usize {
        self.waiting_since = None;
        let taken = self.move_out(budget, frames, large);
        if self.closing.is_some() || !self.side.is_empty() || !self.queue.is_empty() {
            self.note_waiting();
        }
        taken
    }

    fn move_out(&mut self, budget: usize, frames: &mut Vec<F>, large: &mut Vec<Large>) -> usize {
        frames.reserve(self.side.len() + self.queue.len());
        let mut taken = 0;
        if !self.side.move_out(budget, &mut taken, |frame| frames.push(frame)) {
            return taken;
        }
        let may_be_large = self.queue.bytes > LARGE;
        let (last_cursor, sent) = (&mut self.last_cursor, &mut self.taken_sent);
        let all = self.queue.move_out(budget, &mut taken, |next| {
            *last_cursor = next.cursor().unwrap_or(*last_cursor);
            *sent = sent.or(next.sent);
            if may_be_large && next.kind == QueuedKind::Event && next.frame.size() > LARGE {
                large.push(Large { at: frames.len(), position: next.position, size: next.frame.size() });
            }
            frames.push(next.frame);
        });
        if all {
            self.queue.reset(QUEUE_KEPT);
            self.side.reset(SIDE_KEPT);
        }
        taken
    }

    /// Returns what was left out of the records that were read, to be added to.
    pub(crate) fn omissions(&mut self) -> &mut Omissions {
        self.omissions.get_or_insert_default()
    }

    /// Counts what is handed to the session.
    pub(crate) fn count_out(&mut self, events: usize, bytes: usize) {
        self.counts.events_out += events as u64;
        self.counts.bytes_out += bytes as u64;
    }

    /// Notes that something is left for the next take, whose time counts from the last one.
    pub(crate) fn note_waiting(&mut self) {
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    /// Notes that the session has taken everything and waits to be woken; `false` if something is
    /// left.
    pub(crate) fn rest(&mut self) -> bool {
        let live = matches!(self.mode, Mode::Live(_));
        self.idle = live && self.closing.is_none() && self.side.is_empty() && self.queue.is_empty();
        self.idle
    }

    /// Returns whether callers wait for the room that a take has made, once: they ask again if it
    /// is not enough.
    pub(crate) fn take_room_wanted(&mut self) -> bool {
        std::mem::take(&mut self.room_wanted)
    }

    /// Returns when the oldest of the timed frames was sent that were taken since the last call.
    pub(crate) fn take_sent(&mut self) -> Stamp {
        std::mem::take(&mut self.taken_sent)
    }

    /// Returns whether a connection that is behind at this position reads on.
    pub(crate) fn reads_on(&self, position: Position) -> bool {
        self.closing.as_ref().is_none_or(|closing| position < closing.last_call)
    }

    /// Takes the last frame of a connection that closes, if it has one.
    pub(crate) fn take_last_frame(&mut self) -> Option<F> {
        self.closing.as_mut()?.last_frame.take()
    }

    pub(crate) fn close_reason(&self) -> Option<&CloseReason> {
        self.closing.as_ref().map(|closing| &closing.reason)
    }

    /// Returns whether this push must wake the outlet: only the first one since the session went
    /// idle.
    fn must_wake(&mut self) -> bool {
        std::mem::take(&mut self.idle)
    }
}

#[cfg(test)]
mod tests;
