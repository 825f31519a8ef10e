use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;

use crate::log::backplane::{AppendResult, Backplane, Entry, LogState, Tail};
use crate::log::memory::bounds::LogBounds;
use crate::log::memory::log::MemoryLog;
use crate::log::memory::pipe::LocalPipe;
use crate::log::record::Record;
use crate::log::repeat::RepeatKey;
use crate::log::revocations::RevocationTable;
use crate::log::room_table::RoomTable;
use crate::log::stored::Stored;
use crate::values::cursor::Epoch;
use crate::values::error::Result;
use crate::values::event_id::EventId;
use crate::values::log_size::LogSize;
use crate::values::node::NodeId;
use crate::values::position::Position;
use crate::values::revocation::Revocation;

/// The log and pipe of nodes that share this value; usually one. Records stay values.
///
/// A record is kept until every tail has read it and then as long as there is room, so that a node
/// that starts later can fill its window. While the slowest tail is a whole log behind, `append`
/// waits for it. The rooms that users were joined to are kept without a bound of their own.
#[derive(Clone, Debug)]
pub struct MemoryBackplane {
    log: MemoryLog,
    pipe: LocalPipe,
    revoked: Arc<RevocationTable>,
}

impl Default for MemoryBackplane {
    fn default() -> Self {
        Self::new(10_000)
    }
}

impl MemoryBackplane {
    /// Creates a backplane that keeps this many records (at least one), and 64 MiB of them.
    #[must_use]
    pub fn new(records: usize) -> Self {
        let bounds = LogBounds::new(records, 64 * 1024 * 1024);
        let log = MemoryLog::new(bounds, &LogState::begin(), RoomTable::default());
        Self { log, pipe: LocalPipe::default(), revoked: Arc::default() }
    }

    /// Sets the number of bytes of records to keep; a larger record is kept alone.
    #[must_use]
    pub fn with_bytes(self, bytes: usize) -> Self {
        self.log.set_bounds(|bounds| bounds.bytes = bytes);
        self
    }

    /// Sets the number of idempotency keys to remember (at least one), whether or not their records
    /// are still there; default 100,000 (up to 12 MiB).
    #[must_use]
    pub fn with_keys(self, keys: usize) -> Self {
        self.log.set_bounds(|bounds| bounds.keys = keys);
        self
    }

    /// Creates another log with the records of this one up to a position, like a backup that was
    /// made then: it has the same epoch, and records that are appended to one of them are not in
    /// the other.
    #[must_use]
    pub fn copy_up_to(&self, last: Position) -> Self {
        Self { log: self.log.copy_up_to(last), pipe: LocalPipe::default(), revoked: Arc::default() }
    }
}

#[async_trait]
impl Backplane for MemoryBackplane {
    async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
        self.log.append(epoch, &record, key.as_ref()).await
    }

    fn append_now(&self, epoch: Epoch, record: &Arc<Record>, key: Option<RepeatKey>) -> Option<AppendResult> {
        self.log.try_append(epoch, record, key.as_ref())
    }

    fn wake_tails(&self) {
        self.log.wake_tails();
    }

    fn tails(&self) -> usize {
        self.log.tails()
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        Ok(self.log.range(after, most))
    }

    fn tail(&self, after: Position) -> Tail {
        self.log.tail(after)
    }

    async fn state(&self) -> Result<LogState> {
        Ok(self.log.state())
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        Ok(self.log.renew(seen, position, id))
    }

    async fn rooms(&self, at: Position) -> Result<RoomTable> {
        Ok(self.log.rooms(at))
    }

    async fn revoke(&self, revocation: &Revocation, most: usize) -> Result<()> {
        self.revoked.add_within(revocation, most)
    }

    async fn revoked(&self) -> Result<Vec<Revocation>> {
        Ok(self.revoked.all())
    }

    async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()> {
        self.pipe.publish(record, to);
        Ok(())
    }

    async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>> {
        Ok(self.pipe.subscribe(node))
    }

    async fn probe(&self) -> Result<()> {
        Ok(())
    }

    async fn size(&self) -> Result<Option<LogSize>> {
        Ok(Some(self.log.size()))
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::StreamExt;

    use super::*;
    use crate::values::event::Event;
    use crate::values::target::Target;

    async fn append(backplane: &MemoryBackplane, payload: impl Into<Bytes>) -> Position {
        let epoch = backplane.state().await.unwrap().epoch;
        let event = Event::binary("e", payload.into()).unwrap();
        let record = Record::of_event(EventId::random(), Target::all(), event);
        backplane.append(epoch, record.into(), None).await.unwrap().position
    }

    #[tokio::test]
    async fn slow_tail_holds_appends_back_and_loses_nothing() {
        let backplane = MemoryBackplane::new(10);
        let mut tail = backplane.tail(Position::START);
        let writer = tokio::spawn({
            let backplane = backplane.clone();
            async move {
                for i in 0..1000u32 {
                    append(&backplane, i.to_string()).await;
                }
            }
        });
        let mut seen = Vec::new();
        while seen.len() < 1000 {
            seen.extend(tail.next().await.unwrap().unwrap());
            tokio::task::yield_now().await;
        }
        writer.await.unwrap();
        for (i, entry) in seen.iter().enumerate() {
            assert_eq!(entry.position.get(), i as u64 + 1);
            let record = entry.record.decode().unwrap();
            assert_eq!(record.event().unwrap().1.payload().bytes(), &i.to_string());
        }
    }

    #[tokio::test]
    async fn append_waits_while_the_slowest_tail_is_a_log_behind() {
        let backplane = MemoryBackplane::new(2);
        let tail = backplane.tail(Position::START);
        for _ in 0..2 {
            append(&backplane, "x").await;
        }
        let mut blocked = Box::pin(append(&backplane, "y"));
        assert!(futures_util::poll!(blocked.as_mut()).is_pending());
        drop(tail);
        assert_eq!(blocked.await, Position::new(3));
        assert_eq!(backplane.state().await.unwrap().start, Position::new(1));
    }

    #[tokio::test]
    async fn bytes_are_bounded_and_a_larger_record_is_kept_alone() {
        let backplane = MemoryBackplane::new(100).with_bytes(10_000);
        for size in [4_000, 4_000, 4_000, 50_000] {
            append(&backplane, vec![0; size]).await;
        }
        assert_eq!(backplane.state().await.unwrap().start, Position::new(3));
        append(&backplane, "x").await;
        assert_eq!(backplane.state().await.unwrap().start, Position::new(4));
    }

    #[tokio::test(start_paused = true)]
    async fn size_is_that_of_the_records_that_are_kept() {
        let backplane = MemoryBackplane::new(3);
        assert_eq!(backplane.size().await.unwrap(), Some(LogSize::new(0, 0, None)));
        for _ in 0..5 {
            append(&backplane, vec![0; 1_000]).await;
            tokio::time::advance(std::time::Duration::from_secs(1)).await;
        }
        let size = backplane.size().await.unwrap().unwrap();
        assert!(size.records == 3 && size.bytes > 3_000 && size.bytes < 6_000, "{size:?}");
        assert_eq!(size.age.unwrap().as_secs(), 3);
    }

    #[tokio::test]
    async fn new_backplanes_have_different_epochs() {
        let [one, two] = [MemoryBackplane::default(), MemoryBackplane::default()];
        assert_ne!(one.state().await.unwrap().epoch, two.state().await.unwrap().epoch);
    }
}
