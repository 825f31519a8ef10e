use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// The reason why a connection is closed: a code in the sense of RFC 6455 §7.4, a text, and
/// whether the client should reconnect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseReason {
    code: u16,
    text: Cow<'static, str>,
    reconnect: bool,
}

impl CloseReason {
    /// A close frame of the client, or the end of a stream after its last byte (1000).
    pub const NORMAL: Self = Self::fixed(1000, "closed", true);
    /// A client that is going away: its program ended, or its page was closed or left (1001, RFC
    /// 6455 §7.4.1); reconnect later.
    pub const GOING_AWAY: Self = Self::fixed(1001, "going away", true);
    /// A violation of the protocol by the client (1002).
    pub const PROTOCOL_ERROR: Self = Self::fixed(1002, "protocol error", false);
    /// A TCP connection closed without a close frame (1006; never sent, RFC 6455 §7.1.5).
    pub const CONNECTION_LOST: Self = Self::fixed(1006, "connection lost", true);
    /// A text that is not UTF-8 (1007).
    pub const INVALID_UTF8: Self = Self::fixed(1007, "invalid utf-8", false);
    /// A rule of the application that forbids the connection to go on (1008).
    pub const POLICY: Self = Self::fixed(1008, "policy violation", false);
    /// More messages or bytes per second than allowed, for longer than the patience (1008).
    pub const RATE_LIMITED: Self = Self::fixed(1008, "rate_limited", false);
    /// A message larger than allowed (1009).
    pub const TOO_LARGE: Self = Self::fixed(1009, "message too large", false);
    /// A failure on the server (1011).
    pub const INTERNAL: Self = Self::fixed(1011, "internal error", true);
    /// A restart or shutdown of the node (1012); reconnect, to any node that answers, after the
    /// announced delay.
    pub const RESTART: Self = Self::fixed(1012, "service restart", true);
    /// An excess of replies, which accumulate faster than the client reads them (1013).
    pub const OVERLOADED: Self = Self::fixed(1013, "too many unread replies", true);
    /// A close by the application (4000).
    pub const KICKED: Self = Self::fixed(4000, "closed by the server", false);
    /// The expiry of the identity (4001); reconnect with a new token.
    pub const EXPIRED: Self = Self::fixed(4001, "the identity has expired", true);
    /// A heartbeat that was not answered in time (4002).
    pub const HEARTBEAT: Self = Self::fixed(4002, "no heartbeat", true);
    /// A write stall: the client took nothing for longer than `write_stall` while frames were
    /// waiting (4003).
    pub const WRITE_STALL: Self = Self::fixed(4003, "write stall", true);
    /// A revoked token (4004); only another token is accepted.
    pub const REVOKED: Self = Self::fixed(4004, "the token has been revoked", false);

    /// Creates a custom reason; codes 4000–4999 are free for applications (RFC 6455 §7.4.2).
    ///
    /// The text is truncated to 123 bytes, the most a close frame carries (RFC 6455 §5.5).
    pub fn new(code: u16, text: impl Into<String>, reconnect: bool) -> Self {
        let mut text = text.into();
        let end = text.floor_char_boundary(123);
        text.truncate(end);
        Self { code, text: Cow::Owned(text), reconnect }
    }

    /// Creates the reason of a close by the application with a text of its own, or that of
    /// [`CloseReason::KICKED`] if it is empty (4000); the client should not reconnect by itself.
    pub fn kicked(text: impl Into<String>) -> Self {
        let text = text.into();
        if text.is_empty() { Self::KICKED } else { Self::new(Self::KICKED.code, text, false) }
    }

    /// Returns the code.
    #[must_use]
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Returns the text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Returns whether the client should reconnect.
    #[must_use]
    pub fn should_reconnect(&self) -> bool {
        self.reconnect
    }

    /// Returns whether events that the client sent earlier are still handled: it closed the
    /// connection itself, or the node drains.
    pub(crate) fn keeps_inbound(&self) -> bool {
        *self == Self::NORMAL || *self == Self::RESTART
    }

    /// Returns whether the client is at fault: it broke a rule, or did not keep up. A lost
    /// connection is no fault, and an application may close a connection for its policy; a flood is
    /// logged as a refusal.
    pub(crate) fn is_fault(&self) -> bool {
        let faults = [Self::INVALID_UTF8, Self::OVERLOADED, Self::PROTOCOL_ERROR, Self::TOO_LARGE, Self::WRITE_STALL];
        faults.contains(self) || self.is_rate_limited()
    }

    /// Creates [`CloseReason::RATE_LIMITED`] with the rate that was exceeded in its text.
    pub(crate) fn rate_limited(rate: impl std::fmt::Display) -> Self {
        Self::new(Self::RATE_LIMITED.code, format!("{}: more than {rate}", Self::RATE_LIMITED.text), false)
    }

    /// Returns whether the client was closed for its rate, which the code alone does not say.
    pub(crate) fn is_rate_limited(&self) -> bool {
        self.code == Self::RATE_LIMITED.code && self.text.starts_with(&*Self::RATE_LIMITED.text)
    }

    /// Returns the setting of the server that decides, if there is one.
    pub(crate) fn setting(&self) -> Option<&'static str> {
        match self {
            reason if *reason == Self::OVERLOADED => Some("outbox"),
            reason if reason.is_rate_limited() => Some("limits.inbound_per_connection"),
            reason if *reason == Self::TOO_LARGE => Some("max_message_bytes"),
            reason if *reason == Self::WRITE_STALL => Some("write_stall"),
            _ => None,
        }
    }

    const fn fixed(code: u16, text: &'static str, reconnect: bool) -> Self {
        Self { code, text: Cow::Borrowed(text), reconnect }
    }
}

impl std::fmt::Display for CloseReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.text, self.code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_truncated_at_a_character() {
        let reason = CloseReason::new(4100, "ä".repeat(100), false);
        assert_eq!(reason.text().len(), 122);
    }
}
