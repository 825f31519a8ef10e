//! The extent of the log, for clients that have read more than this node has.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::log::backoff::Backoff;
use crate::log::backplane::{Backplane, LogState};

/// The longest time that one question may take.
const ANSWER: Duration = Duration::from_secs(2);
/// The longest delay before a log that does not answer is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// Those who wait for the log's state. They share one question at a time, so that a log that is
/// slow or away is not asked by each of a node's clients.
#[derive(Default)]
pub(super) struct Extent(Mutex<Waiting>);

#[derive(Default)]
struct Waiting {
    /// Those who came after the question that is under way began: the log may have grown since.
    next: Vec<oneshot::Sender<LogState>>,
    /// `true` while a task asks.
    is_asked: bool,
}

impl Extent {
    /// Returns a state that the log had after this call began, as soon as the log answers.
    pub(super) async fn state(self: &Arc<Self>, backplane: &Arc<dyn Backplane>) -> LogState {
        let (waits, answer) = oneshot::channel();
        let is_first = {
            let mut waiting = self.lock();
            waiting.next.push(waits);
            !std::mem::replace(&mut waiting.is_asked, true)
        };
        if is_first {
            tokio::spawn(ask(Arc::clone(self), Arc::clone(backplane)));
        }
        match answer.await {
            Ok(state) => state,
            // Only a runtime that ends drops the task.
            Err(_) => std::future::pending().await,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns those who wait for a question that begins now; `None` if nobody does, which ends the
    /// task that asks.
    fn take(&self) -> Option<Vec<oneshot::Sender<LogState>>> {
        let mut waiting = self.lock();
        waiting.next.retain(|waits| !waits.is_closed());
        waiting.is_asked = !waiting.next.is_empty();
        waiting.is_asked.then(|| std::mem::take(&mut waiting.next))
    }
}

/// Asks until nobody waits.
async fn ask(extent: Arc<Extent>, backplane: Arc<dyn Backplane>) {
    let mut backoff = Backoff::new(RETRY);
    while let Some(waiting) = extent.take() {
        // Without an answer the others still wait: a backplane that panics has not answered.
        let question = async { timeout(ANSWER, backplane.state()).await };
        let asked = AssertUnwindSafe(question).catch_unwind().await;
        if let Ok(Ok(Ok(state))) = asked {
            backoff.reset();
            for waits in waiting {
                // The other side has given up.
                let _ = waits.send(state.clone());
            }
        } else {
            extent.lock().next.extend(waiting);
            backoff.wait().await;
        }
    }
}
