use std::time::Duration;

use crate::values::event::Payload;

/// The result of a refresh of a connection's credentials.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refreshed {
    /// The time until the new credentials end; `None` if they do not.
    pub expires_in: Option<Duration>,
}

impl Refreshed {
    /// Creates the result for credentials that end after this time.
    #[must_use]
    pub fn new(expires_in: Option<Duration>) -> Self {
        Self { expires_in }
    }

    /// Returns the answer that a client gets: `{"expiresInMs"}`, `null` in it if the credentials do
    /// not end.
    #[must_use]
    pub fn to_json(self) -> serde_json::Value {
        serde_json::json!({ "expiresInMs": self.expires_in.map(|left| left.as_millis() as u64) })
    }
}

impl From<Refreshed> for Payload {
    fn from(refreshed: Refreshed) -> Self {
        Self::Json(refreshed.to_json().to_string().into())
    }
}
