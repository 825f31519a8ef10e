//! Packets and frames as bytes, in the formats of Socket.IO, Engine.IO and WebSocket, without a
//! session.

pub(crate) mod args;
pub(crate) mod encoded;
pub(crate) mod entry;
pub(crate) mod frame;
pub(crate) mod frame_rewriter;
pub(crate) mod frame_scan;
pub(crate) mod head;
pub(crate) mod packet_scan;
pub(crate) mod payload;
pub(crate) mod post_rewriter;
pub(crate) mod rewrite;
