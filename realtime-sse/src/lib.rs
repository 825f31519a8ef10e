//! Server-Sent Events (WHATWG HTML §9.2) behind the traits of `realtime-core`.
//!
//! - [`SseProvider`]: the provider `"sse"` with its route and its sending side, and streams for
//!   routes of the application's own.
//! - [`SseConfig`]: path, limits and timeouts.
//!
//! A stream begins with the event `connected`, whose block contains `retry:`. Every event is
//! encoded once, as a whole block with the event's cursor as `id:`, and the bytes are shared by all
//! connections that get the event. A client that reconnects with `Last-Event-ID` (browsers do so by
//! themselves), or with `?lastEventId=`, resumes after that event.
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

mod codec;
mod config;
#[doc(hidden)]
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod heartbeat;
mod http;
mod outlet;
mod progress;
mod provider;
mod refresh;
mod session;

pub use config::SseConfig;
pub use provider::SseProvider;
