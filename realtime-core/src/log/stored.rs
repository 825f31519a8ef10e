//! A record as a backplane gives it back.

use std::sync::Arc;

use bytes::Bytes;

use crate::log::envelope::{self, EnvelopeError};
use crate::log::record::Record;

/// A record as a backplane gives it back: the value that was appended, where that is still in this process, or its bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stored {
    /// The record itself.
    Value(Arc<Record>),
    /// What [`Record::bytes`] gave; whatever else is in the log is skipped by its readers.
    Bytes(Bytes),
}

/// Why bytes are no record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub struct RecordError(EnvelopeError);

impl Stored {
    /// The record.
    ///
    /// # Errors
    /// [`RecordError`] when the bytes are none that this build knows.
    pub fn decode(&self) -> Result<Arc<Record>, RecordError> {
        match self {
            Self::Value(record) => Ok(Arc::clone(record)),
            Self::Bytes(bytes) => envelope::decode(bytes).map(Arc::new).map_err(RecordError),
        }
    }

    /// The record's bytes.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Value(record) => record.bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Value(one), Self::Value(other)) => Arc::ptr_eq(one, other) || one == other,
            _ => self.bytes() == other.bytes(),
        }
    }
}

impl From<Bytes> for Stored {
    fn from(bytes: Bytes) -> Self {
        Self::Bytes(bytes)
    }
}
