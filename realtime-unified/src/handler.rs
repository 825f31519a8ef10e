//! The types behind [`Handlers`](crate::Handlers), for code that is generic over handlers, and for
//! handlers of raw messages.

pub use realtime_core::{
    ConnectionData, FromPayload, Handler, InboundKind, InboundPayload, IntoRawReply, IntoReply, Outgoing, RawReply,
    Router,
};
