//! Additions to engineioxide and socketioxide beneath the main namespace: sessions, long polling
//! and websockets.

pub(crate) mod adapter;
pub(crate) mod entry;
pub(crate) mod inner;
pub(crate) mod opening;
pub(crate) mod polling;
pub(crate) mod query;
pub(crate) mod requests;
pub(crate) mod responses;
pub(crate) mod service;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod websocket;
