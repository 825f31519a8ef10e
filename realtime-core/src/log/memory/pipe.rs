use std::sync::Arc;

use futures_core::stream::BoxStream;
use futures_util::{StreamExt, stream};
use tokio::sync::broadcast;

use crate::log::record::Record;
use crate::log::stored::Stored;
use crate::values::node::NodeId;

/// The number of messages that wait for one subscriber before it misses some.
const CAPACITY: usize = 1024;

/// The pipe of a log that is in one process. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LocalPipe(broadcast::Sender<Message>);

/// A record, and the node that it is for; all nodes without one.
type Message = (Arc<Record>, Option<NodeId>);

impl Default for LocalPipe {
    fn default() -> Self {
        Self(broadcast::channel(CAPACITY).0)
    }
}

impl LocalPipe {
    /// Passes a record to the current subscribers, if there are any: to all, or to one node's.
    pub fn publish(&self, record: Arc<Record>, to: Option<NodeId>) {
        // An error only means that there is no subscriber, which is no failure of a pipe that may
        // lose.
        let _ = self.0.send((record, to));
    }

    /// Returns the records that are published after this call to all nodes, or to this one.
    #[must_use]
    pub fn subscribe(&self, node: NodeId) -> BoxStream<'static, Stored> {
        let messages = stream::unfold(self.0.subscribe(), move |mut receiver| async move {
            loop {
                match receiver.recv().await {
                    Ok((_, Some(to))) if to != node => {}
                    Ok((record, _)) => return Some((Stored::Value(record), receiver)),
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
