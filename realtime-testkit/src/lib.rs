//! Mocks, recorders, clients and conformance suites for tests with the `realtime-*` crates.
//!
//! For an application's tests:
//!
//! - [`RecordingProvider`]: a provider without a network that records what is sent.
//! - **Mocks** of every public trait, made with [`mockall`] (re-exported, with [`predicate`]):
//!   [`MockRealtimeBroadcast`], [`MockRealtimeProvider::named`] and the others.
//! - **Test clients** that reconnect (feature `clients`): [`SseClient`], [`WsClient`].
//!
//! For the tests of a provider, a backplane or a directory:
//!
//! - **Conformance suites** ([`conformance`]): what must hold for each of them. [`steps`] are what
//!   the tests of a log consist of.
#![cfg_attr(
    all(feature = "clients", feature = "server"),
    doc = "- **Suites for brokers** ([`brokers`]): what must hold while their servers fail."
)]
#![cfg_attr(
    feature = "server",
    doc = "- [`Served`] and [`TestServer`] (feature `server`): a provider, or any routes, on a free port."
)]
#![cfg_attr(
    feature = "tls",
    doc = "- [`TestCertificate`] (feature `tls`): a certificate in two files, and connections to its server."
)]
//! - [`ByQuery`] and [`PendingAuthenticator`] identify clients, [`HookLog`] records connects and
//!   closes.
//! - [`FaultyBackplane`], [`FaultyDirectory`]: a log and a directory in memory that fail, lose
//!   records or do not answer; [`Forwarding`] is a backplane with callbacks.
//! - [`eventually`] and [`in_time`]: waits with a deadline. [`Gate`]: handlers that wait for the
//!   test. [`SeededRng`]: repeatable random numbers.
//!
//! Most tests of an application need only the recording provider:
//!
//! ```
//! use realtime_core::{Event, RealtimeBroadcast};
//! use realtime_testkit::RecordingProvider;
//!
//! // The application's code: it knows the trait only.
//! async fn greet(notify: &dyn RealtimeBroadcast) -> realtime_core::Result<()> {
//!     notify.to_user("ann", Event::json("greeting", "hello")?).await.map(drop)
//! }
//!
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let recorder = RecordingProvider::new("socket");
//! greet(&recorder).await.unwrap();
//! assert_eq!(recorder.sent_to_user("ann")[0].json::<String>(), "hello");
//! # }
//! ```
//!
//! A mock is for expectations about the calls themselves:
//!
//! ```
//! use realtime_core::{Event, EventId, RealtimeBroadcast, Receipt};
//! use realtime_testkit::{MockRealtimeBroadcast, predicate};
//!
//! # async fn greet(notify: &dyn RealtimeBroadcast) -> realtime_core::Result<()> {
//! #     notify.to_user("ann", Event::json("greeting", "hello")?).await.map(drop)
//! # }
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! let mut notify = MockRealtimeBroadcast::new();
//! notify
//!     .expect_to_user()
//!     .with(predicate::eq("ann"), predicate::function(|event: &Event| event.name() == "greeting"))
//!     .once()
//!     .returning(|_, _| Ok(Receipt::new(EventId::random(), None, None)));
//! greet(&notify).await.unwrap();
//! # }
//! ```

mod authenticators;
#[cfg(all(feature = "clients", feature = "server"))]
pub mod brokers;
#[cfg(feature = "tls")]
mod certificate;
#[cfg(feature = "clients")]
mod clients;
pub mod conformance;
mod faulty;
mod faulty_directory;
mod forwarding;
mod gate;
mod hook_log;
mod mock;
mod recording;
mod seeded_rng;
#[cfg(feature = "server")]
mod server;
pub mod steps;
mod tcp;
mod wait;

pub use authenticators::{ByQuery, PendingAuthenticator};
#[cfg(feature = "tls")]
pub use certificate::TestCertificate;
#[cfg(feature = "clients")]
pub use clients::{ClientError, SseClient, SseEvent, SseItem, SseParser, WsClient, WsEvent};
pub use faulty::{AppendFault, FaultyBackplane};
pub use faulty_directory::{FaultyDirectory, UpdateFault};
pub use forwarding::Forwarding;
pub use gate::Gate;
pub use hook_log::{HookCall, HookLog};
pub use mock::{
    MockAuthenticator, MockBackplane, MockDirectory, MockHandler, MockLifecycleHook, MockOfflineSink,
    MockRealtimeBroadcast, MockRealtimeProvider, MockRoomMembership, MockRoomPolicy, MockSocketIoBroadcast,
};
pub use mockall::{self, Sequence, predicate};
pub use recording::{RecordingProvider, Sent};
pub use seeded_rng::SeededRng;
#[cfg(feature = "server")]
pub use server::{Served, TestServer};
#[cfg(all(feature = "server", target_os = "linux"))]
pub use tcp::blackhole;
pub use tcp::{connect_with_small_buffer, read_head};
pub use wait::{DEADLINE, eventually, in_time, within};
