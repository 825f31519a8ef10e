//! What tests of and around the `realtime-*` crates need, with one dev-dependency.
//!
//! - **Mocks** of every public trait, made with [`mockall`] (re-exported, with [`predicate`]):
//!   [`MockRealtimeBroadcast`], [`MockRealtimeProvider::named`] and the others.
//! - [`RecordingProvider`]: a provider without a network that remembers what was sent.
//! - **Test clients** that reconnect (feature `clients`): [`SseClient`], [`WsClient`].
//! - **Conformance suites** ([`conformance`]): what must hold for every provider and every backplane.

#[cfg(feature = "clients")]
mod clients;
pub mod conformance;
mod mock;
mod recording;

#[cfg(feature = "clients")]
pub use clients::{ClientError, SseClient, SseEvent, SseItem, SseParser, WsClient, WsEvent};
pub use mock::{
    MockAuthenticator, MockBackplane, MockDirectory, MockHandler, MockLifecycleHook, MockRealtimeBroadcast,
    MockRealtimeProvider, MockRoomMembership, MockRoomPolicy, MockSocketIoBroadcast,
};
pub use mockall::{self, Sequence, predicate};
pub use recording::{RecordingProvider, Sent};
