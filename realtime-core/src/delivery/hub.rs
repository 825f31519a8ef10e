use std::ops::Bound;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

mod group;
mod index;
mod joined;
mod user;
mod visibility;

use crate::delivery::connection::Connection;
use crate::delivery::membership::Memberships;
use crate::delivery::outbox::Pushed;
use crate::log::feed::{Wake, Wakes};
use crate::log::presence::Presence;
use crate::log::room_table::RoomTable;
use crate::traits::codec::Frame;
use crate::traits::policy::RoomAccess;
use crate::values::close::CloseReason;
use crate::values::config::OutboxConfig;
use crate::values::connection::ConnectionId;
use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::node::NodeId;
use crate::values::position::Position;
use crate::values::receipt::Delivered;
use crate::values::stamp::Stamp;
use crate::values::target::Target;
use index::Index;
pub(crate) use index::{Gauges, Stays};
pub(crate) use joined::{Absence, AbsenceTimes};
pub(crate) use visibility::Visibility;

/// This node's connections of one provider, found by connection, user, tenant and room.
pub struct Hub<F> {
    /// Held to look connections up or change the index, never across a send or an await: a delivery
    /// collects under the lock and pushes after it.
    index: Mutex<Index<F>>,
    /// The last record that was applied; stored under the index lock, before the record's pushes.
    applied: AtomicU64,
    outbox: OutboxConfig,
}

/// The result of a delivery.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) delivered: Delivered,
    /// The number of dropped ones whose connection was closed.
    pub(crate) closed: usize,
    pub(crate) overflows: usize,
}

impl<F: Frame> Hub<F> {
    pub(crate) fn new(outbox: OutboxConfig) -> Self {
        Self { index: Mutex::new(Index::new()), applied: AtomicU64::new(0), outbox }
    }

    /// Returns the last record that was applied here.
    pub fn applied(&self) -> Position {
        Position::new(self.applied.load(Ordering::Acquire))
    }

    /// Begins with the log after this position, at the start or in a new epoch, with the rooms that
    /// users were joined to there, in one step with this change. The connections that are
    /// registered are closed before it, whatever their positions: the window of another life is not
    /// for them.
    pub(crate) fn restart(&self, start: Position, rooms: &RoomTable, change: impl FnOnce()) {
        let now = Instant::now();
        let closed: Vec<_> = {
            let mut index = self.lock();
            let everyone = index.everyone();
            let closed = everyone.iter().filter(|connection| connection.outbox.end_life(CloseReason::RESTART));
            let closed = closed.cloned().collect();
            change();
            self.applied.store(start.get(), Ordering::Release);
            index.forget_memberships();
            rooms.changes().for_each(|change| index.restore(&change, now));
            closed
        };
        closed.iter().for_each(|connection| connection.outlet.wake());
    }

    /// Registers a connection of this identity in the rooms that it named. `create` gets the last
    /// applied position and the one before which the user's cursors are expired, and returns the
    /// connection and the position from which it reads: in one step, so that neither a record nor a
    /// new epoch comes between. Returns the connection, and the users for whom another node awaits
    /// the answer that they are connected.
    pub(crate) fn register(
        &self,
        identity: &Identity,
        rooms: &[(Arc<str>, RoomAccess)],
        create: impl FnOnce(Position, Option<Position>) -> (Connection<F>, Position),
    ) -> (Arc<Connection<F>>, Vec<Member>) {
        let mut index = self.lock();
        let applied = self.applied();
        let (connection, from) = create(applied, index.ended(identity));
        let connection = Arc::new(connection);
        let awaited = index.insert(&connection);
        for (room, access) in rooms {
            if *access == RoomAccess::Allow {
                index.enter_from(&connection, room, from);
            } else {
                index.enter(connection.info.id, room, applied);
            }
        }
        (connection, awaited)
    }

    /// Removes a connection; `false` if it was not registered. `left` gets its own rooms and the
    /// last position that was applied, in one step with the removal.
    pub(crate) fn unregister(
        &self,
        connection: &Connection<F>,
        now: Instant,
        left: impl FnOnce(Memberships, Position),
    ) -> bool {
        let mut index = self.lock();
        let rooms = index.remove(connection, now);
        let was_registered = rooms.is_some();
        if let Some(rooms) = rooms {
            left(rooms, self.applied());
        }
        was_registered
    }

    /// Returns the connections of a user, in any tenant or in one, with their own rooms.
    pub(crate) fn of_user(&self, member: &Member) -> Vec<(Arc<Connection<F>>, Memberships)> {
        self.lock().of_user(member)
    }

    /// Returns whether the server had joined a user of a tenant, or without one, to a room at this
    /// position, as far as memberships reach.
    pub(crate) fn was_joined(&self, member: &Member, room: &str, position: Position) -> bool {
        self.lock().was_joined(member, room, position)
    }

    /// Adds a connection to a room from the current position on; `false` if it was in already.
    pub(crate) fn enter(&self, id: ConnectionId, room: &Arc<str>) -> bool {
        let mut index = self.lock();
        let applied = self.applied();
        index.enter(id, room, applied)
    }

    /// Returns the number of rooms that a connection entered itself, and whether this one is among
    /// them.
    pub(crate) fn stays(&self, id: ConnectionId, room: &str) -> Stays {
        self.lock().stays(id, room)
    }

    /// Removes a connection, from the current position on, from a room that it entered itself;
    /// `false` if it was not in.
    pub(crate) fn leave(&self, id: ConnectionId, room: &str) -> bool {
        let mut index = self.lock();
        let applied = self.applied();
        index.leave(id, room, applied)
    }

    /// Returns the directory's entry of a connection of a node, registered now.
    pub(crate) fn presence(&self, node: NodeId, id: ConnectionId) -> Option<Presence> {
        let index = self.lock();
        let presence = Presence::of(node, &index.find(id)?.info, SystemTime::now());
        Some(presence.with_rooms(index.entered(id).map(|room| &**room)))
    }

    /// Returns a connection that is registered.
    pub(crate) fn find(&self, id: ConnectionId) -> Option<Arc<Connection<F>>> {
        self.lock().find(id).cloned()
    }

    /// Returns whether a connection is in a room now, entered by itself or joined by its user.
    pub(crate) fn is_in(&self, id: ConnectionId, room: &str) -> bool {
        self.lock().is_in(id, room)
    }

    /// Makes this record the last one applied, in one step with this change of the index. Every
    /// record advances `applied` here, before its pushes, so that no connection turns live without
    /// it (see [`Registration::try_take`]).
    ///
    /// [`Registration::try_take`]: crate::spi::Registration::try_take
    fn advance<T>(&self, position: Position, change: impl FnOnce(&mut Index<F>) -> T) -> T {
        let mut index = self.lock();
        self.applied.store(position.get(), Ordering::Release);
        change(&mut index)
    }

    /// Applies a user's join from the log; `ours` says whether this node made it.
    pub(crate) fn join_user(&self, position: Position, member: &Member, room: &Arc<str>, ours: bool, now: Instant) {
        self.advance(position, |index| index.join_user(member, room, position, ours, now));
    }

    /// Applies a user's leave from the log.
    pub(crate) fn leave_user(&self, position: Position, member: &Member, room: &Arc<str>) {
        self.advance(position, |index| index.leave_user(member, room, position));
    }

    /// Applies the end of an absent user's rooms, of those that were joined up to `seen`; returns
    /// the user's connections that are registered all the same.
    pub(crate) fn end_absent(
        &self,
        position: Position,
        member: &Member,
        seen: Position,
        now: Instant,
    ) -> Vec<Arc<Connection<F>>> {
        self.advance(position, |index| index.end(member, seen, position, now))
    }

    /// Applies a record that concerns no connection.
    pub(crate) fn skip(&self, position: Position) {
        self.advance(position, |_| ());
    }

    /// Jumps to this position over missing records, in one step with this change. The leaves among
    /// them are not known, so all memberships that users were joined to are forgotten.
    pub(crate) fn jump(&self, position: Position, change: impl FnOnce()) {
        let mut index = self.lock();
        change();
        index.forget_memberships();
        self.applied.store(position.get(), Ordering::Release);
    }

    /// Applies a record for a target: every matching connection gets the frame or will read it from
    /// the window. `has_cursor` says whether the frame carries its cursor. `matched` is called with
    /// each connection before the push and after it; `wakes` gets each one that is to be woken.
    #[expect(clippy::too_many_arguments, reason = "a record's fields, and two that observe the delivery")]
    pub(crate) fn deliver(
        &self,
        position: Position,
        target: &Target,
        frame: &F,
        has_cursor: bool,
        now: Instant,
        sent: Stamp,
        mut matched: impl FnMut(&Connection<F>, Option<Pushed>),
        wakes: &mut Wakes,
    ) -> Outcome {
        let audience = self.advance(position, |index| index.audience(target.scope()));
        let mut outcome = Outcome::default();
        let everybody = target.admits_all();
        for connection in audience.iter() {
            if !everybody && !connection.is_addressed_by(target) {
                continue;
            }
            matched(connection, None);
            let (pushed, wake) = connection.outbox.push(position, frame, has_cursor, self.outbox, now, sent);
            matched(connection, Some(pushed));
            outcome.count(connection.info.id, pushed);
            if wake {
                wakes.add(Arc::clone(connection) as Arc<dyn Wake>);
            }
        }
        outcome
    }

    /// Delivers a frame that has no position in the log to the connections that a target means now.
    pub(crate) fn deliver_now(&self, target: &Target, frame: &F, may_drop: bool, now: Instant) -> Outcome {
        let mut outcome = Outcome::default();
        for connection in self.matching(target) {
            let pushed = self.push_side(&connection, frame.clone(), may_drop, now);
            outcome.count(connection.info.id, pushed);
        }
        outcome
    }

    /// Pushes a frame without a position to one connection, once there is room in its lane or the
    /// connection is closed.
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

    /// Pushes a frame without a position to one connection; if its lane is full and the frame may
    /// not be dropped, the connection is closed.
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

    /// Sends a bare cursor to the live connections whose newest one is older than `since`. Only
    /// called between two deliveries.
    pub(crate) fn push_cursors(&self, since: Position, frame: &F, now: Instant) {
        let applied = self.applied();
        for connection in self.everyone().iter() {
            if connection.outbox.lock().last_cursor < since
                && connection.outbox.push_cursor(applied, frame.clone(), now)
            {
                connection.outlet.wake();
            }
        }
    }

    /// Returns the connections that a target means now.
    pub(crate) fn matching(&self, target: &Target) -> Vec<Arc<Connection<F>>> {
        let audience = self.lock().audience(target.scope());
        let lets = |connection: &&Arc<Connection<F>>| connection.is_addressed_by(target);
        audience.iter().filter(lets).cloned().collect()
    }

    pub(crate) fn everyone(&self) -> Arc<[Arc<Connection<F>>]> {
        self.lock().everyone()
    }

    /// Returns the part of the log that this connection may see, up to the last applied record.
    pub(crate) fn visibility(&self, connection: &Connection<F>) -> Visibility {
        let index = self.lock();
        index.visibility(connection, self.applied())
    }

    /// Returns the rooms that a user was joined to or its connections entered, sorted.
    pub(crate) fn user_rooms(&self, member: &Member) -> Vec<String> {
        self.lock().user_rooms(member)
    }

    /// Returns the state of a user's absence and the current position, if a record about it is
    /// still due; it counts as appended for some time.
    pub(crate) fn announce_absence(
        &self,
        member: &Member,
        times: AbsenceTimes,
        now: Instant,
    ) -> Option<(Absence, Position)> {
        let mut index = self.lock();
        let joined = index.absent(member)?;
        let absence = joined.absence(times, now)?;
        joined.announce(now);
        Some((absence, self.applied()))
    }

    /// Applies the question whether any node has a connection of these users; returns those who
    /// have one here, or had one less than `age` ago.
    pub(crate) fn check_absence(
        &self,
        position: Position,
        members: &[Member],
        age: Duration,
        now: Instant,
    ) -> Vec<Member> {
        self.advance(position, |index| index.check(members, position, age, now))
    }

    /// Applies the answer that a node has a connection of a user, or had one less than `age` ago.
    pub(crate) fn confirm_presence(&self, position: Position, member: &Member, age: Duration, now: Instant) {
        self.advance(position, |index| index.confirm(member, position, age, now));
    }

    /// Restarts the absence of every user: for some time none of them could connect.
    pub(crate) fn restart_absences(&self, now: Instant) {
        self.lock().restart_absences(now);
    }

    /// Restarts a user's absence: the user is connected to another node.
    pub(crate) fn postpone_absence(&self, member: &Member, now: Instant) {
        if let Some(joined) = self.lock().absent(member) {
            joined.postpone(now);
        }
    }

    /// Forgets the memberships that no reader of the window needs any more. Returns up to `most`
    /// users for whose absence a record is due.
    pub(crate) fn forget(&self, start: Position, times: AbsenceTimes, now: Instant, most: usize) -> Vec<Member> {
        self.lock().forget(start, times, now, most)
    }

    /// Returns up to `most` of the users who are joined to a room, in their order, from this
    /// one on.
    pub(crate) fn members(&self, room: &str, from: Bound<&Member>, most: usize) -> Vec<Member> {
        self.lock().members(room, from, most)
    }

    /// Returns whether a user of a tenant, or without a tenant, is joined to a room.
    pub(crate) fn is_joined(&self, member: &Member, room: &str) -> bool {
        self.lock().is_joined(member, room)
    }

    pub(crate) fn gauges(&self) -> Gauges {
        let (gauges, everyone) = {
            let mut index = self.lock();
            (index.gauges(), index.everyone())
        };
        // Without the index lock, which deliveries wait for.
        let now = Instant::now();
        everyone.iter().fold(gauges, |gauges, connection| gauges.with(&connection.outbox.snapshot(now)))
    }

    fn lock(&self) -> MutexGuard<'_, Index<F>> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Outcome {
    /// Counts what became of an event for this connection, and logs it in the span of the delivery.
    pub(crate) fn count(&mut self, connection: ConnectionId, pushed: Pushed) {
        tracing::trace!(target: "realtime_core", %connection, outcome = pushed.name(), "delivered");
        self.delivered.matched += 1;
        match pushed {
            Pushed::Behind | Pushed::Queued => self.delivered.queued += 1,
            Pushed::Closed => {
                self.delivered.dropped += 1;
                self.closed += 1;
            }
            Pushed::Dropped | Pushed::Full => self.delivered.dropped += 1,
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
