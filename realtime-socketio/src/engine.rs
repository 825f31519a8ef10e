//! What is added to engineioxide.

pub(crate) mod adapter;
pub(crate) mod admission;
pub(crate) mod answer;
pub(crate) mod cause;
pub(crate) mod credit;
pub(crate) mod denial;
pub(crate) mod entry;
pub(crate) mod exchange;
pub(crate) mod heartbeat;
pub(crate) mod intake;
pub(crate) mod lobby;
pub(crate) mod namespaces;
pub(crate) mod opening;
pub(crate) mod outflow;
pub(crate) mod post;
pub(crate) mod probe;
pub(crate) mod pulse;
pub(crate) mod query;
pub(crate) mod repeats;
pub(crate) mod secret;
pub(crate) mod service;
pub(crate) mod session;
pub(crate) mod sessions;
pub(crate) mod settings;
pub(crate) mod stream;
