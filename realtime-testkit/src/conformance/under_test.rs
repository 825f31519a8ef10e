use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::{ConnectionId, RealtimeProvider, RefusalKind};
use serde_json::Value;

use super::{Setup, Visitor};

/// A provider as the suite uses it, served on loopback or created in memory.
#[async_trait]
pub trait ProviderUnderTest: Send + Sync + Sized + 'static {
    /// The clients.
    type Client: ClientUnderTest;

    /// Creates the provider with these settings, not attached yet. It may be served now or at the
    /// first connect; dropping the value stops the server.
    async fn start(setup: Setup) -> Self;

    /// Returns the provider.
    fn provider(&self) -> Arc<dyn RealtimeProvider>;

    /// Connects a client; resolves when it is accepted, with `connected` still to be read.
    ///
    /// # Errors
    /// The refusal.
    async fn connect(&self, visitor: Visitor) -> Result<Self::Client, Refused>;
}

/// A client of a provider under test. Dropping it disconnects it without a close frame.
///
/// It reads from the connection only while `next` runs, so that the suite has clients that do not
/// read. Heartbeats are answered or skipped; `next` returns everything else that the server sends.
#[async_trait]
pub trait ClientUnderTest: Send + 'static {
    /// Returns the next event. The suite sets a deadline on it; when that cancels it, the test has
    /// failed.
    ///
    /// A bare cursor is an event named `cursor`, an answer to the client one named `ack`, an error
    /// one named `error`.
    ///
    /// # Errors
    /// The close of the connection.
    async fn next(&mut self) -> Result<Received, Ended>;

    /// Sends an event; with an ack number the server has to answer. Only for bidirectional
    /// providers.
    async fn send(&mut self, name: &str, payload: &Value, ack: Option<u64>) {
        panic!("this client cannot send {name} {payload} {ack:?}");
    }

    /// Refreshes the credentials of this connection by a request of its own, and returns the answer
    /// or the error's code; for providers whose clients cannot send events. By default `None`: they
    /// cannot refresh either.
    async fn refresh(&mut self, connection: ConnectionId, token: &str) -> Option<Result<Value, String>> {
        let _ = (connection, token);
        None
    }

    /// Answers an ask. Only for providers with acks.
    async fn answer(&mut self, ack: u64, payload: &Value) {
        panic!("this client cannot answer {ack} {payload}");
    }
}

/// An event as a client received it.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Received {
    /// The name.
    pub name: String,
    /// The payload; `Value::Null` where there is none (a bare cursor).
    pub payload: Value,
    /// The cursor of the event.
    pub cursor: Option<String>,
    /// The ack number of an ask or of an answer.
    pub ack: Option<u64>,
}

impl Received {
    /// Creates an event without cursor and ack number.
    pub fn new(name: impl Into<String>, payload: Value) -> Self {
        Self { name: name.into(), payload, cursor: None, ack: None }
    }

    /// Sets the cursor.
    #[must_use]
    pub fn with_cursor(mut self, cursor: Option<String>) -> Self {
        self.cursor = cursor;
        self
    }

    /// Sets the ack number.
    #[must_use]
    pub fn with_ack(mut self, ack: Option<u64>) -> Self {
        self.ack = ack;
        self
    }
}

/// The close of a connection, as the client observed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Ended {
    /// The close code, where the transport has one.
    pub code: Option<u16>,
}

/// The refusal of a connection, as the client observed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refused {
    /// The HTTP status of the refusal ([`RefusalKind::status`]).
    pub status: u16,
}

impl Ended {
    /// Creates a close with this code.
    #[must_use]
    pub fn new(code: Option<u16>) -> Self {
        Self { code }
    }
}

impl Refused {
    /// Creates a refusal with this HTTP status.
    #[must_use]
    pub fn with_status(status: u16) -> Self {
        Self { status }
    }

    /// Creates a refusal with the code of a [`RefusalKind`] ([`RefusalKind::code`]), for transports
    /// without a status.
    ///
    /// # Panics
    /// If no kind has this code.
    #[must_use]
    pub fn with_code(code: &str) -> Self {
        let kind = KINDS.into_iter().find(|kind| kind.code() == code);
        let kind = kind.unwrap_or_else(|| panic!("expected the code of a refusal, got {code:?}"));
        Self { status: kind.status().as_u16() }
    }
}

const KINDS: [RefusalKind; 12] = [
    RefusalKind::AddressLimit,
    RefusalKind::BadRequest,
    RefusalKind::Draining,
    RefusalKind::Forbidden,
    RefusalKind::HandshakeRate,
    RefusalKind::Internal,
    RefusalKind::NodeLimit,
    RefusalKind::Origin,
    RefusalKind::Room,
    RefusalKind::TenantLimit,
    RefusalKind::Unauthorized,
    RefusalKind::UserLimit,
];
