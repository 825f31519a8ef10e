use std::time::Duration;

use axum::Json;
use axum::extract::State;
use realtime_unified::{AckReply, Event, NotificationService, Target};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::failure::{Body, Failure};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Ask {
    user: Option<String>,
    room: Option<String>,
    event: String,
    data: Option<Box<RawValue>>,
    #[serde(default = "default_timeout")]
    timeout_ms: u64,
}

fn default_timeout() -> u64 {
    5_000
}

/// The longest wait, in milliseconds.
const MAX_TIMEOUT: u64 = 60_000;

pub(super) async fn ask(
    State(service): State<NotificationService>,
    Body(request): Body<Ask>,
) -> Result<Json<Value>, Failure> {
    if !(1..=MAX_TIMEOUT).contains(&request.timeout_ms) {
        return Err(Failure::bad_request("invalid_body", "timeoutMs must be from 1 to 60000"));
    }
    let timeout = Duration::from_millis(request.timeout_ms);
    let json = request.data.map_or_else(|| "null".to_owned(), |data| Box::<str>::from(data).into_string());
    let event = Event::raw_json(request.event, json)?;
    let target = match (request.user, request.room) {
        (Some(user), None) => Target::user(user),
        (None, Some(room)) => Target::room(room),
        _ => return Err(Failure::bad_request("invalid_body", "name either a user or a room")),
    };
    let acks = service.ask_each(target, event, timeout).await?.all().await;
    Ok(Json(json!({ "acks": acks.iter().map(shown).collect::<Vec<_>>() })))
}

fn shown(reply: &AckReply) -> Value {
    json!({
        "connectionId": reply.connection.to_string(),
        "provider": reply.provider,
        "status": reply.status,
        "ms": reply.elapsed.as_secs_f64() * 1000.0,
        "data": reply.json::<Value>().unwrap_or(Value::Null),
    })
}
