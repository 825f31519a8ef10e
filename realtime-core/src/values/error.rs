use crate::values::event_id::EventId;
use crate::values::refusal::Refusal;

/// A boxed source error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of an operation of these crates.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The errors of these crates.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A failure of the backplane to accept or deliver; no connection got the event.
    #[error("the backplane failed: {0}")]
    Backplane(#[source] BoxError),
    /// A provider that has been shut down; without a name all of them.
    #[error("{} shut down", one(provider, "is", "all providers are"))]
    Closed {
        /// The provider's name; none when any provider would do.
        provider: Option<String>,
    },
    /// An invalid configuration.
    #[error("invalid configuration: {0}")]
    Config(String),
    /// A known provider that this build does not contain.
    #[error("the provider \"{provider}\" needs the cargo feature \"{feature}\" of realtime-unified")]
    FeatureOff {
        /// The provider's name.
        provider: String,
        /// The feature that provides it.
        feature: &'static str,
    },
    /// A name of an event, user, tenant or room that breaks the rules (1–256 bytes, no control
    /// characters).
    #[error("invalid {what} name: {reason}")]
    InvalidName {
        /// The kind of name: `event`, `user`, `tenant`, `room`, `token`, `idempotency key`.
        what: &'static str,
        /// The rule that is broken.
        reason: &'static str,
    },
    /// A payload that could not be turned into JSON, or is not JSON.
    #[error("invalid payload: {0}")]
    InvalidPayload(#[source] BoxError),
    /// An idempotency key of another event, with another target, name or payload: no connection got
    /// this one.
    #[error("the idempotency key \"{key}\" belongs to another event")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// A state, requested by a handler, hook or policy, that the service was not given.
    #[error("no state of type {of}: add it with `.state(…)` on the builder")]
    NoState {
        /// The requested type.
        of: &'static str,
    },
    /// A provider that has not been attached to a service yet; without a name none has been.
    #[error("{} attached to a service yet", one(provider, "is not", "no provider is"))]
    NotAttached {
        /// The provider's name; none when any provider would do.
        provider: Option<String>,
    },
    /// A send for the members of a room, by a client that is not in it.
    #[error("not in the room \"{room}\"")]
    NotInRoom {
        /// The room.
        room: String,
    },
    /// No answer from the log in time: the event may still be delivered, once. A retry with the
    /// same idempotency key is safe.
    #[error("the outcome of event {id} is not known yet: it may still be delivered")]
    OutcomeUnknown {
        /// The event's id.
        id: EventId,
    },
    /// A rejected connection.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// An event name that belongs to the protocol.
    #[error("the event name \"{name}\" is reserved")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// An event larger than the provider accepts.
    #[error("the event has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// The event's size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A revocation beyond the number that may hold at a time: the token is not revoked.
    #[error("the limit of {most} revoked tokens is reached")]
    TooManyRevocations {
        /// The limit.
        most: usize,
    },
    /// A name that no provider has.
    #[error("unknown provider \"{name}\"; registered: {}", list(registered))]
    UnknownProvider {
        /// The requested name.
        name: String,
        /// The names that exist.
        registered: Vec<String>,
    },
    /// An operation that the provider does not support; without a name none does.
    #[error("{} {what}", one(provider, "does not support", "no provider supports"))]
    Unsupported {
        /// The provider's name; none when any provider would do.
        provider: Option<String>,
        /// The unsupported operation.
        what: &'static str,
    },
}

impl Error {
    /// Returns a stable word for this error, for APIs and metrics.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Backplane(_) => "backplane",
            Self::Closed { .. } => "closed",
            Self::Config(_) => "config",
            Self::FeatureOff { .. } => "feature_off",
            Self::InvalidName { .. } => "invalid_name",
            Self::InvalidPayload(_) => "invalid_payload",
            Self::KeyReused { .. } => "key_reused",
            Self::NoState { .. } => "no_state",
            Self::NotAttached { .. } => "not_attached",
            Self::NotInRoom { .. } => "not_in_room",
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::Refused(refusal) => refusal.code(),
            Self::ReservedName { .. } => "reserved_name",
            Self::TooLarge { .. } => "too_large",
            Self::TooManyRevocations { .. } => "too_many_revocations",
            Self::UnknownProvider { .. } => "unknown_provider",
            Self::Unsupported { .. } => "unsupported",
        }
    }

    /// Returns whether a client's input can be the reason: a name or a size that is not allowed, a
    /// key that the client has used, a room that it is not in, or a refusal. Everything else is the
    /// application's own mistake (its own value without a JSON form too), or a failure of the
    /// system, and is not for its clients to read.
    #[must_use]
    pub fn is_client_error(&self) -> bool {
        matches!(
            self,
            Self::InvalidName { .. }
                | Self::KeyReused { .. }
                | Self::NotInRoom { .. }
                | Self::Refused(_)
                | Self::TooLarge { .. }
        )
    }
}

/// Returns the beginning of a sentence about one provider, or about all where none is named.
fn one(provider: &Option<String>, verb: &str, all: &str) -> String {
    provider.as_ref().map_or_else(|| all.to_owned(), |name| format!("the provider \"{name}\" {verb}"))
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}

// Here, since the error of an unknown outcome has an id.
impl std::str::FromStr for EventId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text).ok_or(Error::InvalidName { what: "event", reason: "it is not an event id" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_without_a_provider_are_about_all_of_them() {
        let ws = Some("ws".to_owned());
        for (error, text) in [
            (Error::Closed { provider: ws.clone() }, "the provider \"ws\" is shut down"),
            (Error::Closed { provider: None }, "all providers are shut down"),
            (Error::NotAttached { provider: ws.clone() }, "the provider \"ws\" is not attached to a service yet"),
            (Error::NotAttached { provider: None }, "no provider is attached to a service yet"),
            (Error::Unsupported { provider: ws, what: "acks" }, "the provider \"ws\" does not support acks"),
            (Error::Unsupported { provider: None, what: "acks" }, "no provider supports acks"),
        ] {
            assert_eq!(error.to_string(), text);
        }
    }
}
