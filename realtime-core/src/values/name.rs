use crate::values::error::{Error, Result};

/// The longest name of an event, user, tenant or room, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 256;

/// The event names that belong to the protocol and are rejected in [`crate::Event`].
pub const RESERVED_EVENTS: [&str; 17] = [
    "ack",
    "closed",
    "connect",
    "connect_error",
    "connected",
    "cursor",
    "disconnect",
    "disconnecting",
    "error",
    "expiring",
    "lost",
    "newListener",
    "open",
    "reconnect",
    "removeListener",
    "subscribe",
    "unsubscribe",
];

/// Checks a name: 1–256 bytes, no control characters (so never a line break or NUL).
///
/// # Errors
/// [`Error::InvalidName`] that says which rule is broken; `what` is the kind of name in it.
pub fn check_name(what: &'static str, name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME_BYTES {
        "it is longer than 256 bytes"
    } else if name.chars().any(char::is_control) {
        "it contains a control character"
    } else {
        return Ok(());
    };
    Err(Error::InvalidName { what, reason })
}

/// Checks the name of an event: [`check_name`], not one of [`RESERVED_EVENTS`], and without U+2028
/// and U+2029, at which clients of an event stream may split the line that contains it.
///
/// # Errors
/// [`Error::InvalidName`] or [`Error::ReservedName`].
pub fn check_event_name(name: &str) -> Result<()> {
    check_name("event", name)?;
    if name.contains(['\u{2028}', '\u{2029}']) {
        return Err(Error::InvalidName { what: "event", reason: "it contains a line separator" });
    }
    if RESERVED_EVENTS.contains(&name) {
        return Err(Error::ReservedName { name: name.to_owned() });
    }
    Ok(())
}

/// Checks the name of an event from a client: [`check_event_name`], but `subscribe` and
/// `unsubscribe` are allowed.
///
/// # Errors
/// [`Error::InvalidName`] or [`Error::ReservedName`].
pub(crate) fn check_inbound_name(name: &str) -> Result<()> {
    if name == "subscribe" || name == "unsubscribe" { Ok(()) } else { check_event_name(name) }
}

/// Shortens a client's text for a log or a message to the client.
pub(crate) fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn valid_names_are_accepted() {
        for name in ["a", "message", "ping", "chat:send", "räume/1 ", &"x".repeat(256)] {
            assert!(check_event_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn empty_long_and_control_character_names_are_rejected() {
        for name in ["", &"x".repeat(257), "a\nb", "a\rb", "a\0b", "a\u{85}b", "\u{7f}"] {
            assert!(matches!(check_name("room", name), Err(Error::InvalidName { what: "room", .. })), "{name:?}");
        }
    }

    #[test]
    fn event_name_with_line_separator_is_rejected() {
        for name in ["a\u{2028}b", "\u{2029}"] {
            assert!(matches!(check_event_name(name), Err(Error::InvalidName { what: "event", .. })), "{name:?}");
            assert!(check_name("room", name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn long_text_is_truncated_at_a_character() {
        assert_eq!(shorten("räume"), "räume");
        assert_eq!(shorten(&"ä".repeat(250_000)).len(), 64);
        assert_eq!(shorten(&format!("a{}", "ä".repeat(250_000))).len(), 63);
    }

    #[test]
    fn reserved_event_names_are_rejected() {
        for name in RESERVED_EVENTS {
            assert!(matches!(check_event_name(name), Err(Error::ReservedName { .. })), "{name:?}");
        }
    }
}
