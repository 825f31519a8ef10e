//! Limits: the slots of connections, and of handlers that run, and the rates of what clients send.

pub(crate) mod by_tenant;
pub(crate) mod limits;
pub(crate) mod rate;
pub(crate) mod slots;
pub(crate) mod tenants;
pub(crate) mod work;
