//! Users' rooms through a provider: joins and leaves are records for every provider.

/// Implements [`RoomMembership`](crate::RoomMembership) for a type with the methods `open_log`,
/// which returns the log, and `rooms_of`, which returns the rooms of a member. A blanket
/// implementation would name a private trait in the compiler's messages to applications.
macro_rules! room_membership {
    (impl $(<$generic:ident: $bound:path>)? for $kind:ty) => {
        #[async_trait::async_trait]
        impl $(<$generic: $bound>)? $crate::traits::broadcast::RoomMembership for $kind {
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
    };
}

pub(crate) use room_membership;
