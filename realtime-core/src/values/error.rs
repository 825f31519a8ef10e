use crate::values::event_id::EventId;
use crate::values::refusal::Refusal;

/// A boxed source error.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// What an operation of these crates returns.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Everything that can go wrong, by meaning.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The backplane did not accept or deliver; nobody got the event.
    #[error("the backplane failed: {0}")]
    Backplane(#[source] BoxError),
    /// The provider has been shut down.
    #[error("the provider \"{provider}\" is shut down")]
    Closed {
        /// The provider's name.
        provider: String,
    },
    /// Something in the configuration cannot work.
    #[error("invalid configuration: {0}")]
    Config(String),
    /// The provider is known, but this build does not contain it.
    #[error("the provider \"{provider}\" needs the cargo feature \"{feature}\" of realtime-unified")]
    FeatureOff {
        /// The provider's name.
        provider: String,
        /// The feature that brings it.
        feature: &'static str,
    },
    /// A name of an event, user, tenant or room breaks the rules (1–256 bytes, no control characters).
    #[error("invalid {what} name: {reason}")]
    InvalidName {
        /// What the name was for: `event`, `user`, `tenant`, `room`, `idempotency key`.
        what: &'static str,
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// The payload could not be turned into JSON, or is not JSON.
    #[error("invalid payload: {0}")]
    InvalidPayload(#[source] BoxError),
    /// Another event had this idempotency key, with another target, name or payload: nobody got this one.
    #[error("the idempotency key \"{key}\" was another event's")]
    KeyReused {
        /// The key.
        key: String,
    },
    /// A handler, hook or policy asked for a state that the service was not given.
    #[error("the service has no state of the type {of}: it is given to the builder by state(…)")]
    NoState {
        /// The type asked for.
        of: &'static str,
    },
    /// The provider has not been attached to a service yet.
    #[error("the provider \"{provider}\" is not attached to a service yet")]
    NotAttached {
        /// The provider's name.
        provider: String,
    },
    /// The log did not answer in time: the event may still be delivered, once. A retry with the
    /// same idempotency key is safe.
    #[error("the outcome of event {id} is not known yet: it may still be delivered")]
    OutcomeUnknown {
        /// The event's id.
        id: EventId,
    },
    /// A connection was refused.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The event's name belongs to the protocol.
    #[error("the event name \"{name}\" is reserved")]
    ReservedName {
        /// The name.
        name: String,
    },
    /// The event is larger than the provider accepts.
    #[error("the event has {size} bytes, the limit is {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// No provider has this name.
    #[error("unknown provider \"{name}\"; registered: {}", list(registered))]
    UnknownProvider {
        /// The name asked for.
        name: String,
        /// The names that exist.
        registered: Vec<String>,
    },
    /// The provider cannot do this.
    #[error("the provider \"{provider}\" does not support {what}")]
    Unsupported {
        /// The provider's name.
        provider: String,
        /// What was asked of it.
        what: &'static str,
    },
}

impl Error {
    /// A stable word for this error, for APIs and metrics.
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
            Self::OutcomeUnknown { .. } => "outcome_unknown",
            Self::Refused(refusal) => refusal.kind().code(),
            Self::ReservedName { .. } => "reserved_name",
            Self::TooLarge { .. } => "too_large",
            Self::UnknownProvider { .. } => "unknown_provider",
            Self::Unsupported { .. } => "unsupported",
        }
    }

    /// Whether what a client sent can be the reason: a name or a size that is not allowed, a key that it has used, or a refusal. Everything else is the
    /// application's own mistake (a value of its own without a JSON form too), or a failure of the system, and is not for its
    /// clients to read.
    pub fn is_client_error(&self) -> bool {
        matches!(self, Self::InvalidName { .. } | Self::KeyReused { .. } | Self::Refused(_) | Self::TooLarge { .. })
    }
}

fn list(names: &[String]) -> String {
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
