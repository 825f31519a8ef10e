//! The task that finds the events whose users were offline, and calls the sink for them.
//!
//! One node does it at a time: the one that has written the newest checkpoint into the log, as long
//! as it has a lease. It looks at each record for a user when that has been in the log for the
//! delay, and calls the sink unless a connection got it. What waits is in the log, which is read in
//! pages; only what is under way is in memory.

mod call;
mod decide;
mod leader;
mod work;
mod worker;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::task::{AbortHandle, JoinHandle};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::delivery::offline::worker::{Progress, Worker};
use crate::log::handle::Log;
use crate::traits::offline::OfflineSink;
use crate::values::offline_config::OfflineConfig;

/// The longest time that the beginning takes.
const BEGIN: Duration = Duration::from_secs(2);
/// The longest time that the end takes in all.
const END: Duration = Duration::from_secs(10);

/// The task of one node that calls an [`OfflineSink`]; ends when it is dropped.
#[derive(Debug)]
pub struct OfflineWorker {
    stop: CancellationToken,
    task: Mutex<Option<JoinHandle<()>>>,
    abort: AbortHandle,
    shared: Arc<Progress>,
    log: Log,
}

impl OfflineWorker {
    /// Starts to call the sink for what users of this log miss, as soon as the log is read: call it
    /// before a provider is attached. The log's node has to say that it has a sink
    /// ([`NodeInfo::with_offline_sink`](crate::NodeInfo::with_offline_sink)).
    #[must_use]
    pub fn start(log: &Log, sink: Arc<dyn OfflineSink>, config: OfflineConfig) -> Self {
        let (stop, shared) = (CancellationToken::new(), Arc::new(Progress::default()));
        let task = tokio::spawn(Worker::new(log.clone(), sink, config, Arc::clone(&shared)).run(stop.clone()));
        Self { stop, abort: task.abort_handle(), task: Mutex::new(Some(task)), shared, log: log.clone() }
    }

    /// Waits until it is known which node decides, for 2 s at most: nothing that is sent from then
    /// on is missed, however soon this process ends. To be called when the log is read.
    pub async fn begin(&self) {
        if !self.log.is_up() {
            return;
        }
        let mut begun = self.shared.begun.subscribe();
        self.shared.asked.notify_one();
        let _ = timeout(BEGIN, begun.wait_for(|begun| *begun)).await;
    }

    /// Stops, after the calls under way, for which it waits 5 s at most; another node, or the next
    /// process, goes on where this one ends. To be called while the log is still read.
    pub async fn stop(&self) {
        self.stop.cancel();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = timeout(END, task).await;
        }
    }
}

impl Drop for OfflineWorker {
    fn drop(&mut self) {
        self.abort.abort();
    }
}
