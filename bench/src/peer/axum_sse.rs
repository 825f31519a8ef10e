//! axum's `Sse` over a broadcast, as its examples write it.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use super::{BROADCAST, Text, event_stream, everyone, serve};
use crate::Result;
use crate::server::{Audience, Publisher};

struct AxumSse {
    events: broadcast::Sender<Text>,
}

/// Serves in a task of its own.
pub fn start(listener: TcpListener) -> Arc<dyn Publisher> {
    let (events, _) = broadcast::channel(BROADCAST);
    let app = Router::new().route("/sse", get(subscribe)).with_state(events.clone());
    serve(listener, app);
    Arc::new(AxumSse { events })
}

async fn subscribe(State(events): State<broadcast::Sender<Text>>) -> impl IntoResponse {
    // A client that misses an event is disconnected: it would count wrongly.
    event_stream(stream::unfold(events.subscribe(), async |mut events| Some((events.recv().await.ok()?, events))))
}

#[async_trait]
impl Publisher for AxumSse {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        everyone(audience)?;
        self.events.send(std::str::from_utf8(&json)?.into())?;
        Ok(())
    }
}
