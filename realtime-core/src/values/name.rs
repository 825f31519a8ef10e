use crate::values::error::{Error, Result};

/// The longest name of an event, user, tenant or room, in bytes of UTF-8.
pub const MAX_NAME_BYTES: usize = 256;

/// Event names that belong to the protocol and are refused in [`crate::Event`].
pub const RESERVED_EVENTS: [&str; 15] = [
    "ack",
    "connect",
    "connect_error",
    "connected",
    "cursor",
    "disconnect",
    "disconnecting",
    "error",
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
/// [`Error::InvalidName`] that says which rule is broken; `what` names the kind of name in it.
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

/// Checks the name of an event: [`check_name`], not one of [`RESERVED_EVENTS`], and without U+2028 and U+2029, at which
/// clients of an event stream may cut the line that it stands in.
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

/// Checks the name of an event from a client: [`check_event_name`], but `subscribe` and `unsubscribe` are the clients' own.
///
/// # Errors
/// [`Error::InvalidName`] or [`Error::ReservedName`].
pub(crate) fn check_inbound_name(name: &str) -> Result<()> {
    if name == "subscribe" || name == "unsubscribe" { Ok(()) } else { check_event_name(name) }
}

/// A client's text for a log or a message back to it, cut where it gets long.
pub(crate) fn shorten(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_what_the_rules_allow() {
        for name in ["a", "message", "ping", "chat:send", "räume/1 ", &"x".repeat(256)] {
            assert!(check_event_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn refuses_empty_long_and_control_characters() {
        for name in ["", &"x".repeat(257), "a\nb", "a\rb", "a\0b", "a\u{85}b", "\u{7f}"] {
            assert!(matches!(check_name("room", name), Err(Error::InvalidName { what: "room", .. })), "{name:?}");
        }
    }

    #[test]
    fn an_events_name_is_one_line() {
        for name in ["a\u{2028}b", "\u{2029}"] {
            assert!(matches!(check_event_name(name), Err(Error::InvalidName { what: "event", .. })), "{name:?}");
            assert!(check_name("room", name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_long_text_is_cut_between_two_characters() {
        assert_eq!(shorten("räume"), "räume");
        assert_eq!(shorten(&"ä".repeat(250_000)).len(), 64);
        assert_eq!(shorten(&format!("a{}", "ä".repeat(250_000))).len(), 63);
    }

    #[test]
    fn refuses_reserved_event_names() {
        for name in RESERVED_EVENTS {
            assert!(matches!(check_event_name(name), Err(Error::ReservedName { .. })), "{name:?}");
        }
    }
}
