use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

use tokio::sync::oneshot;
use tokio_util::task::task_tracker::TaskTrackerToken;

mod group;
mod index;
mod sight;
mod user;

use crate::admission::limits::Ticket;
use crate::admission::work::Work;
use crate::delivery::cuts::InFlight;
use crate::delivery::outbox::{Outbox, Pushed};
use crate::inbound::inbox::Inbox;
use crate::log::feed::{Wake, Wakes};
use crate::traits::codec::Frame;
use crate::traits::outlet::Outlet;
use crate::traits::policy::RoomAccess;
use crate::values::close::CloseReason;
use crate::values::config::OutboxConfig;
use crate::values::connection::{ConnectionId, ConnectionInfo};
use crate::values::connection_data::ConnectionData;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::receipt::Delivered;
use crate::values::target::Target;
use index::Index;
pub(crate) use index::{Gauges, Stays};
pub(crate) use sight::Sight;

/// This node's connections of one provider, found by connection, user, tenant and room.
pub struct Hub<F> {
    /// Held to look connections up or change the index, never across a send or an await: whoever
    /// delivers collects under the lock and pushes after it.
    index: Mutex<Index<F>>,
    /// The last record that was applied; changed under the index lock, before the record's pushes.
    applied: AtomicU64,
    outbox: OutboxConfig,
}

/// One live connection.
pub(crate) struct Connection<F> {
    pub(crate) info: ConnectionInfo,
    /// Which one its client had before, if it has gone on from there.
    former: Option<ConnectionId>,
    /// When it came.
    pub(crate) since: Instant,
    /// What had been applied when it came: asks of before are not for it.
    pub(crate) born: Position,
    pub(crate) outbox: Outbox<F>,
    /// Made, with its worker, by the first event from the client.
    pub(crate) inbox: OnceLock<Arc<Inbox>>,
    /// Made when the first policy, hook or handler is called for it.
    pub(crate) data: OnceLock<ConnectionData>,
    /// Only touched by a take that found something, and at the end.
    pub(crate) in_flight: Mutex<InFlight>,
    /// What is given back when the connection leaves the hub; taken once.
    pub(crate) lease: Mutex<Option<Lease>>,
    /// What the client did wrong, in words, when the connection ends for that.
    pub(crate) fault: OnceLock<Box<str>>,
    /// Around everything that is done for it.
    pub(crate) span: tracing::Span,
    outlet: Arc<dyn Outlet>,
}

/// What a connection holds while it is in the hub.
pub(crate) struct Lease {
    /// Its counted place.
    pub(crate) ticket: Ticket,
    /// Shutdown waits for it.
    pub(crate) _task: TaskTrackerToken,
    /// Tells the lifecycle hooks of the end, if there are any.
    pub(crate) hooks: Option<oneshot::Sender<Departure>>,
}

/// What the hooks' task needs to know at the end.
pub(crate) struct Departure {
    pub(crate) reason: CloseReason,
    pub(crate) inbox: Option<Arc<Inbox>>,
}

/// What is needed to put a connection into the hub.
pub(crate) struct Newcomer<'a> {
    pub(crate) info: ConnectionInfo,
    /// The connection that its client says it had before.
    pub(crate) former: Option<ConnectionId>,
    pub(crate) outlet: Arc<dyn Outlet>,
    /// Rooms it named, and whether what it missed there is for it.
    pub(crate) rooms: &'a [(Arc<str>, RoomAccess)],
    pub(crate) data: OnceLock<ConnectionData>,
    pub(crate) lease: Lease,
    pub(crate) span: tracing::Span,
}

/// Where a connection begins.
pub(crate) struct Beginning<F> {
    /// From where it reads; `None` is the end.
    pub(crate) resume: Option<Position>,
    /// Its first frame.
    pub(crate) welcome: F,
}

/// What a delivery came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) delivered: Delivered,
    pub(crate) overflows: usize,
}

impl<F: Frame> Hub<F> {
    pub(crate) fn new(outbox: OutboxConfig) -> Self {
        Self { index: Mutex::new(Index::new()), applied: AtomicU64::new(0), outbox }
    }

    /// The last record that was applied here.
    pub fn applied(&self) -> Position {
        Position::new(self.applied.load(Ordering::Acquire))
    }

    /// Takes up the log after this place, at the start or in a new epoch, in one step with this change. The connections there
    /// are end before it, wherever they stand: the window of another life is not for them.
    pub(crate) fn restart(&self, start: Position, change: impl FnOnce()) {
        let ended: Vec<_> = {
            let mut index = self.lock();
            let everyone = index.everyone();
            let ended = everyone.iter().filter(|connection| connection.outbox.end_life(CloseReason::RESTART));
            let ended = ended.cloned().collect();
            change();
            self.applied.store(start.get(), Ordering::Release);
            index.forget_memberships();
            ended
        };
        ended.iter().for_each(|connection| connection.outlet.wake());
    }

    /// Puts a connection in. `begin` decides, given the place of now and the one before which its user's places are expired,
    /// from where it reads, and encodes its first frame: in one step, so that neither a record nor a new epoch comes between.
    pub(crate) fn register(
        &self,
        newcomer: Newcomer<'_>,
        begin: impl FnOnce(Position, Option<Position>) -> Beginning<F>,
    ) -> Arc<Connection<F>> {
        let mut index = self.lock();
        let born = self.applied();
        let Beginning { resume, welcome } = begin(born, index.ended(&newcomer.info.identity));
        let place = resume.unwrap_or(born);
        let connection = Arc::new(Connection {
            outbox: Outbox::new(place, welcome),
            info: ConnectionInfo { resumed: resume.is_some(), ..newcomer.info },
            former: newcomer.former.filter(|_| resume.is_some()),
            since: Instant::now(),
            born,
            inbox: OnceLock::new(),
            data: newcomer.data,
            fault: OnceLock::new(),
            in_flight: Mutex::default(),
            lease: Mutex::new(Some(newcomer.lease)),
            span: newcomer.span,
            outlet: newcomer.outlet,
        });
        index.insert(&connection);
        for (room, access) in newcomer.rooms {
            if *access == RoomAccess::Allow {
                index.enter_from(&connection, room, place);
            } else {
                index.enter(connection.info.id, room, born);
            }
        }
        connection
    }

    /// Takes a connection out; `false` if it was not in.
    pub(crate) fn unregister(&self, connection: &Connection<F>, now: Instant) -> bool {
        self.lock().remove(connection, now)
    }

    /// One connection enters a room as of now; `false` if it was in already.
    pub(crate) fn enter(&self, id: ConnectionId, room: &Arc<str>) -> bool {
        let mut index = self.lock();
        let now = self.applied();
        index.enter(id, room, now)
    }

    /// How many rooms a connection has entered itself, and whether this one is among them.
    pub(crate) fn stays(&self, id: ConnectionId, room: &str) -> Stays {
        self.lock().stays(id, room)
    }

    /// One connection leaves a room it entered itself, as of now.
    pub(crate) fn leave(&self, id: ConnectionId, room: &str) -> bool {
        let mut index = self.lock();
        let now = self.applied();
        index.leave(id, room, now)
    }

    /// Whether a connection is in a room now, by whichever way.
    pub(crate) fn is_in(&self, id: ConnectionId, room: &str) -> bool {
        self.lock().is_in(id, room)
    }

    /// Applies a user's join from the log; `ours` says whether this node made it.
    pub(crate) fn join_user(&self, position: Position, member: &Member, room: &Arc<str>, ours: bool, now: Instant) {
        let mut index = self.lock();
        self.applied.store(position.get(), Ordering::Release);
        index.join_user(member, room, position, ours, now);
    }

    /// Applies a user's leave from the log.
    pub(crate) fn leave_user(&self, position: Position, member: &Member, room: &Arc<str>) {
        let mut index = self.lock();
        self.applied.store(position.get(), Ordering::Release);
        index.leave_user(member, room, position);
    }

    /// Goes on at this place, without what was before it, in one step with this change. Who was taken out of a room meanwhile is
    /// not known, so nobody is in one that it was joined to.
    pub(crate) fn jump(&self, position: Position, change: impl FnOnce()) {
        let mut index = self.lock();
        change();
        index.forget_memberships();
        self.applied.store(position.get(), Ordering::Release);
    }

    /// Applies a record that concerns no connection.
    pub(crate) fn skip(&self, position: Position) {
        let _index = self.lock();
        self.applied.store(position.get(), Ordering::Release);
    }

    /// Applies a record for a target: every matching connection gets the frame or will read it from the window.
    /// `tells` says whether the frame carries its place. `matched` sees each connection before the push and after it, `wakes`
    /// each one that is to be woken.
    #[expect(clippy::too_many_arguments, reason = "what a record comes with, and two that look on")]
    pub(crate) fn deliver(
        &self,
        position: Position,
        target: &Target,
        frame: &F,
        tells: bool,
        now: Instant,
        mut matched: impl FnMut(&Connection<F>, Option<Pushed>),
        wakes: &mut Wakes,
    ) -> Outcome {
        let audience = {
            let mut index = self.lock();
            self.applied.store(position.get(), Ordering::Release);
            index.audience(target.scope())
        };
        let mut outcome = Outcome::default();
        let everybody = target.lets_all();
        for connection in audience.iter() {
            if !everybody && !connection.is_let(target) {
                continue;
            }
            matched(connection, None);
            let (pushed, wake) = connection.outbox.push(position, frame, tells, self.outbox, now);
            matched(connection, Some(pushed));
            outcome.count(pushed);
            if wake {
                wakes.add(Arc::clone(connection) as Arc<dyn Wake>);
            }
        }
        outcome
    }

    /// Delivers what has no place in the log, to whoever is here now.
    pub(crate) fn deliver_now(&self, target: &Target, frame: &F, may_drop: bool, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        for connection in self.matching(target) {
            outcome.count(self.push_side(&connection, frame.clone(), may_drop, now));
        }
        outcome
    }

    /// Puts a frame without a place into one connection's outbox when there is room, or the connection is closed.
    pub(crate) async fn push_side_in_turn(&self, connection: &Connection<F>, frame: F) -> Pushed {
        let size = frame.size();
        loop {
            let (pushed, wake) = connection.outbox.push_side(frame.clone(), false, self.outbox, Instant::now());
            if wake {
                connection.outlet.wake();
            }
            if pushed != Pushed::Full {
                return pushed;
            }
            connection.outbox.room(size, self.outbox).await;
        }
    }

    /// Puts a frame without a place into one connection's outbox; a full lane that may not drop closes the connection.
    pub(crate) fn push_side(&self, connection: &Connection<F>, frame: F, may_drop: bool, now: Instant) -> Pushed {
        let (pushed, wake) = connection.outbox.push_side(frame, may_drop, self.outbox, now);
        if pushed == Pushed::Full {
            connection.close(CloseReason::OVERLOADED);
        }
        if wake {
            connection.outlet.wake();
        }
        pushed
    }

    /// Gives live connections that have not been told their place since `told` a bare cursor. Only between two deliveries.
    pub(crate) fn push_cursors(&self, told: Position, frame: &F, now: Instant) {
        let applied = self.applied();
        for connection in self.everyone().iter() {
            if connection.outbox.lock().last_cursor < told && connection.outbox.push_cursor(applied, frame.clone(), now) {
                connection.outlet.wake();
            }
        }
    }

    /// The connections a target means now.
    pub(crate) fn matching(&self, target: &Target) -> Vec<Arc<Connection<F>>> {
        let audience = self.lock().audience(target.scope());
        let lets = |connection: &&Arc<Connection<F>>| connection.is_let(target);
        audience.iter().filter(lets).cloned().collect()
    }

    pub(crate) fn everyone(&self) -> Arc<[Arc<Connection<F>>]> {
        self.lock().everyone()
    }

    /// What this connection may see, and up to where.
    pub(crate) fn sight(&self, connection: &Connection<F>) -> Sight {
        let index = self.lock();
        index.sight(connection, self.applied())
    }

    /// The rooms a user is in, by either way, sorted.
    pub(crate) fn user_rooms(&self, member: &Member) -> Vec<String> {
        self.lock().user_rooms(member)
    }

    /// Applies the end of an absent user's rooms, of those that were joined up to `seen`; answers the connections that are
    /// here all the same.
    pub(crate) fn end_absent(
        &self,
        position: Position,
        member: &Member,
        seen: Position,
        now: Instant,
    ) -> Vec<Arc<Connection<F>>> {
        let mut index = self.lock();
        self.applied.store(position.get(), Ordering::Release);
        index.end(member, seen, position, now)
    }

    /// Whether a user's rooms should still end, and if so the place of now; it counts as said for a while.
    pub(crate) fn say_absent(&self, member: &Member, time: Duration, now: Instant) -> Option<Position> {
        let mut index = self.lock();
        let standing = index.absent(member).filter(|standing| standing.is_absent(time, now))?;
        standing.say(now);
        Some(self.applied())
    }

    /// A user is at another node: its absence begins now at the earliest.
    pub(crate) fn put_off_absent(&self, member: &Member, now: Instant) {
        if let Some(standing) = self.lock().absent(member) {
            standing.put_off(now);
        }
    }

    /// Forgets memberships that nobody can refer to any more. Answers whose rooms should end, up to so many, because they
    /// have been away for this long.
    pub(crate) fn forget(&self, start: Position, time: Duration, now: Instant, most: usize) -> Vec<Member> {
        self.lock().forget(start, time, now, most)
    }

    pub(crate) fn gauges(&self) -> Gauges {
        let (gauges, everyone) = {
            let mut index = self.lock();
            (index.gauges(), index.everyone())
        };
        // Outboxes are looked into without the index, which deliveries wait for.
        Gauges { behind: everyone.iter().filter(|connection| connection.outbox.is_behind()).count(), ..gauges }
    }

    fn lock(&self) -> MutexGuard<'_, Index<F>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<F: Frame> Connection<F> {
    /// Whether a target's tenant and exceptions let this connection through.
    fn is_let(&self, target: &Target) -> bool {
        target.lets(self.info.id, &self.info.identity) && self.former.is_none_or(|former| !target.excludes(former))
    }

    /// Whether it has been taken out and its inbox, if there was one, closed.
    pub(crate) fn has_left(&self) -> bool {
        self.lease.lock().unwrap_or_else(PoisonError::into_inner).is_none()
    }

    /// Ends a session that may be stuck; nothing is kept for it.
    pub(crate) fn cut(&self) {
        self.outbox.clear();
        self.outlet.cut();
    }

    /// Asks the session to end; the first reason stays. What is queued for a live connection is still sent.
    pub(crate) fn close(&self, reason: CloseReason) {
        self.close_after(Position::START, reason);
    }

    /// Asks the session to end when the connection, if it is behind, has read the window up to here.
    pub(crate) fn close_after(&self, last_call: Position, reason: CloseReason) {
        let keeps_inbound = reason.keeps_inbound();
        if self.outbox.close(reason, last_call) {
            if !keeps_inbound && let Some(inbox) = self.inbox.get() {
                // At once: its session may not hear of it for a while.
                inbox.abandon();
            }
            self.outlet.wake();
        }
    }

    /// Asks for a sign of life.
    pub(crate) fn probe(&self) {
        self.outlet.probe();
    }

    /// What the worker needs to run handlers.
    pub(crate) fn work(&self) -> Work {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.as_ref().map(|lease| Work::of(&lease.ticket)).unwrap_or_default()
    }
}

impl<F: Frame> Wake for Connection<F> {
    fn wake(&self) {
        self.outlet.wake();
    }
}

impl Outcome {
    pub(crate) fn count(&mut self, pushed: Pushed) {
        self.delivered.matched += 1;
        match pushed {
            Pushed::Behind | Pushed::Queued => self.delivered.queued += 1,
            Pushed::Closed | Pushed::Dropped | Pushed::Full => self.delivered.dropped += 1,
            Pushed::TurnedBehind => {
                self.delivered.queued += 1;
                self.overflows += 1;
            }
        }
    }
}

impl<F> std::fmt::Debug for Hub<F> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Hub").field("applied", &self.applied).finish_non_exhaustive()
    }
}
