//! Server-Sent Events (WHATWG HTML §9.2) behind the traits of `realtime-core`.
//!
//! - [`SseProvider`]: the provider `"sse"`: its route, its sending side, streams for routes of the application's own.
//! - [`SseConfig`]: its path, limits and times.
//!
//! A stream begins with the event `connected`, in whose block stands `retry:`. Every event is encoded once, as a whole block with its
//! cursor as `id:`, and its bytes are shared by all connections that get it. A client that comes back with
//! `Last-Event-ID` (browsers do so by themselves), or `?lastEventId=`, goes on where it was.
//!
//! ```
//! use realtime_core::Identity;
//! use realtime_core::spi::Runtime;
//! use realtime_core::{Event, RealtimeProvider, RealtimeBroadcast};
//! use realtime_http::HttpProvider;
//! use realtime_sse::{SseConfig, SseProvider};
//! use std::sync::Arc;
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let sse = Arc::new(SseProvider::new(SseConfig::default().with_path("/events")));
//! sse.attach(Runtime::in_memory()).await?;
//! let app: axum::Router = Arc::clone(&sse).router();
//! sse.broadcast().to_user("ann", Event::json("news", &42)?).await?;
//! # Ok(()) }
//! ```

mod body;
mod codec;
mod config;
mod heartbeat;
mod http;
mod outlet;
mod progress;
mod provider;

pub use config::SseConfig;
pub use provider::SseProvider;
