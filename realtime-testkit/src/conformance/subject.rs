use std::sync::Arc;

use async_trait::async_trait;
use realtime_core::{RealtimeProvider, RefusalKind};
use serde_json::Value;

use super::{Setup, Visitor};

/// A provider, served on loopback or made in memory, as the suite drives it.
#[async_trait]
pub trait ProviderUnderTest: Send + Sync + Sized + 'static {
    /// Its clients.
    type Client: ClientUnderTest;

    /// Makes the provider with these settings, not attached yet. It may be served now or at the first connect; dropping
    /// the value stops the server.
    async fn start(setup: Setup) -> Self;

    /// The provider.
    fn provider(&self) -> Arc<dyn RealtimeProvider>;

    /// Connects a client; resolves when it is in, with `connected` still to be read.
    ///
    /// # Errors
    /// How it was refused.
    async fn connect(&self, visitor: Visitor) -> Result<Self::Client, Refused>;
}

/// A client of a provider under test. Dropping it cuts the wire.
///
/// It reads from the wire only while `next` runs, so that a client that is not asked is a client that does not read.
/// Heartbeats are answered or skipped; everything else the server sends is handed out.
#[async_trait]
pub trait ClientUnderTest: Send + 'static {
    /// The next event; the suite puts a deadline on it and cancels it only to give up.
    ///
    /// A bare cursor is an event named `cursor`, an answer to the client one named `ack`, an error one named `error`.
    ///
    /// # Errors
    /// How the connection ended.
    async fn next(&mut self) -> Result<Received, Ended>;

    /// Sends an event, wanting an answer if there is a number. Only for bidirectional providers.
    async fn send(&mut self, name: &str, payload: &Value, ack: Option<u64>) {
        panic!("this client cannot send {name} {payload} {ack:?}");
    }

    /// Answers an ask. Only for providers with acks.
    async fn answer(&mut self, ack: u64, payload: &Value) {
        panic!("this client cannot answer {ack} {payload}");
    }
}

/// An event as a client received it.
#[derive(Clone, Debug, PartialEq)]
pub struct Received {
    /// Its name.
    pub name: String,
    /// Its payload; `Value::Null` where there is none (a bare cursor).
    pub payload: Value,
    /// The place that came with it.
    pub cursor: Option<String>,
    /// The number to answer with, or that is answered.
    pub ack: Option<u64>,
}

impl Received {
    /// An event without cursor and number.
    pub fn new(name: impl Into<String>, payload: Value) -> Self {
        Self { name: name.into(), payload, cursor: None, ack: None }
    }

    /// With this cursor.
    pub fn with_cursor(mut self, cursor: Option<String>) -> Self {
        self.cursor = cursor;
        self
    }

    /// With this number.
    pub fn with_ack(mut self, ack: Option<u64>) -> Self {
        self.ack = ack;
        self
    }
}

/// How a connection ended, as the client saw it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ended {
    /// The close code, where the transport has one.
    pub code: Option<u16>,
}

/// How a connection was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The HTTP status of the refusal ([`RefusalKind::status`]).
    pub status: u16,
}

impl Refused {
    /// Refused with this HTTP status.
    pub fn with_status(status: u16) -> Self {
        Self { status }
    }

    /// Refused with the word of a [`RefusalKind`] ([`RefusalKind::code`]), for transports that tell it in their own way.
    ///
    /// # Panics
    /// When no kind has this word.
    pub fn with_code(code: &str) -> Self {
        let kind = KINDS.into_iter().find(|kind| kind.code() == code);
        let kind = kind.unwrap_or_else(|| panic!("no refusal has the code {code:?}"));
        Self { status: kind.status().as_u16() }
    }
}

const KINDS: [RefusalKind; 9] = [
    RefusalKind::BadRequest,
    RefusalKind::Draining,
    RefusalKind::Forbidden,
    RefusalKind::Internal,
    RefusalKind::NodeLimit,
    RefusalKind::Origin,
    RefusalKind::Room,
    RefusalKind::Unauthorized,
    RefusalKind::UserLimit,
];
