//! Users' rooms: joins and leaves are records, applied in log order.

use std::sync::Arc;

use async_trait::async_trait;

use crate::envelope::Body;
use crate::{Codec, Dispatcher, EventId, Result, RoomMembership, check_name};

#[async_trait]
impl<C: Codec> RoomMembership for Arc<Dispatcher<C>> {
    async fn join_room(&self, user: &str, room: &str) -> Result<()> {
        check_both(user, room)?;
        let body = Body::Join { user: user.into(), room: room.into() };
        self.append(EventId::random(), body, None).await.map(drop)
    }

    async fn leave_room(&self, user: &str, room: &str) -> Result<()> {
        check_both(user, room)?;
        let body = Body::Leave { user: user.into(), room: room.into() };
        self.append(EventId::random(), body, None).await.map(drop)
    }

    async fn user_rooms(&self, user: &str) -> Result<Vec<String>> {
        check_name("user", user)?;
        Ok(self.hub().user_rooms(user))
    }
}

fn check_both(user: &str, room: &str) -> Result<()> {
    check_name("user", user)?;
    check_name("room", room)
}
