//! The statistics that a service reports of itself: its nodes and their health, its providers, its
//! connections, its users that are online, and the connections that a send matched.

pub use realtime_core::{
    Capabilities, ConnectionStats, Delivered, Distribution, Health, NodeId, NodeInfo, OnlineCount, OnlineIn,
    OnlineUser, Presence, Stats, Timings,
};
