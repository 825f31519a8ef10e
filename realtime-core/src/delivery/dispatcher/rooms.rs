//! The rooms of users and of connections, as the hub of this node has them.

use std::sync::Arc;

use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::room_membership::room_membership;
use crate::log::tracker::Change;
use crate::traits::codec::Codec;
use crate::values::connection::ConnectionId;
use crate::values::error::Result;
use crate::values::member::Member;
use crate::values::stats::add;

room_membership!(impl<C: Codec> for Arc<Dispatcher<C>>);

impl<C: Codec> Dispatcher<C> {
    /// Adds a connection of this node to a room, from the current position on; `false` if it was in
    /// already.
    pub(crate) fn enter_room(&self, id: ConnectionId, room: &str) -> bool {
        let entered = self.hub.enter(id, &room.into());
        if entered {
            add(&self.counters.rooms_entered, 1);
            self.update_directory(Change::Rooms(id));
        }
        entered
    }

    /// Removes a connection of this node from a room that it entered itself; `false` if it was not
    /// in.
    pub(crate) fn exit_room(&self, id: ConnectionId, room: &str) -> bool {
        let left = self.hub.leave(id, room);
        if left {
            add(&self.counters.rooms_left, 1);
            self.update_directory(Change::Rooms(id));
        }
        left
    }

    fn rooms_of(&self, member: &Member) -> Result<Vec<String>> {
        member.check()?;
        Ok(self.hub().user_rooms(member))
    }
}
