use realtime_unified::prelude::*;

/// Believes the name that a client gives itself: `?user=…&tenant=…`, or Socket.IO's
/// `auth: {user, tenant}`. For demos only.
pub(crate) async fn from_query(request: ConnectRequest) -> Result<Identity, Refusal> {
    let named =
        |name| request.query(name).or_else(|| request.auth_text(name).map(Into::into)).filter(|name| !name.is_empty());
    let user = named("user").ok_or_else(|| Refusal::unauthorized("say who you are: ?user=…&tenant=…"))?;
    let identity = Identity::user(user);
    Ok(match named("tenant") {
        Some(tenant) => identity.with_tenant(tenant),
        None => identity,
    })
}
