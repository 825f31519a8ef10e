use async_trait::async_trait;
use bytes::Bytes;
use futures_core::stream::BoxStream;

use crate::{Epoch, Position, Result};

/// Batches of records, oldest first and without a gap.
pub type Tail = BoxStream<'static, Result<Vec<Entry>>>;

/// What joins nodes: per subject an ordered log, and beside it a pipe that delivers at most once. Bytes only.
///
/// A backplane stays dumb: what an entry means, who gets it and what a window keeps is the dispatcher's.
#[async_trait]
pub trait Backplane: Send + Sync + 'static {
    /// Appends a record and answers its position, one past the last one's.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`] when it is certain that nobody will read the record.
    async fn append(&self, subject: &str, record: Bytes) -> Result<Position>;

    /// Up to `most` records after this position, oldest first.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn range(&self, subject: &str, after: Position, most: usize) -> Result<Vec<Entry>>;

    /// Every record after this position, those to come included; ends only with an error.
    fn tail(&self, subject: &str, after: Position) -> Tail;

    /// The log's life and extent.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn state(&self, subject: &str) -> Result<LogState>;

    /// Tells all nodes that subscribe now, this one included; may be lost.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn publish(&self, subject: &str, message: Bytes) -> Result<()>;

    /// What is published from now on.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`].
    async fn subscribe(&self, subject: &str) -> Result<BoxStream<'static, Bytes>>;
}

/// One record with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the log.
    pub position: Position,
    /// What was appended.
    pub record: Bytes,
}

/// A log's life and extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogState {
    /// Its life; another one means that positions of before mean nothing.
    pub epoch: Epoch,
    /// The newest record, or [`Position::START`].
    pub last: Position,
    /// The place before the oldest record that can still be read.
    pub start: Position,
}
