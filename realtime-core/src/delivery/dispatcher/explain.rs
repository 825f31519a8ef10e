//! The facts known of connections, to explain the outcome of an event for them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use tokio::time::Instant;

use crate::delivery::connection::Connection;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::membership::Memberships;
use crate::log::life::{ConnectionLife, End, Stays};
use crate::traits::codec::Codec;
use crate::values::close::CloseReason;
use crate::values::connection::ConnectionId;
use crate::values::fate::Answer;
use crate::values::member::Member;
use crate::values::position::Position;

impl<C: Codec> Dispatcher<C> {
    /// Returns the open connections of a user, in any tenant or in one, with their stays in this
    /// room.
    pub(super) fn lives_of(&self, member: &Member, room: Option<&str>) -> Vec<ConnectionLife> {
        // The window's start is looked at later than the rooms: it covers all that they forgot.
        let life = |(connection, rooms): &(Arc<Connection<C::Frame>>, Memberships)| {
            let stays = room.map(|room| rooms.stays(Some(room), usize::MAX, self.window.start()));
            self.life_of(connection, stays.unwrap_or_default())
        };
        self.hub.of_user(member).iter().map(life).collect()
    }

    /// Returns whether the server had joined a user to a room; `None` if that is no longer known.
    pub(super) fn was_joined_at(&self, member: &Member, room: &str, position: Position) -> Option<bool> {
        let was_joined = self.hub.was_joined(member, room, position);
        (was_joined || position > self.window.start()).then_some(was_joined)
    }

    /// Keeps what is known of a connection that leaves the hub, in one step with that, so that it
    /// is among the open ones or among these. Nobody can ask for one without a user.
    pub(super) fn keep_life(
        &self,
        connection: &Connection<C::Frame>,
        rooms: &Memberships,
        position: Position,
        reason: &CloseReason,
    ) {
        let Some(runtime) = self.runtime.get().filter(|_| connection.info.identity.user_name().is_some()) else {
            return;
        };
        let stays = rooms.stays(None, Stays::MOST, self.window.start());
        let end = End { at: SystemTime::now(), position, reason: reason.clone() };
        runtime.log.lives().add(ConnectionLife { end: Some(end), ..self.life_of(connection, stays) });
    }

    /// Keeps the answer to an ask.
    pub(super) fn keep_answer(&self, ask: u64, connection: ConnectionId, answer: Answer) {
        if let Some(runtime) = self.runtime.get() {
            runtime.log.lives().answered(Position::new(ask), connection, answer);
        }
    }

    fn life_of(&self, connection: &Connection<C::Frame>, stays: Stays) -> ConnectionLife {
        // First what was taken, then what was left out of it.
        let outbox = connection.outbox.snapshot(Instant::now());
        let (info, opening) = (&connection.info, &connection.opening);
        ConnectionLife {
            connection: info.id,
            provider: info.provider,
            user: info.identity.shared_user().cloned(),
            tenant: info.identity.shared_tenant().cloned(),
            address: info.address,
            former: connection.former,
            connected: opening.at,
            epoch: opening.epoch,
            registered_at: connection.registered_at,
            from: opening.from,
            began: opening.reason,
            taken: outbox.taken,
            has_more: outbox.behind || outbox.queued_events > 0,
            dropped: outbox.counts.dropped,
            overflows: outbox.counts.overflows,
            omissions: connection.outbox.omissions(),
            stays,
            reconnect: connection.reconnect_sent.load(Ordering::Relaxed),
            closing: connection.outbox.is_closed(),
            end: None,
        }
    }
}
