mod inbound;

use std::ops::ControlFlow;
use std::sync::{Arc, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

use crate::delivery::connection::Connection;
use crate::delivery::cuts::{InFlight, Large};
use crate::delivery::dispatcher::{Admitted, Dispatcher};
use crate::delivery::outbox::{Mode, Take};
use crate::delivery::pass::Pass;
use crate::delivery::window::Read;
use crate::traits::codec::{Codec, Frame};
use crate::traits::outlet::{Outlet, SessionOutlet};
use crate::values::close::CloseReason;
use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::handler_error::HandlerError;
use crate::values::identity::Identity;
use crate::values::name::shorten;
use crate::values::position::Position;
use crate::values::stamp::Stamp;
use crate::values::stats::add;

/// A connection's registration in the hub; dropping it unregisters the connection, on every exit
/// path.
pub struct Registration<C: Codec> {
    dispatcher: Arc<Dispatcher<C>>,
    connection: Arc<Connection<C::Frame>>,
    /// The close reason for the drop, as the session observed it.
    reason: OnceLock<CloseReason>,
}

/// A take under way.
struct Batch<'a, F> {
    frames: &'a mut Vec<F>,
    /// The number of frames that the vector had before the take.
    before: usize,
    /// The most bytes to take.
    budget: usize,
    /// The bytes taken from the outbox's lanes.
    taken: usize,
    /// The large records among the frames.
    large: Vec<Large>,
    /// Set when callers wait for the room that the take has made.
    room_wanted: bool,
}

/// The state with which a connection that is behind reads the window.
struct Reader {
    position: Position,
    pass: Pass,
    losses: u32,
}

/// The result of reading the window.
struct WindowRead<F> {
    read: Read,
    /// The `lost` event that comes before the frames.
    lost: Option<F>,
    frames: Vec<F>,
    /// The last record that had been applied when the read began.
    end: Position,
}

impl<C: Codec> Dispatcher<C> {
    /// Registers an admitted connection in the hub. Its first frame is `connected`.
    pub fn register(self: &Arc<Self>, admitted: Admitted, outlet: Arc<dyn Outlet>) -> Registration<C> {
        Registration { dispatcher: self.unowned(), connection: self.enter(admitted, outlet), reason: OnceLock::new() }
    }
}

impl<C: Codec> Registration<C> {
    /// Returns the connection's id.
    pub fn id(&self) -> ConnectionId {
        self.connection.info.id
    }

    /// Returns the connection's metadata.
    pub fn info(&self) -> &ConnectionInfo {
        &self.connection.info
    }

    /// Returns the connection's identity.
    pub fn identity(&self) -> &Identity {
        &self.connection.info.identity
    }

    /// Takes what waits, up to `budget` bytes of frames but at least one; one taker at a time.
    pub fn try_take(&self, budget: usize, frames: &mut Vec<C::Frame>) -> Take {
        let before = frames.len();
        let mut batch = Batch { frames, before, budget, taken: 0, large: Vec::new(), room_wanted: false };
        let take = self.take(&mut batch);
        let Batch { frames, mut large, room_wanted, .. } = batch;
        if room_wanted {
            self.connection.outbox.make_room();
        }
        if frames.len() > before {
            for large in &mut large {
                large.at -= before;
            }
            self.in_flight().take(frames.len() - before, large);
        }
        self.dispatcher.count_out(&frames[before..]);
        take
    }

    fn take(&self, batch: &mut Batch<'_, C::Frame>) -> Take {
        loop {
            let mut reader = match self.take_queued(batch) {
                ControlFlow::Break(take) => return take,
                ControlFlow::Continue(reader) => reader,
            };
            let found = self.read_window(&mut reader, batch.rest());
            if self.add_and_turn_live(batch, reader, found) && batch.has_frames() {
                return Take::Frames;
            }
        }
    }

    /// Takes what the outbox's lanes hold; goes on if the connection is behind and the window is to
    /// be read next.
    fn take_queued(&self, batch: &mut Batch<'_, C::Frame>) -> ControlFlow<Take, Reader> {
        let mut state = self.connection.outbox.lock();
        let known = batch.frames.len();
        let drained = state.drain(batch.rest(), batch.frames, &mut batch.large);
        state.count_out(batch.frames.len() - known, drained);
        batch.taken += drained;
        batch.room_wanted |= state.take_room_wanted();
        self.connection.unwritten.set_first(state.take_sent());
        match state.mode {
            Mode::Behind(position) if state.reads_on(position) => {
                if !batch.has_frames() || batch.rest() > 0 {
                    return ControlFlow::Continue(Reader { position, pass: state.pass, losses: state.counts.lost });
                }
                // The window is read by the next take.
                state.note_waiting();
                ControlFlow::Break(Take::Frames)
            }
            _ if batch.has_frames() => ControlFlow::Break(if state.rest() { Take::Last } else { Take::Frames }),
            _ => {
                if let Some(last_frame) = state.take_last_frame() {
                    state.count_out(1, last_frame.size());
                    batch.frames.push(last_frame);
                    return ControlFlow::Break(Take::Frames);
                }
                if let Some(reason) = state.close_reason() {
                    return ControlFlow::Break(Take::Closed(reason.clone()));
                }
                state.rest();
                ControlFlow::Break(Take::Empty)
            }
        }
    }

    /// Reads the window from the reader's position on; the outbox is not locked meanwhile.
    fn read_window(&self, reader: &mut Reader, budget: usize) -> WindowRead<C::Frame> {
        let Reader { position, pass, losses } = reader;
        let visibility = self.dispatcher.hub().visibility(&self.connection);
        let mut frames = Vec::new();
        let read = self.dispatcher.window().read(*position, &visibility, (pass, *losses), budget, &mut frames);
        let passed_over =
            read.passed_over.map(|record| self.dispatcher.passed_over(read.position, record, self.info()));
        let lost = read.lost_until.map(|until| self.dispatcher.lost(*position, until)).or(passed_over);
        WindowRead { read, lost, frames, end: visibility.end }
    }

    /// Adds what was read to the batch, and turns the connection live if it has read up to the last
    /// applied record; `false` if it was closed meanwhile and nothing was added.
    fn add_and_turn_live(
        &self,
        batch: &mut Batch<'_, C::Frame>,
        reader: Reader,
        WindowRead { read, lost, mut frames, end }: WindowRead<C::Frame>,
    ) -> bool {
        let events = frames.len() + usize::from(lost.is_some());
        let bytes = frames.iter().chain(&lost).map(Frame::size).sum();
        let mut state = self.connection.outbox.lock();
        if !state.reads_on(reader.position) {
            // Closed meanwhile: what was read may be of another life of the log.
            return false;
        }
        state.counts.lost = state.counts.lost.saturating_add(u32::from(lost.is_some()));
        if lost.is_some() {
            match read.lost_until {
                Some((until, _)) => state.omissions().lose(reader.position, until),
                None => state.omissions().pass_over(read.position),
            }
        }
        if !read.last_superseded.is_empty() {
            state.omissions().supersede(&read.last_superseded);
        }
        batch.frames.extend(lost);
        add(&self.dispatcher.counters.superseded, read.superseded);
        state.counts.superseded =
            state.counts.superseded.saturating_add(u32::try_from(read.superseded).unwrap_or(u32::MAX));
        state.pass = reader.pass;
        state.last_cursor = read.last_cursor.unwrap_or(state.last_cursor);
        state.count_out(events, bytes);
        let first = batch.frames.len();
        batch.large.extend(read.large.into_iter().map(|record| Large { at: record.at + first, ..record }));
        batch.frames.append(&mut frames);
        // Why nothing is missed between the read and the turn: `applied` is stored under the hub's
        // index lock before a record's pushes. A push that came before this lock on the outbox was
        // taken had stored a larger `applied`, so the reader reads on; a push that comes after it
        // finds the connection live.
        let at_end = read.position >= end && self.dispatcher.hub().applied() == end;
        state.mode = if at_end { Mode::Live(read.position) } else { Mode::Behind(read.position) };
        if !at_end {
            state.note_waiting();
        }
        true
    }

    /// Pushes a frame of the transport's own into the lane of replies; a full lane closes the
    /// connection.
    pub fn push(&self, frame: C::Frame) {
        self.dispatcher.hub().push_side(&self.connection, frame, false, Instant::now());
    }

    /// Sends the client an error ahead of the handlers' answers, because it closes the connection.
    pub fn reject_fatally(&self, error: &HandlerError) {
        self.dispatcher.count_rejected(error);
        if let Some(frame) = self.dispatcher.codec().error(error, None) {
            self.push(frame);
        }
    }

    /// Records a description of the client's fault for the disconnect's log line; later calls have
    /// no effect.
    pub fn note_fault(&self, detail: impl std::fmt::Display) {
        self.connection.fault.get_or_init(|| shorten(&detail.to_string()).into());
    }

    /// Asks the session to close the connection, as [`crate::RealtimeProvider::close`] does.
    pub fn close(&self, reason: CloseReason) {
        self.connection.close(reason);
    }

    /// Returns whether the connection is to be closed: what its client sends is ignored.
    pub fn is_closed(&self) -> bool {
        self.connection.outbox.is_closed()
    }

    /// Returns the reason for which the connection is to be closed, before [`Take::Closed`] does
    /// when all else has been taken.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.connection.outbox.close_reason()
    }

    /// Notes that a part of what was taken has been written and the rest still waits: the
    /// connection is slow, not stalled.
    pub fn progressed(&self) {
        self.connection.outbox.progressed(Instant::now());
    }

    /// Notes that all that was taken has been written to the socket: the time since it was sent is
    /// counted, of one event in eight. Cheap otherwise.
    pub fn written(&self) {
        self.dispatcher.note_written(self.take_unwritten());
    }

    /// Returns when the oldest timed event was sent that was taken and not written, once; for a
    /// transport that calls [`Dispatcher::note_written`] in the place of
    /// [`Registration::written`].
    #[must_use]
    pub fn take_unwritten(&self) -> Stamp {
        self.connection.unwritten.take()
    }

    /// Counts the time from a ping to its pong.
    pub fn note_round_trip(&self, time: Duration) {
        self.dispatcher.note_round_trip(time);
    }

    /// Records, on a disconnect, that of all the frames ever taken the one with this number (from 0
    /// on) has arrived at the client's host in part.
    ///
    /// An event of more than 64 KiB within which three connections of a user were closed is passed
    /// over for that user with a `lost`, so that a line that is too slow for it does not cause a
    /// loop.
    pub fn interrupted_within(&self, number: u64) {
        let within = self.in_flight().end_within(number);
        if let Some(large) = within {
            let (position, size) = (large.position.get(), large.size);
            tracing::debug!(connection = %self.id(), position, size, "disconnected within an event");
            self.dispatcher.window().count_cut(large.position, self.identity());
        }
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.connection.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Unregisters the connection now, for this reason unless it was closed for another one;
    /// dropping the registration later has no further effect.
    pub fn leave(&self, reason: CloseReason) {
        self.dispatcher.disconnect(&self.connection, reason);
    }

    /// Sets the reason for [`Registration::leave`] when the registration is dropped; the first one
    /// stays. The default is [`CloseReason::CONNECTION_LOST`].
    pub fn set_reason(&self, reason: CloseReason) {
        self.reason.get_or_init(|| reason);
    }

    /// Returns the connection's dispatcher, as a handle that does not keep it running.
    pub fn dispatcher(&self) -> &Arc<Dispatcher<C>> {
        &self.dispatcher
    }
}

impl<C: Codec> Drop for Registration<C> {
    fn drop(&mut self) {
        let reason = self.reason.take().unwrap_or(CloseReason::CONNECTION_LOST);
        self.leave(reason);
    }
}

impl<F> Batch<'_, F> {
    fn has_frames(&self) -> bool {
        self.frames.len() > self.before
    }

    /// Returns the bytes that are left of the budget.
    fn rest(&self) -> usize {
        self.budget.saturating_sub(self.taken)
    }
}

impl<C: Codec> std::fmt::Debug for Registration<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("connection", &self.connection.info).finish_non_exhaustive()
    }
}

impl SessionOutlet {
    /// Takes what waits, up to `budget` bytes of frames; pending (and the task is woken later) when
    /// there is nothing.
    ///
    /// Never ready with [`Take::Empty`].
    pub fn poll_take<C: Codec>(
        &self,
        registration: &Registration<C>,
        cx: &mut Context<'_>,
        budget: usize,
        frames: &mut Vec<C::Frame>,
    ) -> Poll<Take> {
        // Registered before the take, so that a push in between wakes the task.
        self.register(cx);
        match registration.try_take(budget, frames) {
            Take::Empty => Poll::Pending,
            take => Poll::Ready(take),
        }
    }
}
