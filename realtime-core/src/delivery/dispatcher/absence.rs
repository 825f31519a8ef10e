//! The end of an absent user's rooms: a record like any other, so that it has its position on every
//! node, and a client that resumes from before it is notified.
//!
//! The record is written by the node that saw the user's last connection leave, or that made the
//! join if there never was one, when that was longer ago than the window reaches; by any other node
//! if that one has not for several times as long. The directory is asked first whether the user is
//! connected to another node: nodes that share a log share a directory too. If the record is
//! applied all the same while a connection is registered, that connection has to reconnect and
//! begin anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::dispatcher::Dispatcher;
use crate::log::record::{Body, Providers};
use crate::traits::codec::Codec;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::member::Member;

/// The time within which the directory must answer whether a user is online.
const ANSWER: Duration = Duration::from_secs(2);

impl<C: Codec> Dispatcher<C> {
    /// Ends the rooms of these users, one after the other and concurrently with the tail loop,
    /// unless an earlier call is still running: users that are left out are still absent at the
    /// next beat.
    pub(super) fn end_absent(&self, absent: Vec<Member>) {
        if absent.is_empty() || self.ending.swap(true, Ordering::AcqRel) {
            return;
        }
        let dispatcher = self.unowned();
        tokio::spawn(self.running.stop.clone().run_until_cancelled_owned(async move {
            let _busy = Busy(&dispatcher.ending);
            for member in absent {
                if let Err(error) = dispatcher.end_rooms(&member).await {
                    let provider = dispatcher.config.provider;
                    tracing::debug!(provider, %error, "an absent user's rooms could not be ended; trying again");
                    break;
                }
            }
        }));
    }

    async fn end_rooms(&self, member: &Member) -> Result<()> {
        if self.is_elsewhere(member).await? {
            self.hub.postpone_absence(member, Instant::now());
            return Ok(());
        }
        let Some(seen) = self.hub.announce_absence(member, self.config.delivery.window.age, Instant::now()) else {
            return Ok(());
        };
        self.append_for(Providers::ALL, EventId::random(), Body::Absent { member: member.clone(), seen }, None)
            .await
            .map(drop)
    }

    /// Returns whether the directory has a connection of this user, with any provider.
    async fn is_elsewhere(&self, member: &Member) -> Result<bool> {
        let online = self.runtime()?.tracker.directory().of_user(&member.user);
        let online = tokio::time::timeout(ANSWER, online).await;
        let online = online.map_err(|_| Error::Backplane("the directory did not answer in time".into()))??;
        Ok(online
            .iter()
            .any(|presence| member.tenant.is_none() || member.tenant.as_deref() == presence.tenant.as_deref()))
    }
}

/// Clears the flag when the task ends, however it ends.
struct Busy<'a>(&'a AtomicBool);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
