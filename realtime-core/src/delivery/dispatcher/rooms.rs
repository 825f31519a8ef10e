//! Users' rooms: joins and leaves are records for every provider.

use std::sync::Arc;

use async_trait::async_trait;

use crate::delivery::dispatcher::Dispatcher;
use crate::log::tracker::Change;
use crate::traits::broadcast::RoomMembership;
use crate::traits::codec::Codec;
use crate::values::connection::ConnectionId;
use crate::values::error::Result;
use crate::values::member::Member;

#[async_trait]
impl<C: Codec> RoomMembership for Arc<Dispatcher<C>> {
    async fn join_room(&self, user: &str, room: &str) -> Result<()> {
        self.open_log()?.join_room(user, None, room).await.map(drop)
    }

    async fn leave_room(&self, user: &str, room: &str) -> Result<()> {
        self.open_log()?.leave_room(user, None, room).await.map(drop)
    }

    async fn user_rooms(&self, user: &str) -> Result<Vec<String>> {
        self.rooms_of(&Member::bare(user))
    }

    async fn join_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()> {
        self.open_log()?.join_room(user, Some(tenant), room).await.map(drop)
    }

    async fn leave_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()> {
        self.open_log()?.leave_room(user, Some(tenant), room).await.map(drop)
    }

    async fn user_rooms_in(&self, tenant: &str, user: &str) -> Result<Vec<String>> {
        self.rooms_of(&Member::of_tenant(tenant, user))
    }
}

impl<C: Codec> Dispatcher<C> {
    /// Adds a connection of this node to a room, from the current position on; `false` if it was in
    /// already.
    pub(crate) fn enter_room(&self, id: ConnectionId, room: &str) -> bool {
        let entered = self.hub.enter(id, &room.into());
        if entered {
            self.tell_directory(Change::Rooms(id));
        }
        entered
    }

    /// Removes a connection of this node from a room that it entered itself; `false` if it was not
    /// in.
    pub(crate) fn exit_room(&self, id: ConnectionId, room: &str) -> bool {
        let left = self.hub.leave(id, room);
        if left {
            self.tell_directory(Change::Rooms(id));
        }
        left
    }

    fn rooms_of(&self, member: &Member) -> Result<Vec<String>> {
        member.check()?;
        Ok(self.hub().user_rooms(member))
    }
}
