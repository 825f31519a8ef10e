use std::sync::Arc;

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio::sync::broadcast;

use crate::log::record::Record;
use crate::log::stored::Stored;

/// The number of messages that wait for one subscriber before it misses some.
const CAPACITY: usize = 1024;

/// The pipe of a log that is in one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalPipe(broadcast::Sender<Arc<Record>>);

impl Default for LocalPipe {
    fn default() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }
}

impl LocalPipe {
    /// Passes a record to the current subscribers, if there are any.
    pub fn publish(&self, record: Arc<Record>) {
        // An error only means that there is no subscriber, which is no failure of a pipe that may
        // lose.
        let _ = self.0.send(record);
    }

    /// Returns the records that are published after this call.
    #[must_use]
    pub fn subscribe(&self) -> BoxStream<'static, Stored> {
        let messages = stream::unfold(self.0.subscribe(), |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok(record) => return Some((Stored::Value(record), receiver)),
                    Err(broadcast::error::RecvError::Lagged(missed)) => {
                        tracing::debug!(missed, "the pipe was read too slowly");
                    }
                    Err(broadcast::error::RecvError::Closed) => return None,
                }
            }
        });
        messages.boxed()
    }
}
