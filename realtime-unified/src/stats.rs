//! What a service reports of itself: its providers, its connections, its users that are online, and
//! the connections that a send matched.

pub use realtime_core::{Capabilities, ConnectionStats, Delivered, Presence, Stats};
