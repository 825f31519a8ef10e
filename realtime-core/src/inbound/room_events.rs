//! The handlers of `subscribe`, `unsubscribe`, `join` and `leave`: rooms that a client names
//! itself, in order with its other events.

use async_trait::async_trait;
use serde_json::{Value, json};

use crate::traits::context::Context;
use crate::traits::handler::Handler;
use crate::traits::router::Router;
use crate::values::event::Payload;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::{Inbound, InboundPayload};
use crate::values::name::check_name;

impl Router {
    /// Adds handlers for `subscribe` and `unsubscribe`, `join` and `leave`, by which a client
    /// enters and leaves rooms, where the application has no handler of its own for the name.
    pub fn with_room_events(self) -> Self {
        self.with_default("subscribe", RoomEvent { enters: true, names_room: true })
            .with_default("unsubscribe", RoomEvent { enters: false, names_room: true })
            .with_default("join", RoomEvent { enters: true, names_room: false })
            .with_default("leave", RoomEvent { enters: false, names_room: false })
    }
}

struct RoomEvent {
    /// `true` to enter the room, `false` to leave it.
    enters: bool,
    /// `true` if the answer is `{"channel": name}`, `false` if it says whether anything has
    /// changed.
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

/// Reads a room's name, alone or as `channel` or `room` of an object.
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
