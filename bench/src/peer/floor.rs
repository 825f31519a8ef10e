//! The lower bound: a frame encoded once and one `try_write` for each connection.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use realtime_wire::websocket::server_text;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::{CONNECTED, envelope, user_in};
use crate::server::{Audience, Publisher};
use crate::{Result, lock};

#[derive(Clone, Default)]
struct Floor {
    /// The streams, locked during the writes, as nothing else is done here.
    connections: Arc<Mutex<Connections>>,
}

#[derive(Default)]
struct Connections {
    anonymous: Vec<TcpStream>,
    users: HashMap<String, TcpStream>,
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
                match open(stream).await {
                    Ok((stream, Some(user))) => drop(lock(&floor.connections).users.insert(user, stream)),
                    Ok((stream, None)) => lock(&floor.connections).anonymous.push(stream),
                    Err(error) => eprintln!("handshake: {error}"),
                }
            });
        }
    }
}

/// Answers the handshake, of which it only reads the user, and sends `connected`.
async fn open(mut stream: TcpStream) -> Result<(TcpStream, Option<String>)> {
    stream.set_nodelay(true)?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Err("closed within the request".into());
        }
    }
    let mut answer = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n".to_vec();
    answer.extend(server_text(CONNECTED.as_bytes()));
    stream.write_all(&answer).await?;
    let uri = std::str::from_utf8(&request)?.split(' ').nth(1).ok_or("not a request")?;
    Ok((stream, user_in(&uri.parse()?)))
}

#[async_trait]
impl Publisher for Floor {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        let frame = server_text(envelope(&json)?.as_bytes());
        let takes = |stream: &TcpStream| stream.try_write(&frame).is_ok_and(|written| written == frame.len());
        let mut connections = lock(&self.connections);
        match audience {
            // A client that does not accept a whole frame is dropped.
            Audience::All => connections.anonymous.retain(takes),
            Audience::Room(_) => return Err("this server has no rooms".into()),
            Audience::User(user) => {
                if !connections.users.get(user).is_some_and(takes) {
                    return Err(format!("{user} does not take it").into());
                }
            }
        }
        Ok(())
    }
}
