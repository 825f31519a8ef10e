//! The names that most applications use: `use realtime_unified::prelude::*;`.
//!
//! There is no `Result` among them, so that they do not get in the way of the standard one.

pub use crate::{
    AllowRooms, Authenticator, Caller, ConnectRequest, Context, ContextExt, Drain, Event, HandlerError, Handlers,
    Identity, LifecycleHook, NotificationService, Origins, RealtimeBroadcast, RealtimeProvider, Receipt, Refusal,
    Rejection, Reply, RoomAccess, RoomMembership, RoomPolicy, SocketIoBroadcast, Target, async_trait, serve,
    shutdown_signal,
};
#[cfg(feature = "socketio")]
pub use crate::{SocketIoConfig, SocketIoProvider};
#[cfg(feature = "sse")]
pub use crate::{SseConfig, SseProvider};
#[cfg(feature = "ws")]
pub use crate::{WsConfig, WsProvider};
