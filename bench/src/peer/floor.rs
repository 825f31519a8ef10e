//! The least that can be done: a frame encoded once and one `try_write` for each connection.

use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{envelope, everyone};
use crate::Result;
use crate::client::ws;
use crate::server::{Audience, Publisher};

#[derive(Clone, Default)]
struct Floor {
    /// Held while all of them are written to, as nothing else is done here.
    connections: Arc<Mutex<Vec<TcpStream>>>,
}

/// Serves in a task of its own.
pub fn start(listener: TcpListener) -> Arc<dyn Publisher> {
    let floor = Floor::default();
    tokio::spawn(floor.clone().accept(listener));
    Arc::new(floor)
}

impl Floor {
    async fn accept(self, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let floor = self.clone();
            tokio::spawn(async move {
                if let Ok(stream) = open(stream).await {
                    floor.connections.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
                }
            });
        }
    }
}

/// Answers the handshake without looking at it, and greets.
async fn open(mut stream: TcpStream) -> Result<TcpStream> {
    stream.set_nodelay(true)?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Err("closed within the request".into());
        }
    }
    let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec();
    answer.extend(ws::text(b"{\"type\":\"connected\",\"payload\":{}}"));
    stream.write_all(&answer).await?;
    Ok(stream)
}

#[async_trait]
impl Publisher for Floor {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        everyone(audience)?;
        let frame = ws::text(envelope(&json)?.as_bytes());
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        // A client that does not take a whole frame is out.
        connections.retain(|stream| stream.try_write(&frame).is_ok_and(|written| written == frame.len()));
        Ok(())
    }
}
