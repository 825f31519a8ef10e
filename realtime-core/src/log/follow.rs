//! Following the log: when a node is ready, and what it does when the log is away or has lost records.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::{FutureExt, StreamExt};
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::log::backplane::{LogState, Tail};
use crate::log::feed::Feed;
use crate::log::shared::{Applied, Shared, Tip};
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::position::Position;

/// How often the log's state is looked at, for a log that was wiped or rolled back says so to nobody.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Looks in a row that may fail while the tail goes on.
const MISSED_LOOKS: u32 = 1;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// How far the log has been followed.
pub(crate) struct Progress {
    /// The last record that was applied at the last look: the log still had it.
    seen: Tip,
    /// What has to be applied before the node is ready; not known from an error to the next look.
    last: Option<Position>,
    /// Looks that failed one after the other.
    missed: u32,
    retry: Duration,
}

/// Why a tail is followed no longer.
enum Turn {
    /// The log is another one, and has been taken up.
    Anew,
    /// A provider has come that reads from further back.
    Rewind,
    Error(Error),
}

impl Progress {
    /// Nothing has been read yet after this place; the node is ready with `last`.
    pub(crate) fn new(start: Tip, last: Position) -> Self {
        Self { seen: start, last: Some(last), missed: 0, retry: FIRST_RETRY }
    }
}

impl Shared {
    /// Follows the log for good, through failures of the backplane.
    pub(crate) async fn follow(self: Arc<Self>, mut progress: Progress) {
        // However this loop ends, without it nothing is delivered.
        let _unready = Unready(&self);
        let mut beat = beats_of(&self.feeds());
        loop {
            match self.follow_tail(&mut progress, &mut beat).await {
                Turn::Rewind => beat = beats_of(&self.feeds()),
                Turn::Anew => self.set_ready(false),
                Turn::Error(error) => {
                    self.set_ready(false);
                    tracing::warn!(%error, "the log cannot be read; trying again");
                    progress.last = None;
                    progress.missed = 0;
                    tokio::time::sleep(progress.retry).await;
                    progress.retry = (progress.retry * 2).min(LAST_RETRY);
                }
            }
        }
    }

    /// Follows one tail until it ends, and looks at the log's state again and again.
    async fn follow_tail(&self, progress: &mut Progress, beat: &mut Interval) -> Turn {
        if progress.last.is_none() {
            // After an error, before anything is read behind the place: is it still the same place?
            let looked = self.look(progress).await;
            if let Err(turn) = self.looked(progress, looked).await {
                return turn;
            }
        }
        let (mut feeds, mut tail) = self.begin_to_read();
        let _reading = Reading(self);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = None;
        // Before anything else: a tail that fails at once makes no node ready.
        let mut batch = tail.next().now_or_never();
        loop {
            match batch.take() {
                Some(Some(Ok(entries))) => {
                    progress.retry = FIRST_RETRY;
                    // Not those that have left meanwhile.
                    feeds = self.feeds();
                    if !entries.into_iter().all(|entry| self.apply(entry, &feeds)) {
                        return Turn::Rewind;
                    }
                }
                Some(Some(Err(error))) => return Turn::Error(error),
                Some(None) => return Turn::Error(Error::Backplane("the tail ended".into())),
                None => {}
            }
            if let Some(last) = progress.last {
                feeds.iter().filter(|feed| feed.applied() >= last).for_each(|feed| feed.set_ready(true));
                self.read.notify_waiters();
            }
            tokio::select! {
                // What comes by the clock comes before the next records, and always in the same order.
                biased;
                Some(looked) = OptionFuture::from(look.as_mut()), if look.is_some() => {
                    look = None;
                    if let Err(turn) = self.looked(progress, looked).await {
                        return turn;
                    }
                }
                _ = beat.tick() => self.beat(),
                _ = looks.tick(), if look.is_none() => look = Some(self.look(progress)),
                () = self.look_wanted.notified(), if look.is_none() => look = Some(self.look(progress)),
                () = self.rewind_wanted.notified() => return Turn::Rewind,
                next = tail.next() => batch = Some(next),
            }
        }
    }

    /// Goes on after a look, if the log is the one that is followed and its state can be read at least every other time.
    async fn looked(&self, progress: &mut Progress, looked: Result<(LogState, Tip)>) -> std::result::Result<(), Turn> {
        match looked {
            Ok((state, tip)) if state.epoch == self.life().1 => {
                (progress.seen, progress.missed) = (tip, 0);
                progress.last.get_or_insert(state.last);
                Ok(())
            }
            Ok((state, _)) => {
                self.begin_anew(&state, progress).await;
                Err(Turn::Anew)
            }
            Err(_) if progress.last.is_some() && progress.missed < MISSED_LOOKS => {
                progress.missed += 1;
                Ok(())
            }
            Err(error) => Err(Turn::Error(error)),
        }
    }

    /// The providers of now, and what they have not had, from the place of the one that is furthest back. Those that come
    /// later are for the next turn.
    fn begin_to_read(&self) -> (Vec<Arc<dyn Feed>>, Tail) {
        let mut applied = self.lock_applied();
        applied.held = false;
        let feeds = self.feeds();
        let after = feeds.iter().map(|feed| feed.applied()).fold(applied.tip.position, Position::min);
        (feeds, self.backplane.tail(after))
    }

    fn beat(&self) {
        {
            let _between_two_records = self.lock_applied();
            for feed in self.feeds() {
                // As for a record: what one provider does is no matter of the others.
                if catch_unwind(AssertUnwindSafe(|| feed.beat())).is_err() {
                    tracing::error!(
                        provider = feed.provider(),
                        "the provider panicked while it looked after its connections"
                    );
                }
            }
        }
        self.backplane.wake_tails();
    }

    /// Asks whether the log still has what was applied here up to now, and what it had at the last look: a log that was
    /// rolled back may have passed either place again with other records. Begins a new epoch if it has not.
    fn look(&self, progress: &Progress) -> BoxFuture<'static, Result<(LogState, Tip)>> {
        let backplane = Arc::clone(&self.backplane);
        let (epoch, seen, tip) = (self.life().1, progress.seen, self.lock_applied().tip);
        let ask = move |Tip { position, id }| {
            let backplane = Arc::clone(&backplane);
            async move { backplane.renew(epoch, position, id).await }
        };
        async move {
            let both = async {
                let state = ask(seen).await?;
                if seen == tip || state.epoch != epoch { Ok(state) } else { ask(tip).await }
            };
            let looked = timeout(LOOK_TIMEOUT, both).await;
            let state = looked.unwrap_or_else(|_| Err(Error::Backplane("no answer about the log's state".into())));
            state.map(|state| (state, tip))
        }
        .boxed()
    }

    /// Takes up a log that has begun a new life: every cursor of before is void, and every client is sent back.
    async fn begin_anew(&self, state: &LogState, progress: &mut Progress) {
        self.set_ready(false);
        tracing::warn!(epoch = state.epoch.get(), "the log has begun anew");
        let feeds = self.feeds();
        let mut first = (state.last, None);
        let mut taken_up = Vec::with_capacity(feeds.len());
        for feed in &feeds {
            let start = feed.start_in(state);
            let before = timeout(LOOK_TIMEOUT, self.before(start)).await;
            // If it cannot be read now, the place at the window's start leads nowhere; all others do.
            let before = before.ok().and_then(Result::ok).flatten();
            if start <= first.0 {
                first = (start, before);
            }
            taken_up.push((feed, before));
        }
        let mut applied = self.lock_applied();
        *applied = Applied { tip: Tip::new(first.0, first.1), held: true };
        self.set_epoch(state.epoch);
        for (feed, before) in taken_up {
            // Told before they end, which they do with their life.
            feed.send_back();
            feed.take_up(state, before);
            feed.end_asks();
        }
        *progress = Progress::new(applied.tip, state.last);
    }

    /// The id of the record after which a log in this state is read; nothing if it is no longer there.
    pub(crate) async fn before(&self, start: Position) -> Result<Option<EventId>> {
        if start == Position::START {
            return Ok(None);
        }
        let entries = self.backplane.range(start.previous(), 1).await?;
        Ok(entries.first().filter(|entry| entry.position == start).map(|entry| entry.id))
    }

    fn set_ready(&self, ready: bool) {
        self.feeds().iter().for_each(|feed| feed.set_ready(ready));
    }
}

/// As often as the one that is looked after most often.
fn beats_of(feeds: &[Arc<dyn Feed>]) -> Interval {
    let every = feeds.iter().map(|feed| feed.beats_every()).min().unwrap_or(LOOK);
    let mut beat = interval(every);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    beat
}

/// Holds everybody back from applying when the tail loop reads no more, before its tail is gone: what comes next may be
/// of another log.
struct Reading<'a>(&'a Shared);

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        self.0.lock_applied().held = true;
    }
}

/// Takes the readiness away when the tail loop ends, by a panic too.
struct Unready<'a>(&'a Shared);

impl Drop for Unready<'_> {
    fn drop(&mut self) {
        self.0.set_ready(false);
    }
}
