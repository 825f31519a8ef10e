//! socketioxide, as its examples use it: every client in one room, or in one of its user, and
//! `io.to(room).emit`.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use bytes::Bytes;
use serde_json::value::RawValue;
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use tokio::net::TcpListener;

use super::{ID, serve, user_in};
use crate::Result;
use crate::payload::EVENT;
use crate::server::{Audience, Publisher};

const ROOM: &str = "everyone";

struct Socketioxide {
    io: SocketIo,
}

/// Serves in a task of its own.
pub fn start(listener: TcpListener) -> Arc<dyn Publisher> {
    let (layer, io) = SocketIo::new_layer();
    io.ns("/", async |socket: SocketRef| {
        match user_in(&socket.req_parts().uri) {
            Some(user) => socket.join(user),
            None => socket.join(ROOM),
        }
        let _ = socket.emit("connected", &());
    });
    serve(listener, Router::new().layer(layer));
    Arc::new(Socketioxide { io })
}

#[async_trait]
impl Publisher for Socketioxide {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        let room = match audience {
            Audience::All => ROOM,
            Audience::Room(_) => return Err("this server has no rooms of its clients".into()),
            Audience::User(user) => user,
        };
        let json = RawValue::from_string(std::str::from_utf8(&json)?.to_owned())?;
        self.io.to(room.to_owned()).emit(EVENT, &(json, ID)).await.map_err(|error| error.to_string().into())
    }
}
