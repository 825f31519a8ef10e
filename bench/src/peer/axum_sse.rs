//! axum's `Sse` over a broadcast, as its examples write it.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use futures_util::stream;
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use super::{BROADCAST, Broadcast, Text, event_stream, serve};
use crate::server::Publisher;

/// Serves in a task of its own.
pub fn start(listener: TcpListener) -> Arc<dyn Publisher> {
    let (events, _) = broadcast::channel(BROADCAST);
    let app = Router::new().route("/sse", get(subscribe)).with_state(events.clone());
    serve(listener, app);
    Arc::new(Broadcast { events, encode: |json| Ok(std::str::from_utf8(json)?.into()) })
}

async fn subscribe(State(events): State<broadcast::Sender<Text>>) -> impl IntoResponse {
    // A client that misses an event is disconnected: it would count wrongly.
    event_stream(stream::unfold(events.subscribe(), async |mut events| Some((events.recv().await.ok()?, events))))
}
