//! What tests of and around the `realtime-*` crates need, with one dev-dependency.
//!
//! - **Mocks** of every public trait, made with [`mockall`] (re-exported, with [`predicate`]):
//!   [`MockRealtimeBroadcast`], [`MockRealtimeProvider::named`] and the others.
//! - [`RecordingProvider`]: a provider without a network that remembers what was sent.
//! - [`FaultyBackplane`]: a log in memory that goes away, is slow, lies, and loses records, for tests of what happens
//!   then; [`FaultyDirectory`] is a directory that does.
//! - **Test clients** that reconnect (feature `clients`): [`SseClient`], [`WsClient`].
//! - **Conformance suites** ([`conformance`]): what must hold for every provider, every backplane and every directory.
//!
//! ```
//! use std::sync::Arc;
//! use realtime_core::{Event, EventId, RealtimeBroadcast, Receipt};
//! use realtime_testkit::{MockRealtimeBroadcast, predicate};
//!
//! // The application's code: it knows the trait only.
//! async fn greet(notify: Arc<dyn RealtimeBroadcast>) -> realtime_core::Result<()> {
//!     notify.to_user("ann", Event::json("greeting", "hello")?).await.map(drop)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let mut notify = MockRealtimeBroadcast::new();
//! notify
//!     .expect_to_user()
//!     .with(predicate::eq("ann"), predicate::function(|event: &Event| event.name() == "greeting"))
//!     .once()
//!     .returning(|_, _| Ok(Receipt::new(EventId::random(), None, None)));
//! greet(Arc::new(notify)).await.unwrap();
//! # }
//! ```

#[cfg(feature = "clients")]
mod clients;
pub mod conformance;
mod faulty;
mod faulty_directory;
mod mock;
mod recording;

#[cfg(feature = "clients")]
pub use clients::{ClientError, SseClient, SseEvent, SseItem, SseParser, WsClient, WsEvent};
pub use faulty::{AppendFault, FaultyBackplane};
pub use faulty_directory::{FaultyDirectory, UpdateFault};
pub use mock::{
    MockAuthenticator, MockBackplane, MockDirectory, MockHandler, MockLifecycleHook, MockRealtimeBroadcast,
    MockRealtimeProvider, MockRoomMembership, MockRoomPolicy, MockSocketIoBroadcast,
};
pub use mockall::{self, Sequence, predicate};
pub use recording::{RecordingProvider, Sent};
