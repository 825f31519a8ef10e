//! The form of a record's bytes after its header.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::values::event::Payload;

/// The form of the bytes after the header.
#[derive(Default, Serialize, Deserialize)]
pub(super) struct Shape {
    /// Set if the bytes are not JSON.
    #[serde(default, skip_serializing_if = "is_false")]
    binary: bool,
    /// The lengths of the attachments, which follow the JSON.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    attachments: Vec<u32>,
}

impl Shape {
    pub(super) fn of(payload: &Payload) -> Self {
        Self {
            binary: matches!(payload, Payload::Binary(_)),
            attachments: payload.attachments().iter().map(|bytes| bytes.len() as u32).collect(),
        }
    }

    pub(super) fn is_json(&self) -> bool {
        !self.binary && self.attachments.is_empty()
    }

    /// Reads named bytes as a payload; `None` when the lengths do not fit.
    pub(super) fn read(&self, bytes: &Bytes) -> Option<Payload> {
        if self.binary {
            return Some(Payload::Binary(bytes.clone()));
        }
        let attached: usize = self.attachments.iter().map(|length| *length as usize).sum();
        let mut at = bytes.len().checked_sub(attached)?;
        let json = bytes.slice(..at);
        if self.attachments.is_empty() {
            return Some(Payload::Json(json));
        }
        let attachments = self.attachments.iter().map(|length| {
            let from = at;
            at += *length as usize;
            bytes.slice(from..at)
        });
        Some(Payload::Attached { attachments: attachments.collect(), json })
    }
}

pub(super) fn is_false(value: &bool) -> bool {
    !value
}
