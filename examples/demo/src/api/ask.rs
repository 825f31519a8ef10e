use std::time::Duration;

use axum::Json;
use axum::extract::State;
use futures_util::future::join_all;
use realtime_unified::{AckReply, Event, NotificationService};
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
    let mut asks = Vec::new();
    for (name, capabilities) in service.providers() {
        let provider = service.provider(name)?;
        let Some(socket) = provider.socket_io().filter(|_| capabilities.acks) else { continue };
        let acks = match (&request.user, &request.room) {
            (Some(user), None) => socket.to_user_with_ack(user, event.clone(), timeout).await?,
            (None, Some(room)) => socket.to_room_with_ack(room, event.clone(), timeout).await?,
            _ => return Err(Failure::bad_request("invalid_body", "name either a user or a room")),
        };
        asks.push(async move { acks.all().await.into_iter().map(|reply| shown(name, &reply)).collect::<Vec<_>>() });
    }
    let acks: Vec<Value> = join_all(asks).await.into_iter().flatten().collect();
    Ok(Json(json!({ "acks": acks })))
}

fn shown(provider: &str, reply: &AckReply) -> Value {
    json!({
        "connectionId": reply.connection.to_string(),
        "provider": provider,
        "status": reply.status,
        "ms": reply.elapsed.as_secs_f64() * 1000.0,
        "data": reply.json::<Value>().unwrap_or(Value::Null),
    })
}
