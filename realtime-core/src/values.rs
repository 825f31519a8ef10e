//! The values that an application passes and receives: events, targets, identities, positions,
//! errors.

pub(crate) mod ack;
pub(crate) mod capabilities;
pub(crate) mod claims;
pub(crate) mod close;
pub(crate) mod config;
pub(crate) mod connection;
pub(crate) mod connection_data;
pub(crate) mod connection_stats;
pub(crate) mod cursor;
pub(crate) mod cursor_key;
pub(crate) mod cursor_secret;
pub(crate) mod drain;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod event_id;
pub(crate) mod handler_error;
pub(crate) mod health;
pub(crate) mod identity;
pub(crate) mod inbound;
pub(crate) mod json;
pub(crate) mod json_error;
pub(crate) mod member;
pub(crate) mod name;
pub(crate) mod node;
pub(crate) mod number;
pub(crate) mod position;
pub(crate) mod random;
pub(crate) mod raw_reply;
pub(crate) mod receipt;
pub(crate) mod refusal;
pub(crate) mod states;
pub(crate) mod stats;
pub(crate) mod subprotocols;
pub(crate) mod target;
