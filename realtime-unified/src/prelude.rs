//! The names that most applications use: `use realtime_unified::prelude::*;`.
//!
//! There is no `Result` among them, so that they do not get in the way of the standard one.

pub use crate::{
    AllowRooms, Caller, ConnectRequest, Context, ContextExt, Drain, Event, HandlerError, Handlers, Identity,
    NotificationService, Origins, Receipt, Refusal, Rejection, Reply, RoomAccess, StaticTokens, Target, serve,
};
#[cfg(feature = "socketio")]
pub use crate::{SocketIoConfig, SocketIoProvider};
#[cfg(feature = "sse")]
pub use crate::{SseConfig, SseProvider};
#[cfg(feature = "ws")]
pub use crate::{WsConfig, WsProvider};
