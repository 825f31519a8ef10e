use std::sync::Arc;

use async_trait::async_trait;
use futures_core::stream::BoxStream;

use crate::log::record::Record;
use crate::log::repeat::RepeatKey;
use crate::log::stored::Stored;
use crate::values::cursor::Epoch;
use crate::values::cursor_key::CursorKey;
use crate::values::error::{BoxError, Error, Result};
use crate::values::event_id::EventId;
use crate::values::position::Position;

/// Batches of records, oldest first and without a gap.
pub type Tail = BoxStream<'static, Result<Vec<Entry>>>;

/// What joins nodes: one ordered log, and beside it a pipe that delivers at most once. One value is one log.
///
/// It carries records as values; one that leaves the process takes [`Record::bytes`], and gives [`Stored::Bytes`] back. A
/// backplane stays dumb: what a record means, who gets it and what a window keeps is not its matter. It keeps a log's newest
/// record however old that is, so that its place can be told from the same place after records were lost, and the keys of
/// repetition for as long as each says, or as many as it has room for.
#[async_trait]
pub trait Backplane: Send + Sync + 'static {
    /// Appends a record, with its id, to this life of the log, and answers its position, one past the last one's. With a key
    /// that the log remembers from this life, nothing is appended: the answer is the first record's, if the content is the
    /// same. Whether it is, and the append, are one step for all nodes.
    ///
    /// May be dropped before it answers, as after [`AppendError::Unknown`].
    ///
    /// # Errors
    /// [`AppendError`]. One that is certain is only given when the record was not handed on at all, or the log has
    /// answered that it took nothing; a connection that broke, or no answer in time, is [`AppendError::Unknown`].
    async fn append(
        &self,
        epoch: Epoch,
        record: Arc<Record>,
        key: Option<RepeatKey>,
    ) -> std::result::Result<Appended, AppendError>;

    /// Appends as [`Backplane::append`] does, without waiting for anything: nothing where that cannot be, which is the default.
    /// It is what a log in this process has, so that who sends can deliver its own record. It wakes no tail: who calls it
    /// calls [`Backplane::wake_tails`], unless it has applied the record itself and the only tail is its own.
    fn append_now(
        &self,
        _epoch: Epoch,
        _record: &Arc<Record>,
        _key: Option<RepeatKey>,
    ) -> Option<std::result::Result<Appended, AppendError>> {
        None
    }

    /// Lets the tails read what [`Backplane::append_now`] has appended.
    fn wake_tails(&self) {}

    /// How many tails read what [`Backplane::append_now`] appends, those of other nodes included.
    fn tails(&self) -> usize {
        0
    }

    /// Up to `most` records after this position, oldest first; from the oldest one on if that is later.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn range(&self, after: Position, most: usize) -> Result<Vec<Entry>>;

    /// Every record after this position, those to come included; ends only with an error. A tail whose log has lost records
    /// that it has handed out does not go on with others in their places: it ends, or gives nothing.
    fn tail(&self, after: Position) -> Tail;

    /// The log's life and extent, the same for all nodes. A log without a state begins with [`LogState::begin`], and one
    /// whose stored epoch or key is missing or unreadable begins a new life: there is no state without a key.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn state(&self) -> Result<LogState>;

    /// Begins a new life of a log that has lost records, and answers the state that holds: with a new random epoch and a
    /// new random [`CursorKey`] if, all in one step,
    /// - the epoch is still the one that the caller has seen, and
    /// - this position lies beyond the end, or the record there has another id.
    ///
    /// A position whose record was dropped from the log's beginning, or [`Position::START`], begins nothing. Of two nodes
    /// that notice the loss at the same time, the second finds another epoch than the one it has seen, and gets the first
    /// one's. Whether a new life still holds records of the old one, and where its positions begin, is the log's matter.
    ///
    /// Called about once a second for the place that a node has applied, so it should cost little when nothing was lost.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn renew(&self, seen: Epoch, position: Position, id: EventId) -> Result<LogState>;

    /// Tells all nodes that subscribe now, this one included; may be lost.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn publish(&self, record: Arc<Record>) -> Result<()>;

    /// What is published from now on.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn subscribe(&self) -> Result<BoxStream<'static, Stored>>;
}

/// What an append came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Appended {
    /// The place of the record with this id.
    pub position: Position,
    /// The record's id: the one that was appended, or the first one with the same key.
    pub id: EventId,
    /// Whether an earlier record has the same key, so that nothing was appended.
    pub repeated: bool,
}

impl Appended {
    /// Creates the answer for a record that was appended.
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

/// Why an append has no position to answer.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// The log is in another life than the one that was named. Certain: nobody will ever read the record.
    #[error("the log has begun anew")]
    Epoch,
    /// The key is another record's, which says something else. Certain: nobody will ever read the record.
    #[error("the key is another record's")]
    KeyReused,
    /// The log did not take it. Certain: nobody will ever read the record.
    #[error("the log did not take the record: {0}")]
    Refused(#[source] BoxError),
    /// It is open whether the log took it: it may still be read.
    #[error("it is open whether the log took the record: {0}")]
    Unknown(#[source] BoxError),
}

impl AppendError {
    /// What the sender of the event with this id is told.
    pub fn into_error(self, id: EventId) -> Error {
        match self {
            Self::Refused(error) => Error::Backplane(error),
            Self::Epoch | Self::KeyReused => Error::Backplane(Box::new(self)),
            Self::Unknown(_) => Error::OutcomeUnknown { id },
        }
    }
}

/// One record with its place.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Entry {
    /// Its place in the log.
    pub position: Position,
    /// The id it was appended with.
    pub id: EventId,
    /// What was appended.
    pub record: Stored,
}

impl Entry {
    /// Creates an entry.
    pub fn new(position: Position, id: EventId, record: impl Into<Stored>) -> Self {
        Self { position, id, record: record.into() }
    }
}

/// A log's life and extent.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LogState {
    /// Its life; another one means that positions of before mean nothing.
    pub epoch: Epoch,
    /// The newest record, or [`Position::START`].
    pub last: Position,
    /// The place before the oldest record that can still be read.
    pub start: Position,
    /// With what the cursors of this life are made; made anew by whoever begins an epoch, and stored with it.
    pub key: CursorKey,
}

impl LogState {
    /// A new life of an empty log: a random epoch, a random key, no records.
    pub fn begin() -> Self {
        Self { epoch: Epoch::random(), last: Position::START, start: Position::START, key: CursorKey::random() }
    }
}
