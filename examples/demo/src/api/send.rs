use std::collections::HashSet;

use axum::Json;
use axum::extract::State;
use realtime_unified::{Event, NotificationService, Target};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::failure::{Body, Failure};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Send {
    provider: OneOrMany,
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
    let mut names = match request.provider {
        OneOrMany::One(name) => vec![name],
        OneOrMany::Many(names) => names,
    };
    let mut known = HashSet::new();
    names.retain(|name| known.insert(name.clone()));
    if names.is_empty() {
        return Err(Failure::bad_request("invalid_body", "name at least one provider"));
    }
    // All or nothing for what is wrong with the request itself.
    for name in &names {
        service.provider(name)?;
    }
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
        event = event.volatile();
    }
    if let Some(key) = request.idempotency_key {
        event = event.idempotency_key(key)?;
    }
    if let Some(key) = request.latest_key {
        event = event.latest_key(key)?;
    }
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let outcomes = service.broadcast(&names, target, event).await;
    let alone = names.len() == 1;
    let mut receipts = Vec::new();
    for (provider, result) in outcomes {
        receipts.push(match result {
            Ok(receipt) => json!({ "provider": provider, "receipt": receipt }),
            Err(error) if alone => return Err(error.into()),
            Err(error) => {
                json!({ "provider": provider, "error": { "code": error.code(), "message": error.to_string() } })
            }
        });
    }
    Ok(Json(json!({ "receipts": receipts })))
}
