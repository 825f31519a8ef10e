//! Authenticators for tests: they identify clients without proof.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use async_trait::async_trait;
use realtime_core::{Authenticator, ConnectRequest, Identity, Refusal};

/// Identifies a client by the `user` and `tenant` in its query, without a proof; for tests only.
///
/// A Socket.IO client may name them in its `auth`. Without a user, and with a token other than
/// [`GOOD_TOKEN`](Self::GOOD_TOKEN), the client is refused as unauthorized;
/// [`FORBIDDEN_USER`](Self::FORBIDDEN_USER) is refused as forbidden.
#[derive(Clone, Copy, Debug, Default)]
pub struct ByQuery;

impl ByQuery {
    /// The user that is forbidden.
    pub const FORBIDDEN_USER: &str = "banned";
    /// The only token that is valid; a client needs none.
    pub const GOOD_TOKEN: &str = "good";
}

#[async_trait]
impl Authenticator for ByQuery {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        if request.token().is_some_and(|token| token != Self::GOOD_TOKEN) {
            return Err(Refusal::unauthorized("this token is not valid"));
        }
        let user = field(request, "user").ok_or_else(|| Refusal::unauthorized("no user is named"))?;
        if user == Self::FORBIDDEN_USER {
            return Err(Refusal::forbidden("this user is forbidden"));
        }
        let identity = Identity::user(user);
        Ok(match field(request, "tenant") {
            Some(tenant) => identity.with_tenant(tenant),
            None => identity,
        })
    }
}

/// Returns a field of the request's query or, for Socket.IO, of its `auth`.
pub(crate) fn field(request: &ConnectRequest, name: &str) -> Option<String> {
    request.query(name).map(|value| value.into_owned()).or_else(|| request.auth_text(name).map(str::to_owned))
}

/// Never decides, and counts the calls that are in progress; for tests of clients that disconnect
/// while their authenticator runs. Clones share the count.
#[derive(Clone, Debug, Default)]
pub struct PendingAuthenticator(Arc<AtomicUsize>);

impl PendingAuthenticator {
    /// Returns how many calls are in progress: neither answered nor cancelled.
    pub fn in_progress(&self) -> usize {
        self.0.load(SeqCst)
    }
}

#[async_trait]
impl Authenticator for PendingAuthenticator {
    async fn authenticate(&self, _: &ConnectRequest) -> Result<Identity, Refusal> {
        self.0.fetch_add(1, SeqCst);
        let _call = Call(&self.0);
        std::future::pending().await
    }
}

/// Counts a call as no longer in progress when it is dropped.
struct Call<'a>(&'a AtomicUsize);

impl Drop for Call<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, SeqCst);
    }
}
