//! Records as a backplane returns them.

use std::sync::Arc;

use bytes::Bytes;

use crate::log::envelope::{self, EnvelopeError};
use crate::log::record::Record;

/// A record as a backplane returns it: the value that was appended, if it is still in this process,
/// or its bytes.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Stored {
    /// The record itself.
    Value(Arc<Record>),
    /// The bytes of [`Record::bytes`]; readers skip anything else that is in the log.
    Bytes(Bytes),
}

/// The reason why bytes are not a record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(transparent)]
#[non_exhaustive]
pub struct RecordError(EnvelopeError);

impl RecordError {
    /// Returns whether a node that cannot read the record may go on without it.
    #[must_use]
    pub fn is_skippable(&self) -> bool {
        !matches!(self.0, EnvelopeError::Version { .. })
    }
}

impl Stored {
    /// Returns the record.
    ///
    /// # Errors
    /// [`RecordError`] when this build cannot read the bytes.
    pub fn decode(&self) -> Result<Arc<Record>, RecordError> {
        match self {
            Self::Value(record) => Ok(Arc::clone(record)),
            Self::Bytes(bytes) => envelope::decode(bytes).map(Arc::new).map_err(RecordError),
        }
    }

    /// Returns the record's bytes.
    pub fn bytes(&self) -> &Bytes {
        match self {
            Self::Value(record) => record.bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }

    /// Writes the record's bytes behind others. A record that is kept as a value is encoded for
    /// this alone: it does not keep its bytes too.
    pub fn write_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Value(record) => record.write_to(bytes),
            Self::Bytes(own) => bytes.extend_from_slice(own),
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

impl From<Arc<Record>> for Stored {
    fn from(record: Arc<Record>) -> Self {
        Self::Value(record)
    }
}
