//! socketioxide, as its examples use it: every client in one room, and `io.to(room).emit`.

use std::sync::Arc;

use async_trait::async_trait;
use axum::Router;
use axum::serve::ListenerExt;
use bytes::Bytes;
use serde_json::value::RawValue;
use socketioxide::SocketIo;
use socketioxide::extract::SocketRef;
use tokio::net::TcpListener;

use super::{ID, everyone};
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
        socket.join(ROOM);
        let _ = socket.emit("connected", &());
    });
    let listener = listener.tap_io(|stream| {
        let _ = stream.set_nodelay(true);
    });
    let app: Router = Router::new().layer(layer);
    tokio::spawn(std::future::IntoFuture::into_future(axum::serve(listener, app)));
    Arc::new(Socketioxide { io })
}

#[async_trait]
impl Publisher for Socketioxide {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        everyone(audience)?;
        let json = RawValue::from_string(std::str::from_utf8(&json)?.to_owned())?;
        self.io.to(ROOM).emit(EVENT, &(json, ID)).await.map_err(|error| error.to_string().into())
    }
}
