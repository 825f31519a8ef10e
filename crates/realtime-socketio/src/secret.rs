use std::fmt;

use socketioxide::socket::Sid;

/// What an Engine.IO session is known by on the wire: whoever knows it can poll in the session's name.
///
/// engineioxide's own id is none: Socket.IO shows it as the socket's id, in every namespace, and applications pass that on.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Secret(Sid);

impl Secret {
    /// A new one, of 96 random bits.
    pub(crate) fn new() -> Self {
        Self(Sid::new())
    }

    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}
