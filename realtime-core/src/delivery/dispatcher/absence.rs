//! The end of an absent user's rooms: a record like any other, so that it has its position on every
//! node, and a client that resumes from before it is notified.
//!
//! The records are written by the node that saw the user's last connection leave, or that made the
//! join if there never was one, when that was longer ago than the window reaches; by any other node
//! if that one has not for several times as long. The directory is asked first whether the user is
//! connected to another node. It may have lost entries, and a node may be cut off from it. So,
//! where other nodes read the log, the end has two steps: a question that every node applies, to
//! which one that has a connection, or saw the last one leave less than the window's age ago,
//! answers by a record, and the end, which has no effect after such an answer. The time in which
//! the log could not be read counts for no absence.
//!
//! If the end is applied all the same while a connection is registered, that connection has to
//! reconnect and begin anew.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::hub::{Absence, AbsenceTimes};
use crate::log::record::{Body, Providers};
use crate::traits::codec::Codec;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::member::Member;

/// The time within which the directory must answer whether a user is online.
const ANSWER: Duration = Duration::from_secs(2);
/// The longest time that other nodes have to answer: longer than a lease, after which a node counts
/// as gone.
const NODES_ANSWER: Duration = Duration::from_secs(12);
/// The attempts to append an answer, and the delay between them.
const ATTEMPTS: u32 = 5;
const ATTEMPT_DELAY: Duration = Duration::from_secs(1);

impl<C: Codec> Dispatcher<C> {
    pub(super) fn absence_times(&self) -> AbsenceTimes {
        let age = self.config.delivery.window.age;
        AbsenceTimes { age, answer: age.min(NODES_ANSWER) }
    }

    /// Ends the rooms of these users, or asks the other nodes first, one after the other and
    /// concurrently with the tail loop, unless an earlier call is still running: users that are
    /// left out are still absent at the next beat.
    pub(super) fn end_absent(&self, absent: Vec<Member>) {
        if absent.is_empty() || self.ending.swap(true, Ordering::AcqRel) {
            return;
        }
        let dispatcher = self.unowned();
        tokio::spawn(self.running.stop.clone().run_until_cancelled_owned(async move {
            let _busy = Busy(&dispatcher.ending);
            if let Err(error) = dispatcher.end_all(absent).await {
                let provider = dispatcher.config.provider;
                tracing::debug!(provider, %error, "an absent user's rooms could not be ended; trying again");
            }
        }));
    }

    async fn end_all(&self, absent: Vec<Member>) -> Result<()> {
        let mut unchecked = Vec::new();
        for member in absent {
            if self.is_elsewhere(&member).await? {
                self.hub.postpone_absence(&member, Instant::now());
                continue;
            }
            let Some((absence, applied)) = self.hub.announce_absence(&member, self.absence_times(), Instant::now())
            else {
                continue;
            };
            let seen = match absence {
                Absence::Unanswered(position) => position,
                // No other node reads this log.
                Absence::Unchecked if self.runtime()?.log.backplane().tails() == 1 => applied,
                Absence::Unchecked => {
                    unchecked.push(member);
                    continue;
                }
            };
            self.append_for_all(Body::Absent { member, seen }).await?;
        }
        if unchecked.is_empty() {
            return Ok(());
        }
        self.append_for_all(Body::Check { members: unchecked.into() }).await
    }

    /// Answers that this node has a connection of these users.
    pub(super) fn confirm_presence(&self, members: Vec<Member>) {
        for member in members {
            let dispatcher = self.unowned();
            tokio::spawn(self.running.stop.clone().run_until_cancelled_owned(async move {
                for _ in 0..ATTEMPTS {
                    match dispatcher.append_for_all(Body::Present { member: member.clone() }).await {
                        Ok(()) => return,
                        Err(error) => tracing::debug!(%error, "the presence of a user could not be confirmed"),
                    }
                    tokio::time::sleep(ATTEMPT_DELAY).await;
                }
            }));
        }
    }

    async fn append_for_all(&self, body: Body) -> Result<()> {
        self.open_log()?.append(Providers::ALL, EventId::random(), body, None).await.map(drop)
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
