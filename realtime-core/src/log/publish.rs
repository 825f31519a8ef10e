//! The log of a process that only publishes: appends records without reading them.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio_util::sync::{CancellationToken, DropGuard};

use crate::log::backplane::AppendError;
use crate::log::feed::Feed;
use crate::log::handle::Log;
use crate::log::record::Record;
use crate::log::repeat::RepeatKey;
use crate::log::shared::Shared;
use crate::values::error::{Error, Result};
use crate::values::receipt::Receipt;

impl Log {
    /// Adds a provider that has no connections, for as long as it exists. From then on the log is
    /// not read by this node.
    pub(crate) fn join_to_publish(&self, feed: &Arc<dyn Feed>) {
        self.0.publishes.store(true, Ordering::Release);
        let mut state = self.0.state();
        let number = state.next;
        state.next += 1;
        state.known.insert(feed.provider());
        state.feeds.push((number, Arc::downgrade(feed)));
    }

    /// Returns the error of a question that only a node that reads the log can answer.
    pub(super) fn check_reads(&self, what: &'static str) -> Result<()> {
        if self.0.publishes.load(Ordering::Acquire) {
            return Err(Error::Unsupported { provider: Some("publisher".to_owned()), what });
        }
        Ok(())
    }
}

impl Shared {
    /// Appends a record, in the log's current epoch. Nothing is applied here, so the receipt has no
    /// counts.
    pub(super) async fn append_unread(&self, record: &Arc<Record>, key: Option<RepeatKey>) -> Result<Receipt> {
        let mut is_retry = false;
        loop {
            let known = self.state().epoch;
            let epoch = match known {
                Some(epoch) => epoch,
                None => self.backplane.state().await?.epoch,
            };
            self.set_epoch(epoch);
            match self.backplane.append(epoch, Arc::clone(record), key).await {
                Ok(first) => {
                    let receipt = Receipt::new(first.id, Some(first.position), None);
                    return Ok(if first.repeated { receipt.as_repeated() } else { receipt });
                }
                // Certain: nothing was appended.
                Err(AppendError::Epoch) if !std::mem::replace(&mut is_retry, true) => self.state().epoch = None,
                Err(error) => return Err(self.append_failed(error, record)),
            }
        }
    }

    /// Receives messages for this node until the guard is dropped, if no loop does.
    pub(super) async fn listen(self: &Arc<Self>) -> Result<Option<DropGuard>> {
        if !self.publishes.load(Ordering::Acquire) {
            return Ok(None);
        }
        let pipe = self.subscribe().await?;
        let stop = CancellationToken::new();
        tokio::spawn(stop.clone().run_until_cancelled_owned(Arc::clone(self).follow_pipe(pipe)));
        Ok(Some(stop.drop_guard()))
    }
}
