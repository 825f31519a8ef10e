use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;

use crate::log::record::Record;
use crate::log::repeat::RepeatKey;
use crate::log::room_table::RoomTable;
use crate::log::stored::Stored;
use crate::values::cursor::Epoch;
use crate::values::cursor_key::CursorKey;
use crate::values::error::{BoxError, Error, Result};
use crate::values::event_id::EventId;
use crate::values::log_size::LogSize;
use crate::values::node::NodeId;
use crate::values::position::Position;
use crate::values::revocation::Revocation;

/// Batches of records, oldest first and without a gap.
pub type Tail = BoxStream<'static, Result<Vec<Entry>>>;

/// The connection between nodes: one ordered log, and in addition a pipe that delivers at most
/// once. One value is one log.
///
/// Records are passed as values; a backplane that leaves the process takes [`Record::bytes`], and
/// returns [`Stored::Bytes`]. A backplane does not interpret records: their meaning, their
/// recipients and the contents of a window are not its concern. A backplane keeps a log's newest
/// record however old that is, so that its position can be told from the same position after
/// records were lost, and the idempotency keys for as long as each says, or as many as there is
/// room for.
#[async_trait]
pub trait Backplane: Send + Sync + 'static {
    /// Appends a record, with its id, in this epoch of the log, and returns its position, one past
    /// the last one. With a key that the log remembers from this epoch, nothing is appended: the
    /// answer is the first record's, if the content is the same. The check of the key and the
    /// append are one step for all nodes.
    ///
    /// Callers may drop the future before it completes; the outcome is then that of
    /// [`AppendError::Unknown`].
    ///
    /// # Errors
    /// [`AppendError`]. A certain error is only returned when the record was not sent at all, or
    /// the log has answered that it appended nothing; a broken connection, or no answer in time, is
    /// [`AppendError::Unknown`].
    async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult;

    /// Appends as [`Backplane::append`] does, without waiting for anything; returns `None` where
    /// that is not possible, as by default. A log in this process implements it, so that a sender
    /// can deliver its own record. Wakes no tail: the caller calls [`Backplane::wake_tails`],
    /// unless it has applied the record itself and the only tail is its own.
    fn append_now(&self, _epoch: Epoch, _record: &Arc<Record>, _key: Option<RepeatKey>) -> Option<AppendResult> {
        None
    }

    /// Lets the tails read the records that [`Backplane::append_now`] has appended.
    fn wake_tails(&self) {}

    /// Returns the number of tails that read the log in this process, those of other nodes
    /// included; 0, the default, for a log that other processes read too.
    fn tails(&self) -> usize {
        0
    }

    /// Returns up to `most` records after this position, oldest first; from the oldest one on if
    /// that is later.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>>;

    /// Returns every record after this position, future ones included; ends only with an error. A
    /// tail whose log has lost records that it has returned does not go on with others at their
    /// positions: it ends, or returns nothing.
    fn tail(&self, after: Position) -> Tail;

    /// Returns the log's epoch, key and extent, the same for all nodes. A log without a state
    /// begins with [`LogState::begin`], and one whose stored epoch or key is missing or unreadable
    /// begins a new epoch: there is no state without a key.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn state(&self) -> Result<LogState>;

    /// Begins a new epoch of a log that has lost records, and returns the current state: with a new
    /// random epoch and a new random [`CursorKey`] if, all in one step,
    /// - the epoch is still the one that the caller has seen, and
    /// - this position lies beyond the end, or the record there has another id.
    ///
    /// A position whose record was dropped from the log's beginning, or [`Position::START`], begins
    /// nothing. Of two nodes that notice the loss at the same time, the second finds another epoch
    /// than the one it has seen, and gets the first one's. The log decides whether a new epoch
    /// still holds records of the old one, and where its positions begin.
    ///
    /// Called about once a second for the position that a node has applied, so it should cost
    /// little when nothing was lost.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState>;

    /// Returns the rooms that users were joined to at a position, or at the log's start if that is
    /// later: what the records up to it make, those that the log no longer holds included.
    ///
    /// A node asks when it begins to read after that position.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn rooms(&self, at: Position) -> Result<RoomTable>;

    /// Stores that a token is revoked, beside the log and whatever its epoch; of two revocations of
    /// a token the later end counts. Those that are over are forgotten.
    ///
    /// # Errors
    /// [`crate::Error::TooManyRevocations`] when `most` others hold; [`crate::Error::Backplane`],
    /// as by default for a backplane that cannot store them.
    async fn revoke(&self, revocation: &Revocation, most: usize) -> Result<()> {
        let _ = (revocation, most);
        Err(Error::Backplane("this backplane does not store revoked tokens".into()))
    }

    /// Returns the revocations that are stored; by default none. Those that are over may be among
    /// them.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn revoked(&self) -> Result<Vec<Revocation>> {
        Ok(Vec::new())
    }

    /// Publishes a record to all nodes that subscribe now, this one included, or to one of them;
    /// may be lost.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()>;

    /// Returns the records that are published after this call to all nodes, or to this one; a
    /// backplane that cannot tell them apart may return those for other nodes too.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>>;

    /// Writes something small and reads it back, over the connections that appends and the tail
    /// use: a log that answers, and cannot be written, fails. Called about once a second.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn probe(&self) -> Result<()>;

    /// Returns what the log holds, for metrics; `None`, the default, if that is not known. Called
    /// about every five seconds, and only with the feature `metrics`.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn size(&self) -> Result<Option<LogSize>> {
        Ok(None)
    }
}

#[async_trait]
impl<T: Backplane + ?Sized> Backplane for Arc<T> {
    async fn append(&self, epoch: Epoch, record: Arc<Record>, key: Option<RepeatKey>) -> AppendResult {
        (**self).append(epoch, record, key).await
    }

    fn append_now(&self, epoch: Epoch, record: &Arc<Record>, key: Option<RepeatKey>) -> Option<AppendResult> {
        (**self).append_now(epoch, record, key)
    }

    fn wake_tails(&self) {
        (**self).wake_tails();
    }

    fn tails(&self) -> usize {
        (**self).tails()
    }

    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>> {
        (**self).range(after, most).await
    }

    fn tail(&self, after: Position) -> Tail {
        (**self).tail(after)
    }

    async fn state(&self) -> Result<LogState> {
        (**self).state().await
    }

    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState> {
        (**self).renew(seen, position, id).await
    }

    async fn rooms(&self, at: Position) -> Result<RoomTable> {
        (**self).rooms(at).await
    }

    async fn revoke(&self, revocation: &Revocation, most: usize) -> Result<()> {
        (**self).revoke(revocation, most).await
    }

    async fn revoked(&self) -> Result<Vec<Revocation>> {
        (**self).revoked().await
    }

    async fn publish(&self, record: Arc<Record>, to: Option<NodeId>) -> Result<()> {
        (**self).publish(record, to).await
    }

    async fn subscribe(&self, node: NodeId) -> Result<BoxStream<'static, Stored>> {
        (**self).subscribe(node).await
    }

    async fn probe(&self) -> Result<()> {
        (**self).probe().await
    }

    async fn size(&self) -> Result<Option<LogSize>> {
        (**self).size().await
    }
}

/// The outcome of an append.
pub type AppendResult = std::result::Result<Appended, AppendError>;

/// The outcome of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The position of the record with this id.
    pub position: Position,
    /// The record's id: the one that was appended, or the first one with the same key.
    pub id: EventId,
    /// `true` if an earlier record has the same key, so that nothing was appended.
    pub repeated: bool,
}

impl Appended {
    /// Creates the answer for a record that was appended.
    #[must_use]
    pub fn new(position: Position, id: EventId) -> Self {
        Self { position, id, repeated: false }
    }

    /// Marks the answer as that of an earlier record with the same key: nothing was appended.
    #[must_use]
    pub fn as_repeated(mut self) -> Self {
        self.repeated = true;
        self
    }
}

/// The reason why an append has no position to return.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// An epoch that is no longer the log's. Certain: no node will ever read the record.
    #[error("the log has a new epoch")]
    Epoch,
    /// A key of another record with different content. Certain: no node will ever read the record.
    #[error("the idempotency key belongs to another record")]
    KeyReused,
    /// A record that the log did not append. Certain: no node will ever read the record.
    #[error("the log rejected the record: {0}")]
    Refused(#[source] BoxError),
    /// An unknown outcome: the log may have appended the record, which may still be read.
    #[error("it is unknown whether the log appended the record: {0}")]
    Unknown(#[source] BoxError),
}

impl AppendError {
    /// Converts the error into the one that the sender of the event with this id gets.
    #[must_use]
    pub fn into_error(self, id: EventId) -> Error {
        match self {
            Self::Refused(error) => Error::Backplane(error),
            Self::Epoch | Self::KeyReused => Error::Backplane(Box::new(self)),
            Self::Unknown(_) => Error::OutcomeUnknown { id },
        }
    }
}

/// One record with its position.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// The position in the log.
    pub position: Position,
    /// The id of the appended record.
    pub id: EventId,
    /// The record.
    pub record: Stored,
}

impl Entry {
    /// Creates an entry.
    pub fn new(position: Position, id: EventId, record: impl Into<Stored>) -> Self {
        Self { position, id, record: record.into() }
    }
}

/// A log's epoch, key and extent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogState {
    /// The epoch; positions of another epoch have no meaning in this one.
    pub epoch: Epoch,
    /// The position of the newest record, or [`Position::START`].
    pub last: Position,
    /// The position before the oldest record that can still be read.
    pub start: Position,
    /// The key that signs the cursors of this epoch; created together with a new epoch, and stored
    /// with it.
    pub key: CursorKey,
}

impl LogState {
    /// Creates the state of an empty log: a random epoch, a random key, no records.
    #[must_use]
    pub fn begin() -> Self {
        Self { epoch: Epoch::random(), last: Position::START, start: Position::START, key: CursorKey::random() }
    }
}
