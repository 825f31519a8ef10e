use std::mem::take;

use axum::Json;
use axum::extract::State;
use realtime_unified::{Event, NotificationService, Target};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::failure::{Body, Failure};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Send {
    /// The providers; without them, whatever users are connected with.
    #[serde(default, deserialize_with = "named")]
    provider: Option<OneOrMany>,
    target: Audience,
    event: String,
    data: Option<Box<RawValue>>,
    #[serde(default)]
    volatile: bool,
    idempotency_key: Option<String>,
    latest_key: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a provider's name or a list of them")]
enum OneOrMany {
    One(String),
    Many(Vec<String>),
}

/// Rejects `null`, which would name no provider by mistake.
fn named<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<OneOrMany>, D::Error> {
    OneOrMany::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
enum Audience {
    All,
    Room(String),
    Tenant(String),
    User(String),
}

impl From<Audience> for Target {
    fn from(audience: Audience) -> Self {
        match audience {
            Audience::All => Target::all(),
            Audience::Room(room) => Target::room(room),
            Audience::Tenant(tenant) => Target::tenant(tenant),
            Audience::User(user) => Target::user(user),
        }
    }
}

pub(super) async fn send(
    State(service): State<NotificationService>,
    Body(request): Body<Send>,
) -> Result<Json<Value>, Failure> {
    let names = match request.provider {
        None => None,
        Some(OneOrMany::One(name)) => Some(vec![name]),
        Some(OneOrMany::Many(names)) if names.is_empty() => {
            return Err(Failure::bad_request("invalid_body", "name at least one provider, or leave `provider` out"));
        }
        Some(OneOrMany::Many(names)) => Some(names),
    };
    let target = Target::from(request.target);
    target.check()?;
    let json = request.data.map_or_else(|| "null".to_owned(), |data| Box::<str>::from(data).into_string());
    let mut event = Event::raw_json(request.event, json)?;
    if request.volatile && request.idempotency_key.is_some() {
        return Err(Failure::bad_request(
            "invalid_body",
            "a volatile event is not logged, so it takes no idempotencyKey",
        ));
    }
    if request.volatile && request.latest_key.is_some() {
        return Err(Failure::bad_request(
            "invalid_body",
            "a volatile event is not caught up, so it takes no latestKey",
        ));
    }
    if request.volatile {
        event = event.as_volatile();
    }
    if let Some(key) = request.idempotency_key {
        event = event.with_idempotency_key(key);
    }
    if let Some(key) = request.latest_key {
        event = event.with_latest_key(key);
    }
    let names: Option<Vec<&str>> = names.as_ref().map(|names| names.iter().map(String::as_str).collect());
    let mut receipt = match &names {
        None => service.send(target, event).await?,
        Some(names) => service.broadcast(names, target, event).await?,
    };
    let (by_provider, skipped) = (take(&mut receipt.by_provider), take(&mut receipt.skipped));
    let mut parts: Vec<_> = by_provider.into_iter().collect();
    // In the order of the request.
    parts.sort_by_key(|(provider, _)| names.iter().flatten().position(|name| name == provider));
    let parts = parts.into_iter().map(|(provider, delivered)| {
        receipt.delivered = Some(delivered);
        json!({ "provider": provider, "receipt": receipt })
    });
    Ok(Json(json!({ "receipts": parts.collect::<Vec<_>>(), "skipped": skipped })))
}
