//! Limits: the slots of connections, and of handlers that run; the rates of handshakes, and of what
//! clients send.

pub(crate) mod address;
pub(crate) mod arrivals;
pub(crate) mod by_tenant;
pub(crate) mod counts;
pub(crate) mod handshakes;
pub(crate) mod limits;
pub(crate) mod rate;
pub(crate) mod slots;
pub(crate) mod tenants;
pub(crate) mod work;
