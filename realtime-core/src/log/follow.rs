//! Following the log: a node's readiness, and the recovery when the log is unavailable or has lost
//! records.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::log::backplane::{LogState, Tail};
use crate::log::feed::{Beginning, Feed};
use crate::log::shared::{Applied, Shared, TailEnd, Tip};
use crate::values::error::{Error, Result};
use crate::values::position::Position;

/// The interval between checks of the log's state, without which a wiped or rolled back log is not
/// noticed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// The longest time that a check may take.
const CHECK_TIMEOUT: Duration = Duration::from_secs(2);
/// The consecutive checks that may fail while the tail goes on.
const MISSED_CHECKS: u32 = 1;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// The progress of following the log.
pub(crate) struct Progress {
    /// The last record that was applied at the last check: the log still had it.
    seen: Tip,
    /// The position that has to be applied before the node is ready; unknown from an error to the
    /// next check.
    last: Option<Position>,
    /// The number of consecutive checks that failed.
    missed: u32,
    retry: Duration,
}

impl Progress {
    /// Creates the progress at a position after which nothing has been read yet; the node is ready
    /// with `last`.
    pub(crate) fn new(start: Tip, last: Position) -> Self {
        Self { seen: start, last: Some(last), missed: 0, retry: FIRST_RETRY }
    }
}

impl Shared {
    /// Follows the log until the future is dropped, through failures of the backplane.
    pub(crate) async fn follow(self: Arc<Self>, mut progress: Progress) {
        // Without this loop nothing is delivered, however it ends.
        let _unready = UnreadyOnDrop(&self);
        let mut ticks = tick_interval(&self.feeds());
        loop {
            match self.follow_tail(&mut progress, &mut ticks).await {
                TailEnd::Rewind => ticks = tick_interval(&self.feeds()),
                TailEnd::NewEpoch => self.set_ready(false),
                TailEnd::Outdated(error) => {
                    self.set_ready(false);
                    tracing::error!(%error, "found a record of a newer version; draining this node: upgrade it");
                    self.feeds().iter().for_each(|feed| feed.drain_outdated());
                    return;
                }
                TailEnd::Error(error) => {
                    self.set_ready(false);
                    tracing::warn!(%error, "the log cannot be read; retrying");
                    progress.last = None;
                    progress.missed = 0;
                    tokio::time::sleep(progress.retry).await;
                    progress.retry = (progress.retry * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// Follows one tail until it ends, and checks the log's state periodically.
    async fn follow_tail(self: &Arc<Self>, progress: &mut Progress, ticks: &mut Interval) -> TailEnd {
        if progress.last.is_none() {
            // After an error, check that the position still has the same record before anything
            // after it is read.
            let checked = self.check_log(progress).await;
            if let Err(end) = self.handle_check(progress, checked).await {
                return end;
            }
        }
        let (mut feeds, mut tail) = self.open_tail();
        let _hold = HoldOnDrop(self);
        let mut check_ticks = interval(CHECK_INTERVAL);
        check_ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut check = None;
        // Polled before the loop: a tail that fails immediately makes no node ready.
        let mut batch = tail.next().now_or_never();
        loop {
            match batch.take() {
                Some(Some(Ok(entries))) => {
                    progress.retry = FIRST_RETRY;
                    // Providers that were detached meanwhile are left out.
                    feeds = self.feeds();
                    let applied = entries.into_iter().try_for_each(|entry| self.apply(entry, &feeds));
                    if let Err(end) = applied {
                        return end;
                    }
                }
                Some(Some(Err(error))) => return TailEnd::Error(error),
                Some(None) => return TailEnd::Error(Error::Backplane("the tail closed".into())),
                None => {}
            }
            if let Some(last) = progress.last {
                feeds.iter().filter(|feed| feed.applied() >= last).for_each(|feed| feed.set_ready(true));
                self.read.notify_waiters();
            }
            tokio::select! {
                // Timers go before the next records, and always in the same order.
                biased;
                Some(checked) = OptionFuture::from(check.as_mut()), if check.is_some() => {
                    check = None;
                    if let Err(end) = self.handle_check(progress, checked).await {
                        return end;
                    }
                }
                _ = ticks.tick() => self.tick(),
                _ = check_ticks.tick(), if check.is_none() => check = Some(self.check_log(progress)),
                () = self.check_requested.notified(), if check.is_none() => check = Some(self.check_log(progress)),
                () = self.rewind_requested.notified() => return TailEnd::Rewind,
                next = tail.next() => batch = Some(next),
            }
        }
    }

    /// Continues after a check if the log still has the same epoch and at least every other check
    /// succeeds.
    async fn handle_check(
        &self,
        progress: &mut Progress,
        checked: Result<(LogState, Tip)>,
    ) -> std::result::Result<(), TailEnd> {
        match checked {
            Ok((state, tip)) if state.epoch == self.epoch() => {
                self.counters.note_state(&state);
                (progress.seen, progress.missed) = (tip, 0);
                progress.last.get_or_insert(state.last);
                Ok(())
            }
            Ok((state, _)) => match self.switch_epoch(&state, progress).await {
                Ok(()) => Err(TailEnd::NewEpoch),
                Err(error) => Err(TailEnd::Error(error)),
            },
            Err(_) if progress.last.is_some() && progress.missed < MISSED_CHECKS => {
                progress.missed += 1;
                Ok(())
            }
            Err(error) => Err(TailEnd::Error(error)),
        }
    }

    /// Opens a tail for the current providers, from the earliest position that one of them has
    /// applied. Providers that are attached later are handled by the next tail.
    fn open_tail(&self) -> (Vec<Arc<dyn Feed>>, Tail) {
        let mut applied = self.lock_applied();
        applied.held = false;
        let feeds = self.feeds();
        let after = feeds.iter().map(|feed| feed.applied()).fold(applied.tip.position, Position::min);
        (feeds, self.backplane.tail(after))
    }

    fn tick(&self) {
        {
            let _between_two_records = self.lock_applied();
            for feed in self.feeds() {
                // As for a record: a panic in one provider must not affect the others.
                if catch_unwind(AssertUnwindSafe(|| feed.tick())).is_err() {
                    tracing::error!(
                        provider = feed.provider(),
                        "the provider panicked while maintaining its connections"
                    );
                }
            }
        }
        self.backplane.wake_tails();
    }

    /// Asks whether the log still has the last record that was applied here, and the one of the
    /// previous check: a log that was rolled back may have reached either position again with other
    /// records. Begins a new epoch if it has not.
    fn check_log(&self, progress: &Progress) -> BoxFuture<'static, Result<(LogState, Tip)>> {
        let backplane = Arc::clone(&self.backplane);
        let (epoch, seen, tip) = (self.epoch(), progress.seen, self.lock_applied().tip);
        let ask = move |Tip { position, id }| {
            let backplane = Arc::clone(&backplane);
            async move { backplane.renew(epoch, position, id).await }
        };
        async move {
            let both = async {
                let state = ask(seen).await?;
                if seen == tip || state.epoch != epoch { Ok(state) } else { ask(tip).await }
            };
            let checked = timeout(CHECK_TIMEOUT, both).await;
            let state =
                checked.unwrap_or_else(|_| Err(Error::Backplane("the log did not return its state in time".into())));
            state.map(|state| (state, tip))
        }
        .boxed()
    }

    /// Switches to a new epoch of the log: every earlier cursor is void, and every client is
    /// disconnected.
    async fn switch_epoch(&self, state: &LogState, progress: &mut Progress) -> Result<()> {
        self.set_ready(false);
        tracing::warn!(epoch = state.epoch.get(), "the log has a new epoch");
        let feeds = self.feeds();
        let mut first = (state.last, None);
        let mut resets = Vec::with_capacity(feeds.len());
        for feed in &feeds {
            let start = feed.start_in(state);
            let beginning = timeout(CHECK_TIMEOUT, self.beginning(start)).await;
            let beginning =
                beginning.unwrap_or_else(|_| Err(Error::Backplane("the log could not be read in time".into())))?;
            if start <= first.0 {
                first = (start, beginning.before);
            }
            resets.push((feed, beginning));
        }
        let mut applied = self.lock_applied();
        *applied = Applied { tip: Tip::new(first.0, first.1), held: true };
        // Before the epoch, so that what was decided in the old one is not appended in the new one;
        // and after it, for what other nodes sent in between.
        self.offline.get().into_iter().for_each(|offline| offline.restart());
        self.set_epoch(state.epoch);
        self.offline.get().into_iter().for_each(|offline| offline.restart());
        self.counters.note_state(state);
        self.first_read.store(state.last.get(), Ordering::Release);
        for (feed, beginning) in resets {
            // Connections are notified before their asks are cancelled, which end with the epoch.
            feed.disconnect_all();
            feed.reset(state, &beginning);
            feed.cancel_asks();
        }
        *progress = Progress::new(applied.tip, state.last);
        Ok(())
    }

    /// Returns what a provider needs of the log before the position after which it reads.
    pub(crate) async fn beginning(&self, start: Position) -> Result<Beginning> {
        let rooms = self.backplane.rooms(start).await?;
        if start == Position::START {
            return Ok(Beginning { before: None, rooms });
        }
        let entries = self.backplane.range(start.previous(), 1).await?;
        let before = entries.first().filter(|entry| entry.position == start).map(|entry| entry.id);
        Ok(Beginning { before, rooms })
    }

    fn set_ready(&self, ready: bool) {
        self.feeds().iter().for_each(|feed| feed.set_ready(ready));
    }
}

/// Creates the timer for the provider with the shortest interval.
fn tick_interval(feeds: &[Arc<dyn Feed>]) -> Interval {
    let every = feeds.iter().map(|feed| feed.tick_interval()).min().unwrap_or(CHECK_INTERVAL);
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// Prevents applying when the tail loop stops reading, before its tail is dropped: the next records
/// may be from another log.
struct HoldOnDrop<'a>(&'a Shared);

impl Drop for HoldOnDrop<'_> {
    fn drop(&mut self) {
        self.0.lock_applied().held = true;
    }
}

/// Clears the readiness when the tail loop ends, also by a panic.
struct UnreadyOnDrop<'a>(&'a Shared);

impl Drop for UnreadyOnDrop<'_> {
    fn drop(&mut self) {
        self.0.set_ready(false);
    }
}
