use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// Why a connection ends: a code in the sense of RFC 6455 §7.4, a text, and whether the client should come back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CloseReason {
    code: u16,
    text: Cow<'static, str>,
    reconnect: bool,
}

impl CloseReason {
    /// The client said goodbye, or the stream ended after its last byte (1000).
    pub const NORMAL: Self = Self::fixed(1000, "closed", true);
    /// The application, or its page, goes away (1001, RFC 6455 §7.4.1); come back later.
    pub const GOING_AWAY: Self = Self::fixed(1001, "going away", true);
    /// The client broke the protocol (1002).
    pub const PROTOCOL_ERROR: Self = Self::fixed(1002, "protocol error", false);
    /// The wire ended without a goodbye (1006; never sent, RFC 6455 §7.1.5).
    pub const CONNECTION_LOST: Self = Self::fixed(1006, "connection lost", true);
    /// A text was not UTF-8 (1007).
    pub const INVALID_UTF8: Self = Self::fixed(1007, "invalid utf-8", false);
    /// A rule of the application forbids to go on (1008).
    pub const POLICY: Self = Self::fixed(1008, "policy violation", false);
    /// A message was larger than allowed (1009).
    pub const TOO_LARGE: Self = Self::fixed(1009, "message too large", false);
    /// Something on the server failed (1011).
    pub const INTERNAL: Self = Self::fixed(1011, "internal error", true);
    /// The node restarts or goes down (1012); come back, to whoever answers then, after the delay that was announced.
    pub const RESTART: Self = Self::fixed(1012, "service restart", true);
    /// Replies pile up faster than the client reads them (1013).
    pub const OVERLOADED: Self = Self::fixed(1013, "too many unread replies", true);
    /// The application ended the connection (4000).
    pub const KICKED: Self = Self::fixed(4000, "closed by the server", false);
    /// The identity's time is over (4001); come back with a new token.
    pub const EXPIRED: Self = Self::fixed(4001, "the identity has expired", true);
    /// No answer to a heartbeat in time (4002).
    pub const HEARTBEAT: Self = Self::fixed(4002, "no heartbeat", true);
    /// The client took nothing for longer than `write_stall` while something waited (4003).
    pub const WRITE_STALL: Self = Self::fixed(4003, "write stall", true);

    /// A reason of the application's own; codes 4000–4999 are free for it (RFC 6455 §7.4.2).
    ///
    /// The text is cut to 123 bytes, the most a close frame carries (RFC 6455 §5.5).
    pub fn new(code: u16, text: impl Into<String>, reconnect: bool) -> Self {
        let mut text = text.into();
        let end = text.floor_char_boundary(123);
        text.truncate(end);
        Self { code, text: Cow::Owned(text), reconnect }
    }

    /// The code.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether the client should come back.
    pub fn should_reconnect(&self) -> bool {
        self.reconnect
    }

    /// Whether what the client sent before is still handled: it has said goodbye itself, or the node drains.
    pub(crate) fn keeps_inbound(&self) -> bool {
        *self == Self::NORMAL || *self == Self::RESTART
    }

    /// Whether it is a fault: the client broke a rule, or did not keep up. A connection that is lost is none, and an application
    /// may close one for its policy; a flood is logged as a refusal.
    pub(crate) fn is_fault(&self) -> bool {
        [Self::INVALID_UTF8, Self::OVERLOADED, Self::PROTOCOL_ERROR, Self::TOO_LARGE, Self::WRITE_STALL].contains(self)
    }

    /// The setting of the server that decides, if there is one.
    pub(crate) fn setting(&self) -> Option<&'static str> {
        match self {
            reason if *reason == Self::OVERLOADED => Some("outbox"),
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
    fn a_text_is_cut_at_a_character() {
        let reason = CloseReason::new(4100, "ä".repeat(100), false);
        assert_eq!(reason.text().len(), 122);
    }
}
