use std::fmt;

use socketioxide::socket::Sid;

/// Secret id of an Engine.IO session on the wire: a client that knows it can send and receive for
/// the session.
///
/// engineioxide's own id is not secret: Socket.IO exposes it as the socket's id, in every
/// namespace, and applications pass it on.
///
/// The form distinguishes a secret from an application's values of `sid`, at any position in a
/// query. All bytes are unreserved, so that no client escapes them (RFC 3986 §2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Secret([u8; LEN]);

/// First bytes of every secret.
const PREFIX: &str = "realtime-";
/// Length of one id of engineioxide's; two follow the prefix.
const ID: usize = 16;
const LEN: usize = PREFIX.len() + 2 * ID;

impl Secret {
    /// Creates a secret of 192 random bits.
    pub(crate) fn new() -> Self {
        let mut bytes = [0; LEN];
        let (prefix, ids) = bytes.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        for id in ids.chunks_exact_mut(ID) {
            id.copy_from_slice(Sid::new().as_str().as_bytes());
        }
        Self(bytes)
    }

    /// Parses a secret; none when the text has another form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_random = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let random = text.strip_prefix(PREFIX)?;
        if !random.bytes().all(is_random) {
            return None;
        }
        text.as_bytes().try_into().ok().map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        // Always ASCII, see `new` and `parse`.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secret_is_recognised_by_its_form() {
        let secret = Secret::new();
        let text = secret.as_str();
        assert_eq!(text.len(), 41);
        assert!(Secret::parse(text) == Some(secret) && Secret::new() != secret);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{text}");
        let (random, truncated) = (&text[PREFIX.len()..], &text[..LEN - 1]);
        for other in [
            "",
            "x",
            random,
            &random[..16],
            truncated,
            &format!("{text}A"),
            &format!("{truncated}!"),
            &format!("x{truncated}"),
        ] {
            assert_eq!(Secret::parse(other), None, "{other}");
        }
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
