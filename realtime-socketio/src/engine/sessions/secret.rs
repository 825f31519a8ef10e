use std::fmt;

use socketioxide::socket::Sid;

/// What an Engine.IO session is known by on the wire: whoever knows it can poll in the session's name.
///
/// engineioxide's own id is none: Socket.IO shows it as the socket's id, in every namespace, and applications pass that on.
///
/// It has a form that no value of an application's has by chance, so that it is found among other parameters called
/// `sid`, wherever it stands; all its bytes are of those that no client escapes (RFC 3986 §2.3).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Secret([u8; LEN]);

/// What each begins with.
const PREFIX: &str = "realtime-";
/// Two ids of engineioxide's follow.
const ID: usize = 16;
const LEN: usize = PREFIX.len() + 2 * ID;

impl Secret {
    /// A new one, of 192 random bits.
    pub(crate) fn new() -> Self {
        let mut bytes = [0; LEN];
        let (prefix, ids) = bytes.split_at_mut(PREFIX.len());
        prefix.copy_from_slice(PREFIX.as_bytes());
        for id in ids.chunks_exact_mut(ID) {
            id.copy_from_slice(Sid::new().as_str().as_bytes());
        }
        Self(bytes)
    }

    /// None when the text has another form.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let is_random = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        let random = text.strip_prefix(PREFIX)?;
        if !random.bytes().all(is_random) {
            return None;
        }
        text.as_bytes().try_into().ok().map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        // ASCII, however it was made.
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
    fn it_has_a_form_that_no_other_text_has() {
        let secret = Secret::new();
        let text = secret.as_str();
        assert_eq!(text.len(), 41);
        assert!(Secret::parse(text) == Some(secret) && Secret::new() != secret);
        assert!(text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')), "{text}");
        let (random, begin) = (&text[PREFIX.len()..], &text[..LEN - 1]);
        for other in
            ["", "x", random, &random[..16], begin, &format!("{text}A"), &format!("{begin}!"), &format!("x{begin}")]
        {
            assert_eq!(Secret::parse(other), None, "{other}");
        }
        assert_eq!(format!("{secret:?}"), "Secret");
    }
}
