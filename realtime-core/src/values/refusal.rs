use std::borrow::Cow;
use std::time::Duration;

use crate::values::random::random_between;

/// When a client may try again that was refused for what passes: another time for each.
const RETRY: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(10));

/// Why a connection was not let in: a kind that transports map to a status, and a text for the client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    kind: RefusalKind,
    message: Cow<'static, str>,
    retry_after: Option<Duration>,
    setting: Option<&'static str>,
    hint: Option<&'static str>,
}

/// The kinds of refusal, with the HTTP status a transport answers.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RefusalKind {
    /// The request itself is wrong (400).
    BadRequest,
    /// A session was opened and not connected in time (503).
    ConnectTimeout,
    /// The node is going down (503).
    Draining,
    /// A client sent more than it may before it is connected, or connected again and again (400).
    Flood,
    /// The identity is known and may not do this (403).
    Forbidden,
    /// Something on the server failed (500).
    Internal,
    /// Socket.IO: there is no namespace of this name (404).
    Namespace,
    /// The node has as many connections as it takes (503).
    NodeLimit,
    /// The browser's origin is not on the list (403).
    Origin,
    /// The room policy does not let this identity into a room it named (403).
    Room,
    /// Who is connecting is not known: no token, or a bad one (401).
    Unauthorized,
    /// The authenticator or the room policy did not answer in time (503).
    Unavailable,
    /// This user has as many connections as allowed (429).
    UserLimit,
}

impl RefusalKind {
    /// A stable word for this kind, for clients and metrics.
    pub const fn code(self) -> &'static str {
        match self {
            Self::BadRequest => "bad_request",
            Self::ConnectTimeout => "connect_timeout",
            Self::Draining => "draining",
            Self::Flood => "flood",
            Self::Forbidden => "forbidden",
            Self::Internal => "internal",
            Self::Namespace => "namespace",
            Self::NodeLimit => "node_limit",
            Self::Origin => "origin",
            Self::Room => "room",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::UserLimit => "user_limit",
        }
    }

    /// The HTTP status that says this.
    pub const fn status(self) -> http::StatusCode {
        match self {
            Self::BadRequest | Self::Flood => http::StatusCode::BAD_REQUEST,
            Self::ConnectTimeout | Self::Draining | Self::NodeLimit | Self::Unavailable => {
                http::StatusCode::SERVICE_UNAVAILABLE
            }
            Self::Forbidden | Self::Origin | Self::Room => http::StatusCode::FORBIDDEN,
            Self::Internal => http::StatusCode::INTERNAL_SERVER_ERROR,
            Self::Namespace => http::StatusCode::NOT_FOUND,
            Self::Unauthorized => http::StatusCode::UNAUTHORIZED,
            Self::UserLimit => http::StatusCode::TOO_MANY_REQUESTS,
        }
    }

    /// The setting of the server that decides, if there is one.
    const fn setting(self) -> Option<&'static str> {
        match self {
            Self::BadRequest | Self::Draining | Self::Flood | Self::Internal => None,
            Self::ConnectTimeout => Some("connect_timeout"),
            Self::Forbidden | Self::Unauthorized => Some("authenticator"),
            Self::Namespace => Some("SocketIoProvider::io"),
            Self::NodeLimit => Some("limits.connections"),
            Self::Origin => Some("origins"),
            Self::Room => Some("room_policy"),
            Self::Unavailable => Some("decision_timeout"),
            Self::UserLimit => Some("limits.connections_per_user"),
        }
    }
}

impl Refusal {
    /// A refusal of this kind; the client reads the message, so it holds no secrets.
    ///
    /// Those that time heals tell when to try again, see [`Refusal::with_retry_after`].
    pub fn new(kind: RefusalKind, message: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = match kind {
            RefusalKind::ConnectTimeout
            | RefusalKind::Draining
            | RefusalKind::NodeLimit
            | RefusalKind::Unavailable
            | RefusalKind::UserLimit => Some(random_between(RETRY.0, RETRY.1)),
            _ => None,
        };
        Self { kind, message: message.into(), retry_after, setting: kind.setting(), hint: None }
    }

    /// Who is connecting is not known.
    pub fn unauthorized(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Unauthorized, message)
    }

    /// The identity is known and may not connect.
    pub fn forbidden(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::Forbidden, message)
    }

    /// The request is wrong.
    pub fn bad_request(message: impl Into<Cow<'static, str>>) -> Self {
        Self::new(RefusalKind::BadRequest, message)
    }

    /// When a client may try again. By default a random time of 5 to 10 s for [`RefusalKind::ConnectTimeout`],
    /// [`RefusalKind::Draining`], [`RefusalKind::NodeLimit`], [`RefusalKind::Unavailable`] and [`RefusalKind::UserLimit`],
    /// and none for the others.
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// Names the setting of the server that decides, for the log; each kind that is decided by one names it by default.
    pub fn with_setting(mut self, setting: &'static str) -> Self {
        self.setting = Some(setting);
        self
    }

    /// Adds what a developer should know: it goes to the log, and in debug builds to the client too, behind the message.
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

    /// The kind.
    pub fn kind(&self) -> RefusalKind {
        self.kind
    }

    /// The text for the client.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// When a client may try again.
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// What a developer should know.
    pub fn hint(&self) -> Option<&'static str> {
        self.hint
    }

    /// The setting of the server that decides, if there is one.
    pub fn setting(&self) -> Option<&'static str> {
        self.setting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Else all clients of a node whose authenticator hung, or whose limit was reached, come back at the same moment.
    #[test]
    fn each_client_that_may_try_again_is_told_another_time() {
        for kind in [
            RefusalKind::ConnectTimeout,
            RefusalKind::Draining,
            RefusalKind::NodeLimit,
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
    fn a_hint_is_for_the_log_and_reaches_clients_in_debug_builds_only() {
        let refusal = |debug_build| Refusal::forbidden("no").with_hint_in("no room_policy is set", debug_build);
        assert_eq!((refusal(false).message(), refusal(false).hint()), ("no", Some("no room_policy is set")));
        assert_eq!(refusal(true).message(), "no (no room_policy is set)");
        assert_eq!(refusal(true).hint(), refusal(false).hint());
    }
}
