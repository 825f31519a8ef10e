//! axum's `Sse` over a broadcast, as its examples write it.

use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use axum::serve::ListenerExt;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use super::{BROADCAST, ID, Text, everyone};
use crate::Result;
use crate::payload::EVENT;
use crate::server::{Audience, Publisher};

struct AxumSse {
    events: broadcast::Sender<Text>,
}

/// Serves in a task of its own.
pub fn start(listener: TcpListener) -> Arc<dyn Publisher> {
    let (events, _) = broadcast::channel(BROADCAST);
    let app = Router::new().route("/sse", get(subscribe)).with_state(events.clone());
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(std::future::IntoFuture::into_future(axum::serve(listener, app)));
    Arc::new(AxumSse { events })
}

async fn subscribe(
    State(events): State<broadcast::Sender<Text>>,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let hello = stream::iter([Ok(Event::default().event("connected").data("{}"))]);
    let events = stream::unfold(events.subscribe(), async |mut events| {
        // A client that misses an event is disconnected: it would count wrongly.
        let text = events.recv().await.ok()?;
        Some((Ok(Event::default().event(EVENT).id(ID).data(text)), events))
    });
    Sse::new(hello.chain(events)).keep_alive(KeepAlive::default())
}

#[async_trait]
impl Publisher for AxumSse {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        everyone(audience)?;
        self.events.send(std::str::from_utf8(&json)?.into())?;
        Ok(())
    }
}
