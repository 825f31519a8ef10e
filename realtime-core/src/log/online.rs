//! The users who are online, over all nodes.

use std::collections::BTreeSet;
use std::ops::Bound;

use futures_util::future::try_join_all;

use crate::log::handle::Log;
use crate::log::presence::{OnlineCount, OnlineIn, OnlineUser, Presence};
use crate::values::error::Result;
use crate::values::member::Member;

/// The most users of one page.
const MOST_USERS: usize = 500;
/// The joined users of a room that are looked for in the directory in one step.
const MEMBERS: usize = 100;

impl Log {
    /// Returns up to `most` users who are online, at most 500, in their order: after this one or
    /// from the first one on. An empty page is the end.
    ///
    /// In a room are the users who were joined to it, and those with a connection that entered it.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`] when the directory does not answer.
    pub async fn online_users(
        &self,
        online: &OnlineIn,
        after: Option<OnlineUser>,
        most: usize,
    ) -> Result<Vec<OnlineUser>> {
        let most = most.min(MOST_USERS);
        let found = self.directory().users(online, after.clone(), most).await?;
        let OnlineIn::Room(room) = online else { return Ok(found) };
        self.check_reads("the users of a room")?;
        let mut users: BTreeSet<_> = found.into_iter().collect();
        users.extend(self.online_members(room, after, most).await?);
        Ok(users.into_iter().take(most).collect())
    }

    /// Returns how many users and connections are online. The connections of a room are those that
    /// entered it; its users include those who were joined to it.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`] when the directory does not answer.
    pub async fn online_count(&self, online: &OnlineIn) -> Result<OnlineCount> {
        let mut count = self.directory().count(online).await?;
        if matches!(online, OnlineIn::Room(_)) {
            count.users = 0;
            let mut after = None;
            loop {
                let page = self.online_users(online, after, MOST_USERS).await?;
                count.users += page.len() as u64;
                after = page.last().cloned();
                if page.is_empty() {
                    break;
                }
            }
        }
        Ok(count)
    }

    /// Returns up to `most` of the users who were joined to a room and are online.
    async fn online_members(&self, room: &str, after: Option<OnlineUser>, most: usize) -> Result<Vec<OnlineUser>> {
        // A user who is joined by the bare name is one in each tenant, so the last one
        // counts again.
        let mut from = after.as_ref().map_or(Bound::Unbounded, |after| Bound::Included(Member::bare(&after.user)));
        let mut online = Vec::new();
        while online.len() < most {
            // Each provider knows all of them.
            let Some(feed) = self.feeds().into_iter().next() else { break };
            let members = feed.members(room, from.as_ref(), MEMBERS);
            let Some(last) = members.last() else { break };
            from = Bound::Excluded(last.clone());
            let found = try_join_all(members.iter().map(|member| self.of_member(member))).await?;
            let found: BTreeSet<_> = found.iter().flatten().filter_map(Presence::online_user).collect();
            online.extend(found.into_iter().filter(|user| {
                after.as_ref().is_none_or(|after| user > after)
                    && feed.is_joined(&Member::new(&user.user, user.tenant.as_deref()), room)
            }));
        }
        Ok(online)
    }

    /// Returns the connections of a user who was joined by the bare name or in a tenant.
    async fn of_member(&self, member: &Member) -> Result<Vec<Presence>> {
        let mut found = self.directory().of_user(&member.user).await?;
        found.retain(|presence| member.tenant.is_none() || presence.tenant.as_deref() == member.tenant.as_deref());
        Ok(found)
    }
}
