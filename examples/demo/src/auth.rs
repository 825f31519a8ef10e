use realtime_unified::async_trait;
use realtime_unified::{Authenticator, ConnectRequest, Identity, Refusal};

/// Believes who a client says it is: `?user=…&tenant=…`, or Socket.IO's `auth: {user, tenant}`. For demos only.
pub(crate) struct FromQuery;

#[async_trait]
impl Authenticator for FromQuery {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let said = |name| {
            request.query(name).or_else(|| request.auth_text(name).map(Into::into)).filter(|name| !name.is_empty())
        };
        let user = said("user").ok_or_else(|| Refusal::unauthorized("say who you are: ?user=…&tenant=…"))?;
        let identity = Identity::user(&*user);
        Ok(match said("tenant") {
            Some(tenant) => identity.with_tenant(&*tenant),
            None => identity,
        })
    }
}
