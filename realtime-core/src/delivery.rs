//! Delivery from the log to each connection, and sends into the log: dispatcher, window, hub,
//! outboxes.

pub(crate) mod asks;
pub(crate) mod connection;
pub(crate) mod credentials;
pub(crate) mod cuts;
pub(crate) mod dispatched;
pub(crate) mod dispatcher;
pub(crate) mod expiries;
pub(crate) mod hub;
pub(crate) mod key;
pub(crate) mod membership;
pub(crate) mod offline;
pub(crate) mod outbox;
pub(crate) mod pass;
pub(crate) mod publisher;
pub(crate) mod registration;
mod room_membership;
pub(crate) mod sink;
pub(crate) mod window;
