use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::delivery::offline::work::Work;
use crate::log::handle::Log;
use crate::log::offline::seen::Seen;
use crate::log::offline::state::Offline;
use crate::traits::offline::OfflineSink;
use crate::values::node::NodeInfo;
use crate::values::offline_config::OfflineConfig;
use crate::values::position::Position;

/// The interval at which records become due, and this node looks whether it has to decide.
const TICK: Duration = Duration::from_millis(500);
/// The time that calls under way have when the service ends.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// The signals to the task, and the progress that it has made.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Notified when the task is to look at the log before its next tick.
    pub(super) asked: Notify,
    /// Set once the task knows which node decides.
    pub(super) begun: watch::Sender<bool>,
}

/// The state of the task.
pub(super) struct Worker {
    pub(super) log: Log,
    pub(super) offline: Arc<Offline>,
    pub(super) sink: Arc<dyn OfflineSink>,
    pub(super) config: OfflineConfig,
    pub(super) seen: Seen,
    /// The nodes that have a lease, and when the directory said so; `None` before it did.
    pub(super) nodes: Option<(Vec<NodeInfo>, Instant)>,
    /// Since when the log is read and can be written.
    pub(super) up_since: Option<Instant>,
    /// The time of the last message to the other nodes.
    pub(super) shared_at: Option<Instant>,
    /// The life of the log that the positions are of.
    pub(super) life: u64,
    /// Set once the newest checkpoint of this life was looked for.
    pub(super) has_searched: bool,
    /// Set while this node decides.
    pub(super) work: Option<Work>,
    /// The last position that is due.
    pub(super) due: Position,
    pub(super) calls: JoinSet<Position>,
    pub(super) shared: Arc<Progress>,
}

impl Worker {
    pub(super) fn new(log: Log, sink: Arc<dyn OfflineSink>, config: OfflineConfig, shared: Arc<Progress>) -> Self {
        let offline = log.watch_offline();
        Self {
            log,
            life: offline.life(),
            offline,
            sink,
            config,
            seen: Seen::default(),
            nodes: None,
            up_since: None,
            shared_at: None,
            has_searched: false,
            work: None,
            due: Position::START,
            calls: JoinSet::new(),
            shared,
        }
    }

    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut ticks = interval(TICK);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut has_more = false;
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                _ = ticks.tick() => self.tick().await,
                () = self.shared.asked.notified() => self.tick().await,
                Some(done) = self.calls.join_next() => self.finish(done.ok()),
                () = tokio::task::yield_now(), if has_more => {}
            }
            has_more = self.decide().await;
        }
        self.end().await;
    }

    /// Forgets a call that has an outcome.
    fn finish(&mut self, done: Option<Position>) {
        if let (Some(position), Some(work)) = (done, &mut self.work) {
            work.finish(position);
        }
    }

    /// Waits for the calls under way, and hands the rest over.
    async fn end(mut self) {
        let deadline = Instant::now() + LAST_CALLS;
        while let Ok(Some(done)) = tokio::time::timeout_at(deadline, self.calls.join_next()).await {
            self.finish(done.ok());
        }
        if let Err(error) = self.hand_over().await {
            tracing::debug!(%error, "what offline users missed was not handed over");
        }
    }
}
