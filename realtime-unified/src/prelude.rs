//! What most applications name: `use realtime_unified::prelude::*;`.

pub use crate::{
    Authenticator, Caller, ConnectRequest, Context, ContextExt, Drain, Event, HandlerError, Identity,
    NotificationService, Receipt, Refusal, Rejection, Reply, RoomAccess, RoomPolicy, Target, async_trait, serve,
};
#[cfg(feature = "socketio")]
pub use crate::{SocketIoConfig, SocketIoProvider};
#[cfg(feature = "sse")]
pub use crate::{SseConfig, SseProvider};
#[cfg(feature = "ws")]
pub use crate::{WsConfig, WsProvider};
