use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::time::Instant;

use crate::delivery::cuts::{InFlight, Large};
use crate::delivery::dispatcher::{Admitted, Dispatcher};
use crate::delivery::hub::Connection;
use crate::delivery::outbox::{Place, Take};
use crate::inbound::inbox::Inbox;
use crate::traits::codec::Codec;
use crate::traits::outlet::{Outlet, SessionOutlet};
use crate::values::close::CloseReason;
use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::handler_error::HandlerError;
use crate::values::identity::Identity;
use crate::values::inbound::{Inbound, InboundPayload};
use crate::values::name::shorten;
use crate::values::stats::add;

/// A connection's place in the hub; dropping it takes the connection out, on every exit path.
pub struct Registration<C: Codec> {
    dispatcher: Arc<Dispatcher<C>>,
    connection: Arc<Connection<C::Frame>>,
    /// Why the connection ended, as its session saw it. Only touched at the end.
    ended: Mutex<Option<CloseReason>>,
}

impl<C: Codec> Dispatcher<C> {
    /// Puts an admitted connection into the hub. Its first frame is `connected`.
    pub fn register(self: &Arc<Self>, admitted: Admitted, outlet: Arc<dyn Outlet>) -> Registration<C> {
        Registration { dispatcher: self.unowned(), connection: self.enter(admitted, outlet), ended: Mutex::new(None) }
    }
}

impl<C: Codec> Registration<C> {
    /// The connection's id.
    pub fn id(&self) -> ConnectionId {
        self.connection.info.id
    }

    /// What is known of the connection.
    pub fn info(&self) -> &ConnectionInfo {
        &self.connection.info
    }

    /// Who it belongs to.
    pub fn identity(&self) -> &Identity {
        &self.connection.info.identity
    }

    /// Takes what waits, up to `budget` bytes of frames but at least one; one taker at a time.
    pub fn try_take(&self, budget: usize, frames: &mut Vec<C::Frame>) -> Take {
        let before = frames.len();
        let (mut wanted, mut large) = (false, Vec::new());
        let take = self.take(budget, frames, &mut wanted, &mut large);
        if wanted {
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

    /// `wanted` is set when somebody is to be told of the room that this has made, `large` gets the large records.
    fn take(&self, budget: usize, frames: &mut Vec<C::Frame>, wanted: &mut bool, large: &mut Vec<Large>) -> Take {
        let before = frames.len();
        let mut taken = 0;
        loop {
            let (place, mut pass, losses) = {
                let mut state = self.connection.outbox.lock();
                let known = frames.len();
                let drained = state.drain(budget.saturating_sub(taken), frames, large);
                state.count_out(frames.len() - known, drained);
                taken += drained;
                *wanted |= state.is_room_wanted();
                let found = frames.len() > before;
                match state.place {
                    Place::Behind(place) if state.reads_on(place) && (!found || taken < budget) => {
                        (place, state.pass, state.counts.lost)
                    }
                    Place::Behind(place) if state.reads_on(place) => {
                        // The window is read by the next take.
                        state.waits();
                        return Take::Frames;
                    }
                    _ if found => return if state.rest() { Take::Last } else { Take::Frames },
                    _ => {
                        if let Some(reason) = state.closed() {
                            return Take::Closed(reason.clone());
                        }
                        state.rest();
                        return Take::Empty;
                    }
                }
            };
            let sight = self.dispatcher.hub().sight(&self.connection);
            let mut read_frames = Vec::new();
            let read = {
                let budget = budget.saturating_sub(taken);
                self.dispatcher.window().read(place, &sight, (&mut pass, losses), budget, &mut read_frames)
            };
            let passed_over =
                read.passed_over.map(|record| self.dispatcher.passed_over(read.place, record, self.info()));
            let lost = read.lost_until.map(|until| self.dispatcher.lost(place, until)).or(passed_over);
            let lost_events = usize::from(lost.is_some());
            let lost_bytes = lost.as_ref().map_or(0, crate::traits::codec::Frame::size);
            let mut state = self.connection.outbox.lock();
            if !state.reads_on(place) {
                // Closed meanwhile: what was read may be of another life of the log.
                continue;
            }
            frames.extend(lost);
            add(&self.dispatcher.counters.superseded, read.superseded);
            state.pass = pass;
            if let Some(told) = read.told {
                state.told = told;
            }
            let bytes = read_frames.iter().map(crate::traits::codec::Frame::size).sum::<usize>();
            state.count_out(read_frames.len() + lost_events, bytes + lost_bytes);
            state.counts.lost = state.counts.lost.saturating_add(lost_events as u32);
            state.counts.superseded =
                state.counts.superseded.saturating_add(u32::try_from(read.superseded).unwrap_or(u32::MAX));
            large.extend(read.large.into_iter().map(|record| Large { at: record.at + frames.len(), ..record }));
            frames.append(&mut read_frames);
            // Live only if nothing was applied since the sight was taken: what comes later is pushed here.
            let at_end = read.place >= sight.end && self.dispatcher.hub().applied() == sight.end;
            state.place = if at_end { Place::Live(read.place) } else { Place::Behind(read.place) };
            if !at_end {
                state.waits();
            }
            drop(state);
            if frames.len() > before {
                return Take::Frames;
            }
        }
    }

    /// Hands an event from the client to the handlers; `false` asks to read no more until [`Registration::poll_room`], or at
    /// all: a connection that was asked to end is not heard any more.
    pub fn receive(&self, inbound: Inbound) -> bool {
        if self.is_closed() {
            return false;
        }
        self.dispatcher.count_in(inbound.size());
        self.inbox().push(inbound)
    }

    /// Ready when reading may go on.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        self.connection.inbox.get().map_or(Poll::Ready(()), |inbox| inbox.poll_room(cx))
    }

    /// The connection's queue of inbound events, made with its worker on first use.
    pub fn inbox(&self) -> &Arc<Inbox> {
        if let Some(inbox) = self.connection.inbox.get() {
            return inbox;
        }
        let inbox = self.connection.inbox.get_or_init(|| self.dispatcher.start_worker(&self.connection));
        if self.connection.has_left() {
            // It was taken out before it had an inbox: nobody else would end the worker.
            inbox.abandon();
        }
        inbox
    }

    /// Takes the client's answer to an ask; `false` if nobody waits for it (any more), or the connection was asked to end.
    pub fn answer(&self, ack: u64, payload: InboundPayload) -> bool {
        if self.is_closed() {
            return false;
        }
        self.dispatcher.count_in(payload.bytes().len());
        self.dispatcher.answer(ack, self.id(), payload)
    }

    /// Notes that the client's answer to an ask cannot be read; `false` as with [`Registration::answer`].
    pub fn answer_unreadable(&self, ack: u64) -> bool {
        !self.is_closed() && self.dispatcher.answer_unreadable(ack, self.id())
    }

    /// Puts a frame of the transport's own into the lane of replies; a full lane closes the connection.
    pub fn push(&self, frame: C::Frame) {
        self.dispatcher.hub().push_side(&self.connection, frame, false, Instant::now());
    }

    /// Tells the client of an error, as the answer to its number if it gave one, in order with the answers of the
    /// handlers; `false` asks to read no more until [`Registration::poll_room`].
    pub fn reject(&self, error: HandlerError, ack: Option<u64>) -> bool {
        if self.is_closed() {
            return false;
        }
        self.inbox().push_rejected(error, ack)
    }

    /// Tells the client of an error at once, because the connection ends with it.
    pub fn reject_at_once(&self, error: &HandlerError) {
        self.dispatcher.count_rejected(error);
        if let Some(frame) = self.dispatcher.codec().error(error, None) {
            self.push(frame);
        }
    }

    /// Notes what the client did wrong, in words, for the line in the log with which the connection ends; the first one stays.
    pub fn note_fault(&self, detail: impl std::fmt::Display) {
        self.connection.fault.get_or_init(|| shorten(&detail.to_string()).into());
    }

    /// Asks the session to end, as [`crate::RealtimeProvider::close`] does.
    pub fn close(&self, reason: CloseReason) {
        self.connection.close(reason);
    }

    /// Whether the connection has been asked to end: what its client sends is not heard any more.
    pub fn is_closed(&self) -> bool {
        self.connection.outbox.is_closed()
    }

    /// Why the connection has been asked to end, before [`Take::Closed`] says so when all else has been taken.
    pub fn close_reason(&self) -> Option<CloseReason> {
        self.connection.outbox.close_reason()
    }

    /// Notes that a part of what was taken went out and the rest still waits: the connection is slow, not stalled.
    pub fn progressed(&self) {
        self.connection.outbox.progressed(Instant::now());
    }

    /// Notes, when the connection ends, that of all the frames that were ever taken the one with this number (from 0 on) has
    /// arrived at the client's host in part.
    ///
    /// An event of more than 64 KiB within which the connections of a user have ended three times is passed over for that
    /// user with a `lost`, so that a line that is too slow for it is no loop.
    pub fn cut_within(&self, number: u64) {
        let within = self.in_flight().end_within(number);
        if let Some(large) = within {
            tracing::debug!(position = large.position.get(), size = large.size, "the connection ended within an event");
            self.dispatcher.window().count_cut(large.position, self.identity());
        }
    }

    fn in_flight(&self) -> MutexGuard<'_, InFlight> {
        self.connection.in_flight.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the connection out now, for this reason unless it was asked to close for another one; dropping the
    /// registration later finds nothing to do.
    pub fn leave(&self, reason: CloseReason) {
        // Whoever asked for the close knows best why; the session only saw the wire end.
        let reason = self.connection.outbox.close_reason().unwrap_or(reason);
        // From here on pushes find it closed, so that receipts do not count it as queued.
        self.connection.close(reason.clone());
        self.dispatcher.unregister(&self.connection, reason);
    }

    /// Ends the registration, as [`Registration::leave`] does. Plain dropping counts as [`CloseReason::CONNECTION_LOST`].
    pub fn end(self, reason: CloseReason) {
        self.leave(reason);
    }

    /// Notes why the connection ends, for the moment the registration is dropped; the first reason stays.
    pub fn set_reason(&self, reason: CloseReason) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(reason);
    }

    /// The span of everything that is done for the connection, with its id, provider and user.
    pub fn span(&self) -> &tracing::Span {
        &self.connection.span
    }

    /// The dispatcher it belongs to, by a handle that does not keep it running.
    pub fn dispatcher(&self) -> &Arc<Dispatcher<C>> {
        &self.dispatcher
    }
}

impl<C: Codec> Drop for Registration<C> {
    fn drop(&mut self) {
        let seen = self.ended.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        self.leave(seen.unwrap_or(CloseReason::CONNECTION_LOST));
    }
}

impl<C: Codec> std::fmt::Debug for Registration<C> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Registration").field("connection", &self.connection.info).finish_non_exhaustive()
    }
}

impl SessionOutlet {
    /// Takes what waits, up to `budget` bytes of frames; pending (and the task woken later) when there is nothing.
    ///
    /// Never ready with [`Take::Empty`].
    pub fn poll_take<C: Codec>(
        &self,
        registration: &Registration<C>,
        cx: &mut Context<'_>,
        budget: usize,
        frames: &mut Vec<C::Frame>,
    ) -> Poll<Take> {
        // Registered before looking, so that what comes in between wakes the task.
        self.register(cx);
        match registration.try_take(budget, frames) {
            Take::Empty => Poll::Pending,
            take => Poll::Ready(take),
        }
    }
}
