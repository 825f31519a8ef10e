use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use realtime_core::{Authenticator, ConnectRequest, Context, Identity, Refusal, RoomAccess, RoomPolicy};
use serde_json::{Value, json};

use crate::authenticators::field;

/// The identity that a client claims, and its requests when it connects.
#[non_exhaustive]
#[derive(Clone, Debug, Default)]
pub struct Visitor {
    /// The user.
    pub user: Option<String>,
    /// The tenant.
    pub tenant: Option<String>,
    /// The rooms in the connect request.
    pub rooms: Vec<String>,
    /// The cursor to resume from.
    pub cursor: Option<String>,
    /// The time until the identity expires.
    pub lifetime: Option<Duration>,
    /// The client's previous connection.
    pub former: Option<String>,
    /// The id of the client's token.
    pub token_id: Option<String>,
}

/// The user that [`VisitorAuthenticator`] refuses.
pub const REFUSED_USER: &str = "mallory";

impl Visitor {
    /// Creates an anonymous visitor.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Creates a visitor of this user.
    #[must_use]
    pub fn user(user: &str) -> Self {
        Self { user: Some(user.to_owned()), ..Self::default() }
    }

    /// Sets the tenant.
    #[must_use]
    pub fn with_tenant(mut self, tenant: &str) -> Self {
        self.tenant = Some(tenant.to_owned());
        self
    }

    /// Adds a room to the connect request.
    #[must_use]
    pub fn with_room(mut self, room: &str) -> Self {
        self.rooms.push(room.to_owned());
        self
    }

    /// Sets the cursor to resume from.
    #[must_use]
    pub fn with_cursor(mut self, cursor: &str) -> Self {
        self.cursor = Some(cursor.to_owned());
        self
    }

    /// Sets the client's previous connection.
    #[must_use]
    pub fn with_former(mut self, connection: impl ToString) -> Self {
        self.former = Some(connection.to_string());
        self
    }

    /// Sets the time until the identity expires.
    #[must_use]
    pub fn with_lifetime(mut self, lifetime: Duration) -> Self {
        self.lifetime = Some(lifetime);
        self
    }

    /// Sets the id of the client's token.
    #[must_use]
    pub fn with_token_id(mut self, id: &str) -> Self {
        self.token_id = Some(id.to_owned());
        self
    }

    /// Returns the query of the connect request, for transports with a URL: `user`, `tenant`,
    /// `lifetimeMs`, `channel` (repeated), `lastEventId`, `connectionId`, `tokenId`.
    #[must_use]
    pub fn query(&self) -> String {
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(self.fields());
        query.extend_pairs(self.rooms.iter().map(|room| ("channel", room)));
        query.finish()
    }

    /// Returns the `auth` of the connect request, for Socket.IO: `user`, `tenant`, `lifetimeMs`,
    /// `rooms`, `lastEventId`, `connectionId`, `tokenId`.
    #[must_use]
    pub fn auth(&self) -> Value {
        let fields = self.fields().map(|(name, value)| (name.to_owned(), json!(value)));
        let rooms = ("rooms".to_owned(), json!(self.rooms));
        Value::Object(fields.chain([rooms]).collect())
    }

    /// Returns the fields that have one value.
    fn fields(&self) -> impl Iterator<Item = (&'static str, String)> {
        let fields = [
            ("user", self.user.clone()),
            ("tenant", self.tenant.clone()),
            ("lifetimeMs", self.lifetime.map(|lifetime| lifetime.as_millis().to_string())),
            ("lastEventId", self.cursor.clone()),
            ("connectionId", self.former.clone()),
            ("tokenId", self.token_id.clone()),
        ];
        fields.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }
}

/// Identifies a [`Visitor`] as it claims, and refuses [`REFUSED_USER`]. What a token has in the
/// form of a query takes precedence; the token `bad` is refused.
#[derive(Clone, Copy, Debug, Default)]
pub struct VisitorAuthenticator;

#[async_trait]
impl Authenticator for VisitorAuthenticator {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let token = request.token().unwrap_or_default();
        if token == "bad" {
            return Err(Refusal::unauthorized("the token is bad"));
        }
        let field = |name: &str| {
            let mut of_token = form_urlencoded::parse(token.as_bytes()).filter(|(key, _)| key == name);
            of_token.next().map(|(_, value)| value.into_owned()).or_else(|| field(request, name))
        };
        let user = field("user");
        if user.as_deref() == Some(REFUSED_USER) {
            return Err(Refusal::unauthorized("not you"));
        }
        let mut identity = user.map_or_else(Identity::anonymous, Identity::user);
        if let Some(tenant) = field("tenant") {
            identity = identity.with_tenant(tenant);
        }
        if let Some(lifetime) = field("lifetimeMs") {
            let lifetime = lifetime.parse().map_err(|_| Refusal::bad_request("lifetimeMs is no number"))?;
            identity = identity.with_expiry(SystemTime::now() + Duration::from_millis(lifetime));
        }
        Ok(match field("tokenId") {
            Some(id) => identity.with_token_id(id),
            None => identity,
        })
    }
}

/// Allows every room but those whose name begins with `secret`; those that begin with `fresh` only
/// from the current position on.
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
