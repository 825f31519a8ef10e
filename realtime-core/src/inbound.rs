//! Events from clients: the inbound queue of a connection, the meter of what it sends, and the
//! events by which it enters and leaves rooms.

pub(crate) mod inbox;
pub(crate) mod meter;
pub(crate) mod refresh_event;
pub(crate) mod room_events;
