//! The handler of `refresh`, by which a client replaces its token, in order with its other events.

use async_trait::async_trait;
use serde_json::Value;

use crate::traits::context::Context;
use crate::traits::handler::Handler;
use crate::traits::router::Router;
use crate::values::event::Payload;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::{Inbound, InboundPayload};

impl Router {
    /// Adds a handler for `refresh`, by which a client replaces the token that it connected with,
    /// where the application has no handler of its own for the name.
    #[must_use]
    pub fn with_refresh_event(self) -> Self {
        self.with_default("refresh", RefreshEvent)
    }
}

struct RefreshEvent;

#[async_trait]
impl Handler for RefreshEvent {
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        let token = token_of(&inbound.payload)?;
        Ok(Some(cx.refresh(&token).await?.into()))
    }
}

/// Reads a token, alone or as `token` of an object.
fn token_of(payload: &InboundPayload) -> Result<String, HandlerError> {
    let token = match payload.json()? {
        Value::Object(mut object) => object.remove("token"),
        value => Some(value),
    };
    match token {
        Some(Value::String(token)) => Ok(token),
        _ => Err(HandlerError::new("invalid_payload", "expected {\"token\": text}")),
    }
}
