//! Clients that are ahead of this node: another one gave them a cursor of a record that this one
//! has not read yet.

use std::time::Duration;

use crate::delivery::dispatcher::Dispatcher;
use crate::traits::codec::Codec;
use crate::values::cursor::Cursor;
use crate::values::position::Position;
use crate::values::refusal::{Refusal, RefusalKind};

/// The time that this node may take to read up to the position of a client.
const CATCH_UP: Duration = Duration::from_secs(5);

impl<C: Codec> Dispatcher<C> {
    /// Waits until this node has read up to the position of a presented cursor, if the log reaches
    /// that far: only beyond the log's end has the log lost something.
    ///
    /// # Errors
    /// [`RefusalKind::Unavailable`] when it does not in time, or the log does not say how far it
    /// reaches: the client keeps its cursor, and tries again.
    pub(super) async fn catch_up_with(&self, cursor: Option<&str>) -> Result<(), Refusal> {
        let Some(runtime) = self.runtime.get().filter(|_| self.unread(cursor).is_some()) else { return Ok(()) };
        let read = async {
            let state = runtime.log.state_when_answered().await;
            let is_in_log = |position| state.epoch == self.signer().epoch() && position <= state.last;
            if self.unread(cursor).is_some_and(is_in_log) {
                runtime.log.until_read(|| self.unread(cursor).is_none()).await;
            }
        };
        let read = tokio::time::timeout(CATCH_UP, read).await;
        read.map_err(|_| Refusal::new(RefusalKind::Unavailable, "this node has not caught up with your cursor yet"))
    }

    /// Returns the position of a genuine cursor of this life that this node has not read up to.
    fn unread(&self, cursor: Option<&str>) -> Option<Position> {
        let cursor: Cursor = cursor?.parse().ok()?;
        let signer = self.signer();
        let is_ahead =
            cursor.epoch() == signer.epoch() && cursor.position() > self.hub.applied() && signer.verify(&cursor);
        is_ahead.then_some(cursor.position())
    }
}
