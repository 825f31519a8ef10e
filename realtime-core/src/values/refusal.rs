use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::values::random::random_between;

/// The range of the delay before a client may try again after a temporary refusal; random for each.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));

/// The reason why a connection was rejected: a kind that transports map to a status, and a text for
/// the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    kind: RefusalKind,
    code: &'static str,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    setting: Option<&'static str>,
    hint: Option<&'static str>,
}

/// The kinds of refusal, with the HTTP status that a transport answers.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalKind {
    /// A client address at the limit of its connections (429).
    AddressLimit,
    /// An invalid request (400).
    BadRequest,
    /// A session that was opened and not connected in time (503).
    ConnectTimeout,
    /// A node that shuts down, or has not read its log yet (503).
    Draining,
    /// A client that sent more than it may before it is connected, or connected again and again
    /// (400).
    Flood,
    /// A known identity without permission (403).
    Forbidden,
    /// More handshakes per second than a client address, or all of them, may make (429).
    HandshakeRate,
    /// A refresh with the credentials of another user or tenant (403).
    IdentityChanged,
    /// A failure on the server (500).
    Internal,
    /// Socket.IO: a namespace that does not exist (404).
    Namespace,
    /// A node at its limit of connections (503).
    NodeLimit,
    /// A browser's origin that is not on the list (403).
    Origin,
    /// A refresh while another one of the same connection is decided (409).
    RefreshPending,
    /// A room, named by the client, that the room policy denies (403).
    Room,
    /// Socket.IO: a session that was connected to no namespace, and was closed for a newer one
    /// (503).
    SessionLimit,
    /// A tenant at the limit of its connections (429).
    TenantLimit,
    /// An unknown identity: no token, or an invalid one (401).
    Unauthorized,
    /// An authenticator or a room policy that did not answer in time (503).
    Unavailable,
    /// A connection, named by a client, that no node has, or that belongs to another user (404).
    UnknownConnection,
    /// Socket.IO: a request of a session that this node does not have (400).
    UnknownSession,
    /// A user at the limit of connections (429).
    UserLimit,
}

impl RefusalKind {
    /// Returns a stable word for this kind, for clients and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::AddressLimit => "address_limit",
            Self::BadRequest => "bad_request",
            Self::ConnectTimeout => "connect_timeout",
            Self::Draining => "draining",
            Self::Flood => "flood",
            Self::Forbidden => "forbidden",
            Self::HandshakeRate => "handshake_rate",
            Self::IdentityChanged => "identity_changed",
            Self::Internal => "internal",
            Self::Namespace => "namespace",
            Self::NodeLimit => "node_limit",
            Self::Origin => "origin",
            Self::RefreshPending => "refresh_pending",
            Self::Room => "room",
            Self::SessionLimit => "session_limit",
            Self::TenantLimit => "tenant_limit",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::UnknownConnection => "unknown_connection",
            Self::UnknownSession => "unknown_session",
            Self::UserLimit => "user_limit",
        }
    }

    /// Returns the kind with this word.
    pub(crate) fn of_code(code: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// All kinds.
    const ALL: [Self; 21] = [
        Self::AddressLimit,
        Self::BadRequest,
        Self::ConnectTimeout,
        Self::Draining,
        Self::Flood,
        Self::Forbidden,
        Self::HandshakeRate,
        Self::IdentityChanged,
        Self::Internal,
        Self::Namespace,
        Self::NodeLimit,
        Self::Origin,
        Self::RefreshPending,
        Self::Room,
        Self::SessionLimit,
        Self::TenantLimit,
        Self::Unauthorized,
        Self::Unavailable,
        Self::UnknownConnection,
        Self::UnknownSession,
        Self::UserLimit,
    ];

    /// Returns the HTTP status of this kind.
    #[must_use]
    pub const fn status(self) -> http::StatusCode {
        match self {
            Self::BadRequest | Self::Flood | Self::UnknownSession => http::StatusCode::BAD_REQUEST,
            Self::ConnectTimeout | Self::Draining | Self::NodeLimit | Self::SessionLimit | Self::Unavailable => {
                http::StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Forbidden | Self::IdentityChanged | Self::Origin | Self::Room => http::StatusCode::FORBIDDEN,
            Self::Internal => http::StatusCode::INTERNAL_SERVER_ERROR,
            Self::Namespace | Self::UnknownConnection => http::StatusCode::NOT_FOUND,
            Self::RefreshPending => http::StatusCode::CONFLICT,
            Self::Unauthorized => http::StatusCode::UNAUTHORIZED,
            Self::AddressLimit | Self::HandshakeRate | Self::TenantLimit | Self::UserLimit => {
                http::StatusCode::TOO_MANY_REQUESTS
            }
        }
    }

    /// Returns the setting of the server that decides, if there is one.
    const fn setting(self) -> Option<&'static str> {
        match self {
            Self::BadRequest
            | Self::Draining
            | Self::Flood
            | Self::Internal
            | Self::RefreshPending
            | Self::UnknownConnection
            | Self::UnknownSession => None,
            Self::AddressLimit => Some("connections_per_address"),
            Self::ConnectTimeout => Some("connect_timeout"),
            Self::Forbidden | Self::IdentityChanged | Self::Unauthorized => Some("authenticator"),
            Self::HandshakeRate => Some("handshakes_per_second"),
            Self::Namespace => Some("SocketIoProvider::io"),
            Self::NodeLimit => Some("limits.connections"),
            Self::Origin => Some("origins"),
            Self::Room => Some("room_policy"),
            Self::SessionLimit => Some("unconnected_sessions"),
            Self::TenantLimit => Some("connections_per_tenant"),
            Self::Unavailable => Some("decision_timeout"),
            Self::UserLimit => Some("limits.connections_per_user"),
        }
    }
}

impl Refusal {
    /// Creates a refusal of this kind; the client reads the message, so it must hold no secrets.
    ///
    /// Temporary refusals get a delay after which to try again, see [`Refusal::with_retry_after`].
    pub fn new(kind: RefusalKind, message: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = match kind {
            RefusalKind::AddressLimit
            | RefusalKind::ConnectTimeout
            | RefusalKind::Draining
            | RefusalKind::HandshakeRate
            | RefusalKind::NodeLimit
            | RefusalKind::TenantLimit
            | RefusalKind::Unavailable
            | RefusalKind::UserLimit => Some(random_between(RETRY.0, RETRY.1)),
            _ => None,
        };
        Self { kind, code: kind.code(), message: message.into(), retry_after, setting: kind.setting(), hint: None }
    }

    /// Creates a refusal of a client whose identity is unknown.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Unauthorized, message)
    }

    /// Creates a refusal of an identity that is known and may not connect.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Forbidden, message)
    }

    /// Creates a refusal of an invalid request.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::BadRequest, message)
    }

    /// Sets the delay after which a client may try again. By default a random duration of 5 to 10 s
    /// for [`RefusalKind::ConnectTimeout`], [`RefusalKind::Draining`],
    /// [`RefusalKind::Unavailable`], and the limits of connections and handshakes, and none for the
    /// others.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Sets a stable word that says more than the kind's own, for clients and the log: a client
    /// whose token has expired fetches another one, and one with a token of somebody else's does
    /// not. Statistics count by the kind.
    #[must_use]
    pub fn with_code(mut self, code: &'static str) -> Self {
        self.code = code;
        self
    }

    /// Names the setting of the server that decides, for the log; each kind that depends on a
    /// setting names it by default.
    #[must_use]
    pub fn with_setting(mut self, setting: &'static str) -> Self {
        self.setting = Some(setting);
        self
    }

    /// Adds advice for the developer: it goes to the log, and in debug builds to the client too,
    /// after the message.
    #[must_use]
    pub fn with_hint(self, hint: &'static str) -> Self {
        self.with_hint_in(hint, cfg!(debug_assertions))
    }

    fn with_hint_in(mut self, hint: &'static str, debug_build: bool) -> Self {
        if debug_build {
            self.message = format!("{} ({hint})", self.message).into();
        }
        self.hint = Some(hint);
        self
    }

    /// Returns the kind.
    #[must_use]
    pub fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// Returns the stable word for clients: that of [`Refusal::with_code`], or the kind's own.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.code
    }

    /// Returns the text for the client.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Returns the delay after which a client may try again, if there is one.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Returns the advice for the developer, if there is any.
    #[must_use]
    pub fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    /// Returns the setting of the server that decides, if there is one.
    #[must_use]
    pub fn setting(&self) -> Option<&'static str> {
        self.setting
    }
}

/// The most codes of other nodes that are kept, and their length.
const MOST_CODES: usize = 256;
const CODE_BYTES: usize = 64;

/// Codes that stay for the life of the process.
struct Codes(Mutex<BTreeSet<&'static str>>);

static CODES: Codes = Codes(Mutex::new(BTreeSet::new()));

/// Returns a code of another node as one of this process; `None` for one that is empty or too long,
/// or beyond their number.
pub(crate) fn known_code(code: &str) -> Option<&'static str> {
    CODES.known(code)
}

impl Codes {
    fn known(&self, code: &str) -> Option<&'static str> {
        let mut codes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = codes.get(code) {
            return Some(known);
        }
        if code.is_empty() || code.len() > CODE_BYTES || codes.len() >= MOST_CODES {
            return None;
        }
        let known: &'static str = Box::leak(code.into());
        codes.insert(known);
        Some(known)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks that the clients of a node whose authenticator hung, or whose limit was reached, do
    /// not all retry at the same moment.
    #[test]
    fn retry_delay_differs_between_clients() {
        for kind in [
            RefusalKind::AddressLimit,
            RefusalKind::ConnectTimeout,
            RefusalKind::Draining,
            RefusalKind::HandshakeRate,
            RefusalKind::NodeLimit,
            RefusalKind::TenantLimit,
            RefusalKind::Unavailable,
            RefusalKind::UserLimit,
        ] {
            let times: Vec<_> = (0..100).map(|_| Refusal::new(kind, "").retry_after().unwrap_or_default()).collect();
            assert!(times.iter().all(|time| (RETRY.0..RETRY.1).contains(time)), "{kind:?} {times:?}");
            assert!(times.iter().any(|time| time.as_secs() != times[0].as_secs()), "{kind:?} {times:?}");
        }
        assert_eq!(Refusal::forbidden("").retry_after(), None);
        let own = Refusal::new(RefusalKind::NodeLimit, "").with_retry_after(Duration::from_secs(60));
        assert_eq!(own.retry_after(), Some(Duration::from_secs(60)));
    }

    #[test]
    fn code_is_that_of_the_kind_unless_another_is_set() {
        assert_eq!(Refusal::unauthorized("").code(), "unauthorized");
        let expired = Refusal::unauthorized("").with_code("token_expired");
        assert_eq!((expired.code(), expired.kind()), ("token_expired", RefusalKind::Unauthorized));
    }

    #[test]
    fn codes_of_other_nodes_are_bounded() {
        let codes = Codes(Mutex::default());
        let known = codes.known("token_expired").unwrap();
        assert_eq!((known, known.as_ptr()), ("token_expired", codes.known("token_expired").unwrap().as_ptr()));
        assert_eq!(codes.known(&"x".repeat(CODE_BYTES + 1)), None);
        let more = (0..2 * MOST_CODES).filter(|n| codes.known(&format!("code{n}")).is_some()).count();
        assert_eq!((more, codes.known("token_expired")), (MOST_CODES - 1, Some("token_expired")));
    }

    #[test]
    fn hint_reaches_clients_in_debug_builds_only() {
        let refusal = |debug_build| Refusal::forbidden("no").with_hint_in("no room_policy is set", debug_build);
        assert_eq!((refusal(false).message(), refusal(false).hint()), ("no", Some("no room_policy is set")));
        assert_eq!(refusal(true).message(), "no (no room_policy is set)");
        assert_eq!(refusal(true).hint(), refusal(false).hint());
    }
}
