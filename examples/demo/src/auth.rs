use std::time::{Duration, SystemTime};

use realtime_unified::Authenticator;
use realtime_unified::prelude::*;

/// Believes the name that a client gives itself: `?user=…&tenant=…`, or Socket.IO's
/// `auth: {user, tenant}`, for so long. For demos only: any token refreshes such a login.
pub(crate) fn from_query(life: Option<Duration>) -> impl Authenticator {
    move |request: ConnectRequest| std::future::ready(identify(&request, life))
}

fn identify(request: &ConnectRequest, life: Option<Duration>) -> Result<Identity, Refusal> {
    let named =
        |name| request.query(name).or_else(|| request.auth_text(name).map(Into::into)).filter(|name| !name.is_empty());
    let user = named("user").ok_or_else(|| Refusal::unauthorized("say who you are: ?user=…&tenant=…"))?;
    let mut identity = Identity::user(user);
    if let Some(life) = life {
        identity = identity.with_expiry(SystemTime::now() + life);
    }
    Ok(match named("tenant") {
        Some(tenant) => identity.with_tenant(tenant),
        None => identity,
    })
}
