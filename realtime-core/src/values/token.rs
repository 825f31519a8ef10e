use std::sync::Arc;

/// A token on its way to the node that verifies it; `Debug` does not show it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(pub(crate) Arc<str>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}
