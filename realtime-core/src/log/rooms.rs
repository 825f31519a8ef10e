//! Users' rooms and closes: one record for all providers, applied by each in log order.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::log::handle::Log;
use crate::log::record::{Body, Providers};
use crate::values::close::CloseReason;
use crate::values::error::Result;
use crate::values::event_id::EventId;
use crate::values::member::Member;
use crate::values::name::check_name;
use crate::values::receipt::Receipt;
use crate::values::target::Target;

/// The longest time that a close waits for the other nodes to report what they closed.
const REPORTED: Duration = Duration::from_secs(2);

impl Log {
    /// Joins a user to a room with every provider, on every node: the user of one tenant, or of
    /// this name in every tenant.
    ///
    /// # Errors
    /// Those of [`crate::RoomMembership::join_room`]; [`crate::Error::NotAttached`] without a
    /// provider.
    pub async fn join_room(&self, user: &str, tenant: Option<&str>, room: &str) -> Result<Receipt> {
        let (member, room) = (member(user, tenant)?, check_name("room", room).map(|()| room.into())?);
        self.append_for_all(Body::Join { member, room }).await
    }

    /// Removes a user from a room with every provider, on every node, as
    /// [`crate::RoomMembership::leave_room`] does.
    ///
    /// # Errors
    /// Those of [`crate::RoomMembership::leave_room`]; [`crate::Error::NotAttached`] without a
    /// provider.
    pub async fn leave_room(&self, user: &str, tenant: Option<&str>, room: &str) -> Result<Receipt> {
        let (member, room) = (member(user, tenant)?, check_name("room", room).map(|()| room.into())?);
        self.append_for_all(Body::Leave { member, room }).await
    }

    /// Returns the rooms that a user has been joined to, and those that the user's connections of
    /// this node entered, with any provider; sorted by name.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`].
    pub fn user_rooms(&self, user: &str, tenant: Option<&str>) -> Result<Vec<String>> {
        self.check_reads("the rooms of a user")?;
        let member = member(user, tenant)?;
        let rooms: BTreeSet<_> = self.feeds().iter().flat_map(|feed| feed.user_rooms(&member)).collect();
        Ok(rooms.into_iter().collect())
    }

    /// Closes the connections of a target with every provider: those of this node immediately, and
    /// those of every node that were registered before the close's position in the log. Returns how
    /// many were notified, as far as the nodes have reported it within two seconds.
    ///
    /// # Errors
    /// Those of [`crate::RealtimeProvider::close`]; [`crate::Error::NotAttached`] without a
    /// provider.
    pub async fn close(&self, target: Target, reason: CloseReason) -> Result<usize> {
        target.check()?;
        let notified: usize = self.feeds().iter().map(|feed| feed.close(&target, &reason)).sum();
        if self.feeds().is_empty() {
            return Err(self.missing_provider(None));
        }
        Ok(notified + self.close_on_nodes(Providers::ALL, target, reason).await?)
    }

    /// Closes the connections of a target with these providers, on every node; returns how many
    /// were notified, as far as the nodes have reported it in time.
    pub(crate) async fn close_on_nodes(
        &self,
        providers: Providers,
        target: Target,
        reason: CloseReason,
    ) -> Result<usize> {
        let id = EventId::random();
        let collecting = self.collect(id, None).await;
        let receipt = self.append(providers, id, Body::Close { target, reason }, None).await?;
        let here = receipt.delivered.map_or(0, |delivered| delivered.matched);
        let there = collecting.closed(REPORTED).await;
        Ok(here + usize::try_from(there).unwrap_or(usize::MAX))
    }

    async fn append_for_all(&self, body: Body) -> Result<Receipt> {
        if self.feeds().is_empty() {
            return Err(self.missing_provider(None));
        }
        self.append(Providers::ALL, EventId::random(), body, None).await
    }
}

fn member(user: &str, tenant: Option<&str>) -> Result<Member> {
    let member = Member::new(user, tenant);
    member.check()?;
    Ok(member)
}
