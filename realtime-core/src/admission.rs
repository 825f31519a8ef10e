//! Limits: the slots of connections, and of handlers that run.

pub(crate) mod limits;
pub(crate) mod work;
