use std::collections::HashMap;

use async_trait::async_trait;
use sha2::{Digest, Sha256};

use crate::traits::auth::{Authenticator, ConnectRequest};
use crate::values::identity::Identity;
use crate::values::refusal::Refusal;

/// An authenticator with a fixed table of tokens, each with its identity: for services that connect
/// with a token of the configuration, for tests, and for a first program. Users who log in need an
/// authenticator that knows their sessions.
///
/// It reads [`ConnectRequest::token`]. An empty token identifies nobody, also when it is in the
/// table, as when a variable of the environment is not set. Only the tokens' SHA-256 hashes are
/// kept and compared, so neither `Debug` nor the time of an answer shows a token.
///
/// ```
/// use realtime_core::{Identity, StaticTokens};
///
/// let tokens = StaticTokens::new([("secret", Identity::user("ann"))]);
/// ```
#[derive(Clone)]
pub struct StaticTokens(HashMap<Hash, Identity>);

type Hash = [u8; 32];

impl StaticTokens {
    /// Creates an authenticator that accepts these tokens; of two equal ones the last counts.
    pub fn new<T: AsRef<str>>(tokens: impl IntoIterator<Item = (T, Identity)>) -> Self {
        let tokens = tokens.into_iter().filter(|(token, _)| !token.as_ref().is_empty());
        Self(tokens.map(|(token, identity)| (hash(token.as_ref()), identity)).collect())
    }
}

#[async_trait]
impl Authenticator for StaticTokens {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let token = request.token().ok_or_else(|| Refusal::unauthorized("no token"))?;
        self.0.get(&hash(&token)).cloned().ok_or_else(|| Refusal::unauthorized("unknown token"))
    }
}

fn hash(token: &str) -> Hash {
    Sha256::digest(token).into()
}

impl std::fmt::Debug for StaticTokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("StaticTokens").field("tokens", &self.0.len()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn identify(tokens: &StaticTokens, uri: &str) -> Result<Identity, Refusal> {
        let parts = http::Request::get(uri).body(()).unwrap().into_parts().0;
        tokens.authenticate(&ConnectRequest::new("sse", &parts)).now_or_never().unwrap()
    }

    #[test]
    fn only_tokens_of_the_table_are_accepted() {
        let tokens = StaticTokens::new([("secret", Identity::user("ann")), ("", Identity::user("root"))]);
        assert_eq!(identify(&tokens, "/sse?token=secret").unwrap().user_name(), Some("ann"));
        for (uri, reason) in [
            ("/sse", "no token"),
            ("/sse?token=", "unknown token"),
            ("/sse?token=Secret", "unknown token"),
            ("/sse?token=secret2", "unknown token"),
        ] {
            assert_eq!(identify(&tokens, uri).unwrap_err().message(), reason, "{uri}");
        }
        assert!(!format!("{tokens:?}").contains("secret"));
    }
}
