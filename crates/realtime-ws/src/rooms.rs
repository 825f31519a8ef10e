//! `subscribe` and `unsubscribe`: rooms that a client names itself, in order with its other events.

use async_trait::async_trait;
use realtime_core::{Context, Error, Handler, HandlerError, Inbound, Payload, Router, check_name};
use serde::Deserialize;

struct Subscribe;
struct Unsubscribe;

#[derive(Deserialize)]
struct Named {
    #[serde(alias = "room")]
    channel: String,
}

/// Adds the handlers of both.
pub(crate) fn handle_in(router: Router) -> Router {
    router.with_handler("subscribe", Subscribe).with_handler("unsubscribe", Unsubscribe)
}

#[async_trait]
impl Handler for Subscribe {
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        let Named { channel } = inbound.payload.json()?;
        cx.subscribe(&channel).await.map_err(Error::from)?;
        answer(&channel)
    }
}

#[async_trait]
impl Handler for Unsubscribe {
    async fn call(&self, cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
        let Named { channel } = inbound.payload.json()?;
        check_name("room", &channel)?;
        cx.leave_room(&channel);
        answer(&channel)
    }
}

fn answer(channel: &str) -> Result<Option<Payload>, HandlerError> {
    Ok(Some(Payload::json(&serde_json::json!({ "channel": channel }))?))
}
