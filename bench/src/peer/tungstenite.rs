//! tokio-tungstenite over a broadcast, a task for each connection, with the read buffer made small.

use std::sync::Arc;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::broadcast;
use tokio_tungstenite::accept_async_with_config;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use super::{BROADCAST, Broadcast, CONNECTED, envelope};
use crate::Result;
use crate::server::Publisher;

/// Serves in a task of its own.
pub fn start(listener: TcpListener) -> Arc<dyn Publisher> {
    let (events, _) = broadcast::channel(BROADCAST);
    tokio::spawn(accept(listener, events.clone()));
    Arc::new(Broadcast { events, encode: |json| Ok(envelope(json)?.into()) })
}

async fn accept(listener: TcpListener, events: broadcast::Sender<Utf8Bytes>) {
    while let Ok((stream, _)) = listener.accept().await {
        let events = events.subscribe();
        tokio::spawn(async move {
            // The clients' side notices a client that is missing.
            let _ = serve(stream, events).await;
        });
    }
}

async fn serve(stream: TcpStream, mut events: broadcast::Receiver<Utf8Bytes>) -> Result<()> {
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(4096);
    let mut socket = accept_async_with_config(stream, Some(config)).await?;
    socket.send(Message::text(CONNECTED)).await?;
    loop {
        tokio::select! {
            event = events.recv() => socket.send(Message::Text(event?)).await?,
            message = socket.next() => if message.transpose()?.is_none() { return Ok(()) },
        }
    }
}
