//! `subscribe`, `unsubscribe`, `join` and `leave`: rooms that a client names itself, in order with its other events.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::{Context, Handler, HandlerError, Inbound, InboundPayload, Payload, Router, check_name};

/// Adds the handlers for each of these names that has none of the application's own.
pub(crate) fn handle_in(router: Router) -> Router {
    router
        .with_default("subscribe", RoomEvent { enters: true, names_room: true })
        .with_default("unsubscribe", RoomEvent { enters: false, names_room: true })
        .with_default("join", RoomEvent { enters: true, names_room: false })
        .with_default("leave", RoomEvent { enters: false, names_room: false })
}

struct RoomEvent {
    /// Or leaves.
    enters: bool,
    /// The answer is `{"channel": name}`; if not, whether anything has changed.
    names_room: bool,
}

#[async_trait]
impl Handler for RoomEvent {
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        let room = room_of(&inbound.payload)?;
        let changed = if self.enters {
            cx.subscribe(&room).await?
        } else {
            check_name("room", &room)?;
            cx.leave_room(&room)
        };
        let answer = if self.names_room { json!({ "channel": room }) } else { json!(changed) };
        Ok(Some(Payload::json(&answer)?))
    }
}

/// A room's name, alone or as `channel` or `room` of an object.
fn room_of(payload: &InboundPayload) -> Result<String, HandlerError> {
    let named = match payload.json()? {
        Value::Object(mut object) => object.remove("channel").or_else(|| object.remove("room")),
        value => Some(value),
    };
    match named {
        Some(Value::String(room)) => Ok(room),
        _ => Err(HandlerError::new("invalid_payload", "expected a room's name, or {\"channel\": name}")),
    }
}
