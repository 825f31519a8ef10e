//! The parts of the providers' configurations that all of them have; the limits of the server are
//! [`http::WireConfig`](crate::http::WireConfig).

pub use realtime_core::{DeliveryConfig, InboundRate, Limits, OutboxConfig, RoomDelivery, WindowConfig};
