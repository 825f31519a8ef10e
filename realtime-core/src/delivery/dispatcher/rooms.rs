//! Users' rooms: joins and leaves are records, applied in log order.

use std::sync::Arc;

use async_trait::async_trait;

use crate::delivery::dispatcher::Dispatcher;
use crate::log::envelope::{Body, Providers};
use crate::traits::codec::Codec;
use crate::traits::provider::RoomMembership;
use crate::values::error::Result;
use crate::values::event_id::EventId;
use crate::values::member::Member;
use crate::values::name::check_name;

#[async_trait]
impl<C: Codec> RoomMembership for Arc<Dispatcher<C>> {
    async fn join_room(&self, user: &str, room: &str) -> Result<()> {
        self.join(Member::bare(user), room).await
    }

    async fn leave_room(&self, user: &str, room: &str) -> Result<()> {
        self.leave(Member::bare(user), room).await
    }

    async fn user_rooms(&self, user: &str) -> Result<Vec<String>> {
        self.rooms_of(&Member::bare(user))
    }

    async fn join_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()> {
        self.join(Member::of_tenant(tenant, user), room).await
    }

    async fn leave_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<()> {
        self.leave(Member::of_tenant(tenant, user), room).await
    }

    async fn user_rooms_in(&self, tenant: &str, user: &str) -> Result<Vec<String>> {
        self.rooms_of(&Member::of_tenant(tenant, user))
    }
}

impl<C: Codec> Dispatcher<C> {
    async fn join(&self, member: Member, room: &str) -> Result<()> {
        member.check()?;
        check_name("room", room)?;
        self.append_for(Providers::ALL, EventId::random(), Body::Join { member, room: room.into() }, None)
            .await
            .map(drop)
    }

    async fn leave(&self, member: Member, room: &str) -> Result<()> {
        member.check()?;
        check_name("room", room)?;
        self.append_for(Providers::ALL, EventId::random(), Body::Leave { member, room: room.into() }, None)
            .await
            .map(drop)
    }

    fn rooms_of(&self, member: &Member) -> Result<Vec<String>> {
        member.check()?;
        Ok(self.hub().user_rooms(member))
    }
}
