//! Following the log: when a node is ready, and what it does when the log is away or has lost records.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, OptionFuture};
use futures_util::{FutureExt, StreamExt};
use tokio::sync::Notify;
use tokio::time::{Interval, MissedTickBehavior, interval, timeout};

use crate::delivery::dispatcher::Dispatcher;
use crate::log::backplane::{Entry, LogState};
use crate::traits::codec::Codec;
use crate::traits::runtime::Runtime;
use crate::values::ack::AckStatus;
use crate::values::error::{Error, Result};
use crate::values::event_id::EventId;
use crate::values::position::Position;

/// How often connections, the window and the directory are looked after.
const BEAT: Duration = Duration::from_secs(1);
/// How often the log's state is looked at, for a log that was wiped or rolled back says so to nobody.
const LOOK: Duration = Duration::from_secs(1);
/// How long a look may take.
const LOOK_TIMEOUT: Duration = Duration::from_secs(2);
/// Looks in a row that may fail while the tail goes on.
const MISSED_LOOKS: u32 = 1;
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(2);

/// A record that was applied here, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tip {
    pub(super) position: Position,
    /// All zeros at the start, and for a record that this node never saw: such a place is lost only beyond the end.
    pub(super) id: EventId,
}

/// How far the log has been followed.
pub(super) struct Progress {
    /// The last record that was applied.
    tip: Tip,
    /// The last one at the last look: the log still had it.
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
    Error(Error),
}

impl Progress {
    /// Nothing has been read yet; the node is ready with this record.
    pub(super) fn new(tip: Tip, last: Position) -> Self {
        Self { tip, seen: tip, last: Some(last), missed: 0, retry: FIRST_RETRY }
    }
}

impl<C: Codec> Dispatcher<C> {
    /// Follows the log for good, through failures of the backplane; `filled` is told when the node is ready.
    pub(super) async fn follow(&self, mut progress: Progress, filled: &Notify) {
        let Ok(runtime) = self.runtime() else { return };
        // However this loop ends, without it nothing is delivered.
        let _unready = Unready(&self.ready);
        let mut beat = interval(BEAT.min(self.config.write_stall / 4).max(Duration::from_millis(10)));
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let turn = self.follow_tail(runtime, &mut progress, &mut beat, filled).await;
            self.ready.store(false, Ordering::Release);
            if let Turn::Error(error) = turn {
                tracing::warn!(provider = self.config.provider, %error, "the log cannot be read; trying again");
                progress.last = None;
                progress.missed = 0;
                tokio::time::sleep(progress.retry).await;
                progress.retry = (progress.retry * 2).min(LAST_RETRY);
            }
        }
    }

    /// Follows one tail until it ends, and looks at the log's state again and again.
    async fn follow_tail(
        &self,
        runtime: &Runtime,
        progress: &mut Progress,
        beat: &mut Interval,
        filled: &Notify,
    ) -> Turn {
        if progress.last.is_none() {
            // After an error, before anything is read behind the place: is it still the same place?
            let looked = self.look(runtime, progress).await;
            if let Err(turn) = self.looked(runtime, progress, looked).await {
                return turn;
            }
        }
        let mut tail = runtime.backplane.tail(self.config.provider, progress.tip.position);
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut look = None;
        // Before anything else: a tail that fails at once makes no node ready.
        let mut batch = tail.next().now_or_never();
        loop {
            match batch.take() {
                Some(Some(Ok(entries))) => {
                    progress.retry = FIRST_RETRY;
                    entries.into_iter().for_each(|entry| self.advance(entry, runtime, progress));
                }
                Some(Some(Err(error))) => return Turn::Error(error),
                Some(None) => return Turn::Error(Error::Backplane("the tail ended".into())),
                None => {}
            }
            if progress.last.is_some_and(|last| progress.tip.position >= last) {
                self.ready.store(true, Ordering::Release);
                filled.notify_one();
            }
            tokio::select! {
                // What comes by the clock comes before the next records, and always in the same order.
                biased;
                Some(looked) = OptionFuture::from(look.as_mut()), if look.is_some() => {
                    look = None;
                    if let Err(turn) = self.looked(runtime, progress, looked).await {
                        return turn;
                    }
                }
                _ = beat.tick() => self.beat(),
                _ = looks.tick(), if look.is_none() => look = Some(self.look(runtime, progress)),
                () = self.look_wanted.notified(), if look.is_none() => look = Some(self.look(runtime, progress)),
                next = tail.next() => batch = Some(next),
            }
        }
    }

    /// Goes on after a look, if the log is the one that is followed and its state can be read at least every other time.
    async fn looked(
        &self,
        runtime: &Runtime,
        progress: &mut Progress,
        looked: Result<(LogState, Tip)>,
    ) -> std::result::Result<(), Turn> {
        match looked {
            Ok((state, tip)) if state.epoch == self.life().epoch() => {
                (progress.seen, progress.missed) = (tip, 0);
                progress.last.get_or_insert(state.last);
                Ok(())
            }
            Ok((state, _)) => {
                self.begin_anew(runtime, &state, progress).await;
                Err(Turn::Anew)
            }
            Err(_) if progress.last.is_some() && progress.missed < MISSED_LOOKS => {
                progress.missed += 1;
                Ok(())
            }
            Err(error) => Err(Turn::Error(error)),
        }
    }

    fn advance(&self, entry: Entry, runtime: &Runtime, progress: &mut Progress) {
        let tip = Tip { position: entry.position, id: entry.id };
        self.apply(entry, runtime);
        if tip.position > progress.tip.position {
            progress.tip = tip;
        }
    }

    /// Asks whether the log still has what was applied here up to now, and what it had at the last look: a log that was
    /// rolled back may have passed either place again with other records. Begins a new epoch if it has not.
    fn look(&self, runtime: &Runtime, progress: &Progress) -> BoxFuture<'static, Result<(LogState, Tip)>> {
        let (backplane, provider) = (Arc::clone(&runtime.backplane), self.config.provider);
        let (epoch, seen, tip) = (self.life().epoch(), progress.seen, progress.tip);
        let ask = move |Tip { position, id }| {
            let backplane = Arc::clone(&backplane);
            async move { backplane.renew(provider, epoch, position, id).await }
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
    async fn begin_anew(&self, runtime: &Runtime, state: &LogState, progress: &mut Progress) {
        self.ready.store(false, Ordering::Release);
        tracing::warn!(provider = self.config.provider, epoch = state.epoch.get(), "the log has begun anew");
        let before = timeout(LOOK_TIMEOUT, self.before_start(runtime, state)).await;
        // Told before they end, which they do with their life.
        self.restart_all();
        // If it cannot be read now, the place at the window's start leads nowhere; all others do.
        let tip = self.take_up(state, before.ok().and_then(Result::ok).flatten());
        let asks = self.asks().begin_anew();
        for (ask, connections) in asks {
            for connection in connections {
                ask.settle(connection, AckStatus::Gone, None);
            }
        }
        *progress = Progress::new(tip, state.last);
    }
}

impl Tip {
    pub(super) fn new(position: Position, id: Option<EventId>) -> Self {
        Self { position, id: id.unwrap_or(EventId::from_bytes([0; 16])) }
    }
}

/// Takes the readiness away when the tail loop ends, by a panic too.
struct Unready<'a>(&'a AtomicBool);

impl Drop for Unready<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
