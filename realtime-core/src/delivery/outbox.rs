use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use tokio::sync::Notify;

use crate::delivery::cuts::{LARGE, Large};
use crate::delivery::pass::Pass;
use crate::traits::codec::Frame;
use crate::values::close::CloseReason;
use crate::values::config::OutboxConfig;
use crate::values::connection::ConnectionInfo;
use crate::values::connection_stats::ConnectionStats;
use crate::values::cursor::Cursor;
use crate::values::position::Position;

/// What a session finds when it takes from its outbox.
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

/// What waits for one connection.
///
/// Durable frames come in log order while the connection is live. When they are too many, they are
/// dropped here and the connection is behind: it reads the window from its place instead.
///
/// A fan-out reaches a thousand of these for each event, so what a push touches lies together: in the last two cache lines,
/// with the lock behind it.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct Outbox<F> {
    /// Who has something for the full side lane and may not drop it waits here.
    room: Notify,
    /// Short: held to move frames in or out, never across a write or an await.
    state: Mutex<State<F>>,
}

#[derive(Debug)]
#[repr(C)]
pub(crate) struct State<F> {
    /// Replies, acks and volatile events; no order against durable events while behind.
    side: VecDeque<F>,
    side_bytes: usize,
    /// What a connection that is behind still reads after it was closed: everything up to here.
    last_call: Position,
    /// The newest place the client has been given a cursor for.
    pub(crate) told: Position,
    /// How far it reads at a time while it is behind.
    pub(crate) pass: Pass,
    pub(crate) counts: Counts,
    closed: Option<CloseReason>,
    pub(crate) place: Place,
    /// Durable frames with their positions, only while live.
    queue: VecDeque<Queued<F>>,
    queue_bytes: usize,
    /// Since when something, or the end, has been waiting without a take.
    waiting_since: Option<Instant>,
    /// The last take left nothing, so the next push must wake the outlet.
    idle: bool,
    /// Somebody waits for room in the side lane.
    wanted: bool,
}

/// What has become of what was for one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) events_out: u64,
    pub(crate) bytes_out: u64,
    /// These stop at their largest number: four bytes less of each keep an outbox a cache line shorter.
    pub(crate) dropped: u32,
    pub(crate) overflows: u32,
    pub(crate) lost: u32,
    pub(crate) superseded: u32,
}

/// A connection's standing, see [`crate::ConnectionStats`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Standing {
    pub(crate) behind: bool,
    /// Everything up to here has been taken.
    pub(crate) taken: Position,
    pub(crate) told: Position,
    pub(crate) queued_events: usize,
    pub(crate) queued_bytes: usize,
    pub(crate) waiting: Duration,
    pub(crate) counts: Counts,
}

#[derive(Debug)]
struct Queued<F> {
    position: Position,
    frame: F,
    says: Says,
}

/// What a queued frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Says {
    /// A record, without its place: an ask.
    Record,
    /// A record and its place.
    RecordAndPlace,
    /// A place alone, whose record was taken before.
    Place,
}

/// Where a connection stands in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// It reads the window: everything up to here has been taken.
    Behind(Position),
    /// Everything up to here has been taken or is in the queue.
    Live(Position),
}

/// What became of a push.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pushed {
    /// The connection is behind and will read it from the window.
    Behind,
    /// The connection is closed.
    Closed,
    /// The lane was full, and what was offered may be dropped.
    Dropped,
    /// The lane was full, and what was offered may not be dropped.
    Full,
    /// It is in the queue.
    Queued,
    /// The queue was full: the connection is behind now.
    TurnedBehind,
}

impl Standing {
    /// What is told of a connection that came this long ago, at this end of the log; the cursor is the newest place that it was
    /// told.
    pub(crate) fn stats(self, info: &ConnectionInfo, age: Duration, end: Position, cursor: Cursor) -> ConnectionStats {
        let Self { behind, taken, queued_events, queued_bytes, waiting, counts, .. } = self;
        // A live connection without a queue has passed everything.
        let lag = if behind || queued_events > 0 { end.get().saturating_sub(taken.get()) } else { 0 };
        ConnectionStats {
            connection: info.id,
            provider: info.provider.to_owned(),
            user: info.identity.user_name().map(str::to_owned),
            tenant: info.identity.tenant_name().map(str::to_owned),
            connected_ms: age.as_millis() as u64,
            resumed: info.resumed,
            behind,
            lag,
            cursor: cursor.to_string(),
            queued_events: queued_events as u64,
            queued_bytes: queued_bytes as u64,
            waiting_ms: waiting.as_millis() as u64,
            events_out: counts.events_out,
            bytes_out: counts.bytes_out,
            dropped: u64::from(counts.dropped),
            overflows: u64::from(counts.overflows),
            lost: u64::from(counts.lost),
            superseded: u64::from(counts.superseded),
        }
    }
}

impl<F> Queued<F> {
    /// Up to where everything has been taken while this is the first in the queue: where reading begins again without it.
    fn taken(&self) -> Position {
        if self.says == Says::Place { self.position } else { self.position.previous() }
    }

    /// The place that the client knows once it has this; asks tell none.
    fn told(&self) -> Option<Position> {
        (self.says != Says::Record).then_some(self.position)
    }
}

impl<F: Frame> Outbox<F> {
    /// An outbox that begins behind at this place, with a first frame.
    pub(crate) fn new(place: Position, welcome: F) -> Self {
        let side_bytes = welcome.size();
        Self {
            state: Mutex::new(State {
                place: Place::Behind(place),
                queue: VecDeque::new(),
                queue_bytes: 0,
                side: VecDeque::from([welcome]),
                side_bytes,
                closed: None,
                last_call: Position::START,
                idle: false,
                wanted: false,
                waiting_since: None,
                told: place,
                pass: Pass::new(),
                counts: Counts::default(),
            }),
            room: Notify::new(),
        }
    }

    /// Waits until the side lane has room for a frame of this size, or the connection is to be closed.
    pub(crate) async fn room(&self, size: usize, bound: OutboxConfig) {
        loop {
            let room = self.room.notified();
            {
                let mut state = self.lock();
                if state.closed.is_some() || !state.is_side_full(size, bound) {
                    return;
                }
                state.wanted = true;
            }
            room.await;
        }
    }

    /// Tells those who wait for room; after a take that found that there are some.
    pub(crate) fn make_room(&self) {
        self.room.notify_waiters();
    }

    /// Offers a durable frame; the flag says whether the outlet must be woken.
    pub(crate) fn push(
        &self,
        position: Position,
        frame: &F,
        tells: bool,
        bound: OutboxConfig,
        now: Instant,
    ) -> (Pushed, bool) {
        let mut state = self.lock();
        if state.closed.is_some() {
            return (Pushed::Closed, false);
        }
        match state.place {
            // Read from the window already.
            Place::Live(at) if position <= at => (Pushed::Queued, false),
            Place::Behind(_) => {
                state.waiting_since.get_or_insert(now);
                (Pushed::Behind, state.rouse())
            }
            Place::Live(_) => {
                state.waiting_since.get_or_insert(now);
                let full = state.queue.len() >= bound.frames || state.queue_bytes + frame.size() > bound.bytes;
                if let Some(first) = state.queue.front()
                    && full
                {
                    state.place = Place::Behind(first.taken());
                    state.queue = VecDeque::new();
                    state.queue_bytes = 0;
                    state.counts.overflows = state.counts.overflows.saturating_add(1);
                    return (Pushed::TurnedBehind, state.rouse());
                }
                state.place = Place::Live(position);
                state.queue_bytes += frame.size();
                let says = if tells { Says::RecordAndPlace } else { Says::Record };
                state.queue.push_back(Queued { position, frame: frame.clone(), says });
                (Pushed::Queued, state.rouse())
            }
        }
    }

    /// Offers a frame that has no place in the log.
    pub(crate) fn push_side(&self, frame: F, may_drop: bool, bound: OutboxConfig, now: Instant) -> (Pushed, bool) {
        let mut state = self.lock();
        if state.closed.is_some() {
            return (Pushed::Closed, false);
        }
        if state.is_side_full(frame.size(), bound) {
            state.counts.dropped = state.counts.dropped.saturating_add(u32::from(may_drop));
            return (if may_drop { Pushed::Dropped } else { Pushed::Full }, false);
        }
        if may_drop && matches!(state.place, Place::Behind(_)) && !state.side.is_empty() {
            state.counts.dropped = state.counts.dropped.saturating_add(1);
            return (Pushed::Dropped, false);
        }
        state.waiting_since.get_or_insert(now);
        state.side_bytes += frame.size();
        state.side.push_back(frame);
        (Pushed::Queued, state.rouse())
    }

    /// Gives a live connection with nothing queued a bare cursor; only called between two deliveries.
    pub(crate) fn push_cursor(&self, position: Position, frame: F, now: Instant) -> bool {
        let mut state = self.lock();
        if state.closed.is_some() || !matches!(state.place, Place::Live(_)) || !state.queue.is_empty() {
            return false;
        }
        state.waiting_since.get_or_insert(now);
        state.place = Place::Live(position);
        state.queue_bytes += frame.size();
        state.queue.push_back(Queued { position, frame, says: Says::Place });
        state.rouse()
    }

    /// Marks it closed, the first reason stays, once what has its place up to `last_call` has been taken; the flag says whether the outlet must be woken, which is also when its
    /// session is not idle: it may wait in a write that will never end.
    pub(crate) fn close(&self, reason: CloseReason, last_call: Position) -> bool {
        let mut state = self.lock();
        if state.closed.is_some() {
            return false;
        }
        state.closed = Some(reason);
        state.last_call = last_call;
        state.waits();
        state.rouse();
        drop(state);
        self.room.notify_waiters();
        true
    }

    /// Marks it closed, unless it is, and lets it read no more of the window, whatever it was promised: all places of the log
    /// mean something else from now on. The flag is that of [`Outbox::close`].
    pub(crate) fn end_life(&self, reason: CloseReason) -> bool {
        let closes = self.close(reason, Position::START);
        self.lock().last_call = Position::START;
        closes
    }

    /// Starts the time of what waits anew: bytes of the last take have gone out.
    pub(crate) fn progressed(&self, now: Instant) {
        if let Some(since) = &mut self.lock().waiting_since {
            *since = now;
        }
    }

    /// Drops what waits: nobody will take it any more.
    pub(crate) fn clear(&self) {
        let mut state = self.lock();
        state.queue = VecDeque::new();
        state.queue_bytes = 0;
        state.side = VecDeque::new();
        state.side_bytes = 0;
        state.waiting_since = None;
    }

    pub(crate) fn standing(&self, now: Instant) -> Standing {
        let state = self.lock();
        let taken = match (state.place, state.queue.front()) {
            (Place::Live(_), Some(first)) => first.taken(),
            (Place::Behind(place) | Place::Live(place), _) => place,
        };
        Standing {
            behind: matches!(state.place, Place::Behind(_)),
            taken,
            told: state.told,
            queued_events: state.queue.len() + state.side.len(),
            queued_bytes: state.queue_bytes + state.side_bytes,
            waiting: state.waiting_since.map_or(Duration::ZERO, |since| now.saturating_duration_since(since)),
            counts: state.counts,
        }
    }

    pub(crate) fn close_reason(&self) -> Option<CloseReason> {
        self.lock().closed.clone()
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.lock().closed.is_some()
    }

    pub(crate) fn is_behind(&self) -> bool {
        matches!(self.lock().place, Place::Behind(_))
    }

    /// Whether something has been waiting for longer than this without a take.
    pub(crate) fn has_stalled(&self, now: Instant, limit: Duration) -> bool {
        self.lock().waiting_since.is_some_and(|since| now.saturating_duration_since(since) > limit)
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State<F>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Frame> State<F> {
    /// Moves the side lane and, while live, the queue into `frames`, up to `budget` bytes but at least one frame; notes the
    /// large records among them.
    pub(crate) fn drain(&mut self, budget: usize, frames: &mut Vec<F>, large: &mut Vec<Large>) -> usize {
        self.waiting_since = None;
        let taken = self.move_out(budget, frames, large);
        if self.closed.is_some() || !self.side.is_empty() || !self.queue.is_empty() {
            self.waits();
        }
        taken
    }

    fn move_out(&mut self, budget: usize, frames: &mut Vec<F>, large: &mut Vec<Large>) -> usize {
        frames.reserve(self.side.len() + self.queue.len());
        let mut taken = 0;
        while let Some(frame) = self.side.front() {
            if taken > 0 && taken + frame.size() > budget {
                return taken;
            }
            taken += frame.size();
            self.side_bytes -= frame.size();
            frames.extend(self.side.pop_front());
        }
        if taken + self.queue_bytes <= budget && self.queue_bytes <= LARGE {
            // Nearly every time: all of it.
            taken += std::mem::take(&mut self.queue_bytes);
            while let Some(next) = self.queue.pop_front() {
                self.told = next.told().unwrap_or(self.told);
                frames.push(next.frame);
            }
        }
        while let Some(next) = self.queue.front() {
            let size = next.frame.size();
            if taken > 0 && taken + size > budget {
                return taken;
            }
            taken += size;
            self.queue_bytes -= size;
            if let Some(next) = self.queue.pop_front() {
                self.told = next.told().unwrap_or(self.told);
                if size > LARGE && next.says == Says::RecordAndPlace {
                    large.push(Large { at: frames.len(), position: next.position, size });
                }
                frames.push(next.frame);
            }
        }
        // The next frame goes where the last first one was, and not ever further into room that is not in a cache.
        self.queue.clear();
        // A burst's room is given back: most connections are idle most of the time.
        if self.queue.capacity() > 64 {
            self.queue = VecDeque::new();
        }
        if self.side.capacity() > 4 {
            self.side = VecDeque::new();
        }
        taken
    }

    /// Counts what is handed to the wire.
    pub(crate) fn count_out(&mut self, events: usize, bytes: usize) {
        self.counts.events_out += events as u64;
        self.counts.bytes_out += bytes as u64;
    }

    /// Notes that something is left for the next take, whose time runs from the last one.
    pub(crate) fn waits(&mut self) {
        self.waiting_since.get_or_insert_with(Instant::now);
    }

    fn is_side_full(&self, size: usize, bound: OutboxConfig) -> bool {
        !self.side.is_empty() && (self.side.len() >= bound.frames || self.side_bytes + size > bound.bytes)
    }

    /// Notes that the taker has left nothing and goes to sleep; `false` if something is left.
    pub(crate) fn rest(&mut self) -> bool {
        let live = matches!(self.place, Place::Live(_));
        self.idle = live && self.closed.is_none() && self.side.is_empty() && self.queue.is_empty();
        self.idle
    }

    /// Whether somebody waits for the room that a take has made; whoever is told must ask again.
    pub(crate) fn is_room_wanted(&mut self) -> bool {
        std::mem::take(&mut self.wanted)
    }

    /// Whether a connection that is behind at this place reads on.
    pub(crate) fn reads_on(&self, place: Position) -> bool {
        self.closed.is_none() || place < self.last_call
    }

    pub(crate) fn closed(&self) -> Option<&CloseReason> {
        self.closed.as_ref()
    }

    fn rouse(&mut self) -> bool {
        std::mem::take(&mut self.idle)
    }
}

#[cfg(test)]
mod tests;
