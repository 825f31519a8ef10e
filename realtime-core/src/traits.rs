//! What applications and providers implement, and what a service gives its providers.

pub(crate) mod auth;
pub(crate) mod codec;
pub(crate) mod lifecycle;
pub(crate) mod outlet;
pub(crate) mod policy;
pub(crate) mod provider;
pub(crate) mod runtime;
