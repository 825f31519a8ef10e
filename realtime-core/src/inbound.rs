//! What clients send: from the queue of a connection to its handler.

pub(crate) mod context;
pub(crate) mod handler;
pub(crate) mod inbox;
pub(crate) mod room_events;
pub(crate) mod router;
