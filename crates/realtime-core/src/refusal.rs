use std::borrow::Cow;
use std::time::Duration;

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
    pub fn new(kind: RefusalKind, message: impl Into<Cow<'static, str>>) -> Self {
        let retry_after = match kind {
            RefusalKind::ConnectTimeout
            | RefusalKind::Draining
            | RefusalKind::NodeLimit
            | RefusalKind::Unavailable
            | RefusalKind::UserLimit => Some(Duration::from_secs(5)),
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

    /// When a client may try again; set by default for [`RefusalKind::ConnectTimeout`], [`RefusalKind::Draining`],
    /// [`RefusalKind::NodeLimit`], [`RefusalKind::Unavailable`] and [`RefusalKind::UserLimit`] (5 s).
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
    pub fn with_hint(mut self, hint: &'static str) -> Self {
        if cfg!(debug_assertions) {
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
