//! Tests of the service with its providers.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

#[cfg(all(feature = "socketio", feature = "sse", feature = "ws"))]
mod ask;
#[cfg(feature = "sse")]
mod caller;
#[cfg(all(feature = "socketio", feature = "sse", feature = "ws"))]
mod config;
#[cfg(all(feature = "sse", feature = "socketio", feature = "ws"))]
mod credentials;
#[cfg(all(feature = "sse", feature = "socketio", feature = "ws"))]
mod deciders;
#[cfg(all(feature = "socketio", feature = "sse", feature = "ws"))]
mod directory;
#[cfg(all(feature = "disk", feature = "sse", feature = "ws"))]
mod disk;
#[cfg(all(feature = "sse", feature = "ws"))]
mod drain;
#[cfg(all(feature = "socketio", feature = "sse", feature = "ws"))]
mod dropped;
#[cfg(all(feature = "sse", feature = "socketio", feature = "ws"))]
mod explain;
#[cfg(all(feature = "socketio", feature = "sse", feature = "ws"))]
mod handlers;
#[cfg(all(feature = "socketio", feature = "ws"))]
mod inbound;
#[cfg(all(feature = "jwt", feature = "sse", feature = "socketio", feature = "ws"))]
mod jwt;
#[cfg(all(feature = "sse", feature = "socketio", feature = "ws"))]
mod limits;
#[cfg(all(feature = "sse", feature = "socketio", feature = "ws"))]
mod logs;
#[cfg(all(feature = "metrics", feature = "socketio", feature = "sse", feature = "ws"))]
mod metrics;
#[cfg(all(feature = "socketio", feature = "sse", feature = "ws"))]
mod named;
#[cfg(all(feature = "sse", feature = "ws"))]
mod nodes;
#[cfg(all(feature = "disk", feature = "socketio", feature = "sse", feature = "ws"))]
mod offline;
#[cfg(all(feature = "sse", feature = "socketio", feature = "ws"))]
mod origins;
#[cfg(all(feature = "otel", feature = "sse", feature = "socketio", feature = "ws"))]
mod otel;
#[cfg(all(unix, feature = "sse", feature = "ws"))]
mod serve;
mod service;
#[cfg(all(feature = "sse", feature = "socketio", feature = "ws"))]
mod spans;
#[cfg(all(feature = "sse", feature = "socketio", feature = "ws"))]
mod tickets;
#[cfg(all(feature = "tls", feature = "sse", feature = "socketio", feature = "ws"))]
mod tls;
#[cfg(feature = "ws")]
mod tracing;
#[cfg(all(feature = "sse", feature = "socketio", feature = "ws"))]
mod transports;
