//! The servers that our transports are compared with.

use std::convert::Infallible;
use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::http::Uri;
use axum::response::IntoResponse;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::serve::ListenerExt;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use tokio::net::TcpListener;
use tokio::sync::broadcast;

use crate::Result;
use crate::payload::EVENT;
use crate::server::{Audience, Publisher};

pub mod axum_sse;
pub mod floor;
pub mod mailboxes;
pub mod plain;
pub mod socketioxide;
pub mod tungstenite;

/// The number of events that may wait in a `tokio::sync::broadcast`.
const BROADCAST: usize = 1024;

/// A text as long as a cursor: the peers send as many bytes as our transports do.
const ID: &str = "AgFdG7_mlwdnoAAAAAAAAAABAAAAAYb3p0d1Q2kzX1mWq8sT5u";

/// A published text, shared by all connections.
type Text = Arc<str>;

/// The event `connected` of the WebSocket peers.
const CONNECTED: &str = "{\"type\":\"connected\",\"payload\":{}}";

/// Serves routes in a task of its own, without Nagle's algorithm.
fn serve(listener: TcpListener, app: Router) {
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    tokio::spawn(std::future::IntoFuture::into_future(axum::serve(listener, app)));
}

/// Answers with `connected` and these events.
fn event_stream(events: impl Stream<Item = Text> + Send + 'static) -> impl IntoResponse {
    let hello = stream::iter([Event::default().event("connected").data("{}")]);
    let events = events.map(|text| Event::default().event(EVENT).id(ID).data(text));
    Sse::new(hello.chain(events).map(Ok::<_, Infallible>)).keep_alive(KeepAlive::default())
}

/// Encodes the envelope that our WebSocket provider writes.
fn envelope(json: &Bytes) -> Result<String> {
    Ok(format!("{{\"type\":\"{EVENT}\",\"payload\":{},\"id\":\"{ID}\"}}", std::str::from_utf8(json)?))
}

/// A server with one broadcast for all connections.
struct Broadcast<T> {
    events: broadcast::Sender<T>,
    /// Encodes the message for an event with this JSON.
    encode: fn(&Bytes) -> Result<T>,
}

#[async_trait]
impl<T: Send + 'static> Publisher for Broadcast<T> {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        everyone(audience)?;
        self.events.send((self.encode)(&json)?).map_err(|_| "no client is connected")?;
        Ok(())
    }
}

/// Returns the user in a client's URL.
fn user_in(uri: &Uri) -> Option<String> {
    let pairs = uri.query().unwrap_or_default().split('&');
    pairs.filter_map(|pair| pair.split_once('=')).find_map(|(name, value)| (name == "user").then(|| value.to_owned()))
}

/// Rejects audiences that a peer without users does not have.
fn everyone(audience: &Audience) -> Result<()> {
    match audience {
        Audience::All => Ok(()),
        Audience::Room(_) | Audience::User(_) => Err("this server has no rooms and users".into()),
    }
}
