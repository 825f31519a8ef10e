use std::borrow::Cow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use realtime_core::spi::{CursorKey, CursorSecret, Epoch, Log};
use realtime_core::{Authenticator, ConnectRequest, Error, Identity, Refusal, RefusalKind, Result, TokenSource};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::time::{Instant, timeout};

use crate::caller::HTTP;
use crate::ticket::config::{TICKET, TicketConfig};
use crate::ticket::seal::{MAX_CHARACTERS, Sealed, seal};

/// The longest time that the log may take to say its epoch.
const STATE: Duration = Duration::from_secs(2);
/// The least time between two questions for the epoch: a stranger's ticket may name any.
const BETWEEN_STATES: Duration = Duration::from_secs(1);

/// The places of a token that a client writes by itself, and no browser.
const PRESENTED: [TokenSource; 3] =
    [TokenSource::Bearer, TokenSource::Auth(Cow::Borrowed("token")), TokenSource::Subprotocol];

/// Issues tickets, and accepts each once: the authenticator in front of the application's own.
#[derive(Clone)]
pub(crate) struct TicketIssuer(Arc<Parts>);

struct Parts {
    config: TicketConfig,
    /// The application's authenticator, for all that connects without a ticket.
    inner: Arc<dyn Authenticator>,
    log: Log,
    secret: Option<CursorSecret>,
    /// The key that was used last.
    current: Mutex<Option<Current>>,
}

#[derive(Clone)]
struct Current {
    epoch: Epoch,
    key: CursorKey,
    asked: Instant,
}

/// The content of a ticket.
#[derive(Serialize, Deserialize)]
struct Content {
    /// Until when it can be used, in milliseconds since 1970.
    until: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    user: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tenant: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_id: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    rooms: Vec<String>,
    /// The claims, after the name of their type.
    #[serde(skip_serializing_if = "Option::is_none")]
    claims: Option<(String, Value)>,
}

/// A new ticket, and for how long it can be used.
pub(crate) struct Ticket {
    pub(crate) text: String,
    pub(crate) lifetime: Duration,
}

impl TicketIssuer {
    pub(crate) fn new(
        config: TicketConfig,
        inner: Arc<dyn Authenticator>,
        log: Log,
        secret: Option<CursorSecret>,
    ) -> Self {
        Self(Arc::new(Parts { config, inner, log, secret, current: Mutex::new(None) }))
    }

    pub(crate) fn path(&self) -> &str {
        self.0.config.path()
    }

    /// Makes a ticket for an identity.
    ///
    /// # Errors
    /// [`Error::Backplane`] while the log is away; [`Error::Config`] for claims that cannot be put
    /// into a ticket, or are too long for one.
    pub(crate) async fn issue(&self, identity: &Identity) -> Result<Ticket> {
        let now = SystemTime::now();
        let lifetime = match identity.expiry() {
            Some(at) => self.0.config.lifetime.min(at.duration_since(now).unwrap_or_default()),
            None => self.0.config.lifetime,
        };
        let content = self.0.content(identity, now + lifetime)?;
        let content = serde_json::to_vec(&content).map_err(|error| Error::InvalidPayload(error.into()))?;
        let wanted = self.0.log.epoch();
        let Current { epoch, key, .. } =
            self.0.current(|current| Some(current.epoch) == wanted).await.ok_or_else(log_away)?;
        let text = seal(epoch, &key, &content).ok_or_else(|| {
            Error::Config(format!("an identity is too long for a ticket of {MAX_CHARACTERS} characters"))
        })?;
        Ok(Ticket { text, lifetime })
    }

    /// Returns the identity of a ticket that nobody has used.
    async fn redeem(&self, text: &str) -> Result<Identity, Refusal> {
        let parts = &self.0;
        let sealed = Sealed::read(text).ok_or_else(invalid)?;
        let epoch = sealed.epoch();
        // The node may know of another epoch than the key that was used last.
        let known = parts.log.epoch();
        let is_wanted = |current: &Current| current.epoch == epoch && known == Some(epoch);
        let current = parts.current(is_wanted).await.ok_or_else(unavailable)?;
        if current.epoch != epoch {
            return Err(invalid());
        }
        let content = sealed.open(&current.key).ok_or_else(invalid)?;
        let content: Content = serde_json::from_slice(&content).map_err(|_| invalid())?;
        if SystemTime::now() >= time(content.until).ok_or_else(invalid)? {
            return Err(Refusal::unauthorized("the ticket has expired").with_code("ticket_expired"));
        }
        let identity = parts.identity(content).ok_or_else(invalid)?;
        let keep = parts.config.lifetime * 2 + Duration::from_secs(60);
        match parts.log.take_once(epoch, &sealed.nonce(), keep).await {
            Ok(true) => Ok(identity),
            Ok(false) => Err(Refusal::unauthorized("the ticket has been used").with_code("ticket_used")),
            Err(error) => {
                tracing::warn!(%error, "a ticket could not be checked");
                Err(unavailable())
            }
        }
    }
}

impl Parts {
    /// Returns the key of the log's epoch: the one that was used last if it is the wanted one, or
    /// if the log was asked a moment ago. `None` while the log does not answer.
    async fn current(&self, is_wanted: impl Fn(&Current) -> bool) -> Option<Current> {
        if let Some(known) = self.current.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
            if is_wanted(known) || known.asked.elapsed() < BETWEEN_STATES {
                return Some(known.clone());
            }
            known.asked = Instant::now();
        }
        let state = timeout(STATE, self.log.backplane().state()).await.ok()?;
        let state = state.inspect_err(|error| tracing::warn!(%error, "the log has no key for tickets")).ok()?;
        let key = self.secret.as_ref().map_or(state.key, |secret| secret.key(state.epoch));
        let current = Current { epoch: state.epoch, key, asked: Instant::now() };
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = Some(current.clone());
        Some(current)
    }

    fn content(&self, identity: &Identity, until: SystemTime) -> Result<Content> {
        let claims = match identity.claims_type() {
            None => None,
            Some(type_name) => {
                let codec = self.config.claims.iter().find(|codec| codec.type_name == type_name);
                let claims = codec.and_then(|codec| codec.encode(identity));
                Some((type_name.to_owned(), claims.ok_or_else(|| unknown_claims(type_name))?))
            }
        };
        Ok(Content {
            until: millis(until),
            user: identity.user_name().map(str::to_owned),
            tenant: identity.tenant_name().map(str::to_owned),
            expires: identity.expiry().map(millis),
            token_id: identity.token_id().map(str::to_owned),
            rooms: identity.rooms().map(str::to_owned).collect(),
            claims,
        })
    }

    /// Returns the identity of a ticket; `None` for claims of a type that this node does not know.
    fn identity(&self, content: Content) -> Option<Identity> {
        let Content { until: _, user, tenant, expires, token_id, rooms, claims } = content;
        let mut identity = user.map_or_else(Identity::anonymous, Identity::user).with_rooms(rooms);
        if let Some(tenant) = tenant {
            identity = identity.with_tenant(tenant);
        }
        if let Some(expires) = expires {
            identity = identity.with_expiry(time(expires)?);
        }
        if let Some(id) = token_id {
            identity = identity.with_token_id(id);
        }
        let Some((type_name, claims)) = claims else { return Some(identity) };
        self.config.claims.iter().find(|codec| codec.type_name == type_name)?.decode(identity, claims)
    }
}

#[async_trait]
impl Authenticator for TicketIssuer {
    /// Accepts a ticket, and asks the application's authenticator about all else. A route of the
    /// application's own, and that of the tickets, accept none: a ticket is for one connection. Nor
    /// does a request with a token, as that by which a connection gets another identity.
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let ticket = request.auth_text(TICKET).map(Into::into).or_else(|| request.query(TICKET));
        let has_token = || request.token_in(&PRESENTED).is_some();
        match ticket.filter(|_| request.provider() != HTTP && !has_token()) {
            Some(ticket) => self.redeem(&ticket).await,
            None => self.0.inner.authenticate(request).await,
        }
    }
}

fn invalid() -> Refusal {
    Refusal::unauthorized("the ticket is invalid or has expired").with_code("ticket_invalid")
}

fn unavailable() -> Refusal {
    Refusal::new(RefusalKind::Unavailable, "tickets cannot be checked now").with_setting("tickets")
}

fn log_away() -> Error {
    Error::Backplane("the log has no key for tickets".into())
}

fn unknown_claims(type_name: &str) -> Error {
    Error::Config(format!("tickets: claims of the type {type_name} need TicketConfig::with_claims"))
}

fn millis(at: SystemTime) -> u64 {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    u64::try_from(since).unwrap_or(u64::MAX)
}

fn time(millis: u64) -> Option<SystemTime> {
    UNIX_EPOCH.checked_add(Duration::from_millis(millis))
}
