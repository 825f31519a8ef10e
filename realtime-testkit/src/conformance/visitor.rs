use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use realtime_core::{Authenticator, ConnectRequest, Context, Identity, Refusal, RoomAccess, RoomPolicy};
use serde_json::{Value, json};

/// Who a client says it is, and what it asks for when it connects.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    /// Its user.
    pub user: Option<String>,
    /// Its tenant.
    pub tenant: Option<String>,
    /// The rooms it names.
    pub rooms: Vec<String>,
    /// From where it wants to go on.
    pub cursor: Option<String>,
    /// How long its identity holds.
    pub lifetime: Option<Duration>,
    /// The connection that it had before.
    pub former: Option<String>,
}

/// The user that [`VisitorAuthenticator`] refuses.
pub const REFUSED_USER: &str = "mallory";

impl Visitor {
    /// Nobody in particular.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// This user.
    pub fn user(user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..Self::default() }
    }

    /// In this tenant.
    pub fn tenant(mut self, tenant: &str) -> Self {
        self.tenant = Some(tenant.to_owned());
        self
    }

    /// Naming one more room.
    pub fn room(mut self, room: &str) -> Self {
        self.rooms.push(room.to_owned());
        self
    }

    /// Going on from this place.
    pub fn resume(mut self, cursor: &str) -> Self {
        self.cursor = Some(cursor.to_owned());
        self
    }

    /// Having been this connection before.
    pub fn formerly(mut self, connection: impl ToString) -> Self {
        self.former = Some(connection.to_string());
        self
    }

    /// With an identity that ends after this time.
    pub fn lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// The query of a request of this visitor, for transports that are asked by URL: `user`, `tenant`, `lifetimeMs`,
    /// `channel` (repeated), `lastEventId`, `connectionId`.
    pub fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        let lifetime = self.lifetime.map(|lifetime| lifetime.as_millis().to_string());
        let single = [
            ("user", &self.user),
            ("tenant", &self.tenant),
            ("lifetimeMs", &lifetime),
            ("lastEventId", &self.cursor),
            ("connectionId", &self.former),
        ];
        for (name, value) in single {
            if let Some(value) = value {
                query.append_pair(name, value);
            }
        }
        for room in &self.rooms {
            query.append_pair("channel", room);
        }
        query.finish()
    }

    /// The `auth` of this visitor, for Socket.IO: `user`, `tenant`, `lifetimeMs`, `rooms`, `lastEventId`,
    /// `connectionId`.
    pub fn auth(&self) -> Value {
        let mut auth = serde_json::Map::new();
        let lifetime = self.lifetime.map(|lifetime| lifetime.as_millis().to_string());
        let single = [
            ("user", &self.user),
            ("tenant", &self.tenant),
            ("lifetimeMs", &lifetime),
            ("lastEventId", &self.cursor),
            ("connectionId", &self.former),
        ];
        for (name, value) in single {
            if let Some(value) = value {
                auth.insert(name.to_owned(), json!(value));
            }
        }
        auth.insert("rooms".to_owned(), json!(self.rooms));
        auth.into()
    }
}

/// Believes what a [`Visitor`] says, but refuses [`REFUSED_USER`].
#[derive(Clone, Copy, Debug, Default)]
pub struct VisitorAuthenticator;

#[async_trait]
impl Authenticator for VisitorAuthenticator {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let find = |name| {
            request.query(name).map(|value| value.into_owned()).or_else(|| request.auth_text(name).map(str::to_owned))
        };
        let user = find("user");
        if user.as_deref() == Some(REFUSED_USER) {
            return Err(Refusal::unauthorized("not you"));
        }
        let mut identity = user.map_or_else(Identity::anonymous, Identity::user);
        if let Some(tenant) = find("tenant") {
            identity = identity.with_tenant(tenant);
        }
        if let Some(lifetime) = find("lifetimeMs") {
            let lifetime = lifetime.parse().map_err(|_| Refusal::bad_request("lifetimeMs is no number"))?;
            identity = identity.with_expiry(SystemTime::now() + Duration::from_millis(lifetime));
        }
        Ok(identity)
    }
}

/// Allows every room but those whose name begins with `secret`; with `fresh`, only from now on.
#[derive(Clone, Copy, Debug, Default)]
pub struct VisitorPolicy;

#[async_trait]
impl RoomPolicy for VisitorPolicy {
    async fn access(&self, _: &Context, room: &str) -> RoomAccess {
        if room.starts_with("secret") {
            RoomAccess::Deny
        } else if room.starts_with("fresh") {
            RoomAccess::AllowFromNow
        } else {
            RoomAccess::Allow
        }
    }
}
