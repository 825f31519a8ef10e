//! axum's `Sse` and its websockets over one `tokio::sync::mpsc` for each user, as an application
//! writes them that sends to one user at a time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use axum::Router;
use axum::extract::ws::{Message, Utf8Bytes, WebSocket, WebSocketUpgrade};
use axum::extract::{Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::{CONNECTED, Text, envelope, event_stream, serve};
use crate::server::{Audience, Publisher};
use crate::{Result, lock};

/// The number of events that may wait for one connection, as in our outboxes.
const CAPACITY: usize = 256;

/// The sending side of each user's connection.
struct Mailboxes<T> {
    /// The users, locked to look one up.
    users: Mutex<HashMap<String, mpsc::Sender<T>>>,
    /// Encodes the message for an event with this JSON.
    encode: fn(&Bytes) -> Result<T>,
}

#[derive(Deserialize)]
struct Who {
    user: String,
}

/// Serves event streams in a task of its own.
pub fn start_sse(listener: TcpListener) -> Arc<dyn Publisher> {
    start(listener, |json| Ok(std::str::from_utf8(json)?.into()), Router::new().route("/sse", get(subscribe)))
}

/// Serves websockets in a task of its own.
pub fn start_ws(listener: TcpListener) -> Arc<dyn Publisher> {
    start(listener, |json| Ok(envelope(json)?.into()), Router::new().route("/ws", get(upgrade)))
}

fn start<T: Send + 'static>(
    listener: TcpListener,
    encode: fn(&Bytes) -> Result<T>,
    app: Router<Arc<Mailboxes<T>>>,
) -> Arc<dyn Publisher> {
    let mailboxes = Arc::new(Mailboxes { users: Mutex::default(), encode });
    serve(listener, app.with_state(Arc::clone(&mailboxes)));
    mailboxes
}

async fn subscribe(State(mailboxes): State<Arc<Mailboxes<Text>>>, Query(who): Query<Who>) -> impl IntoResponse {
    event_stream(stream::unfold(mailboxes.open(who.user), async |mut events| Some((events.recv().await?, events))))
}

async fn upgrade(
    State(mailboxes): State<Arc<Mailboxes<Utf8Bytes>>>,
    Query(who): Query<Who>,
    upgrade: WebSocketUpgrade,
) -> Response {
    let events = mailboxes.open(who.user);
    // The clients' side notices a client that is missing.
    upgrade.on_upgrade(async move |socket| drop(converse(socket, events).await))
}

async fn converse(mut socket: WebSocket, mut events: mpsc::Receiver<Utf8Bytes>) -> Result<()> {
    socket.send(Message::text(CONNECTED)).await?;
    loop {
        tokio::select! {
            event = events.recv() => match event {
                Some(text) => socket.send(Message::Text(text)).await?,
                None => return Ok(()),
            },
            message = socket.recv() => if message.transpose()?.is_none() { return Ok(()) },
        }
    }
}

impl<T> Mailboxes<T> {
    fn open(&self, user: String) -> mpsc::Receiver<T> {
        let (sender, events) = mpsc::channel(CAPACITY);
        lock(&self.users).insert(user, sender);
        events
    }
}

#[async_trait]
impl<T: Send + 'static> Publisher for Mailboxes<T> {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        let Audience::User(user) = audience else { return Err("this server only sends to users".into()) };
        let sender = lock(&self.users).get(user).cloned();
        let sender = sender.ok_or("no user has this name")?;
        sender.send((self.encode)(&json)?).await.map_err(|_| "the user has left".into())
    }
}
