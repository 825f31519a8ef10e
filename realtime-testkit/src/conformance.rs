//! The requirements on every provider, every backplane and every directory, as tests that their
//! crates import.
//!
//! A provider implements [`ProviderUnderTest`] in its `tests/` and calls
//! [`provider_conformance!`](crate::provider_conformance).
//! `Served` (feature `server`) serves the provider, and `SseClient` and `WsClient` (feature
//! `clients`) are clients of the suite already:
//!
//! ```ignore
//! struct Sse(Served<SseProvider>);
//!
//! #[async_trait]
//! impl ProviderUnderTest for Sse {
//!     type Client = SseClient;
//!
//!     async fn start(setup: Setup) -> Self {
//!         let config = SseConfig::default().with_delivery(setup.delivery);
//!         Self(Served::unattached(SseProvider::new(config)).await)
//!     }
//!
//!     fn provider(&self) -> Arc<dyn RealtimeProvider> {
//!         Arc::clone(&self.0.provider) as _
//!     }
//!
//!     async fn connect(&self, visitor: Visitor) -> Result<SseClient, Refused> {
//!         SseClient::visit(&self.0.url("/sse"), &visitor).await
//!     }
//! }
//!
//! realtime_testkit::provider_conformance!(Sse);
//! ```
//!
//! Every test has a provider of its own, waits for conditions and never for time, and proves that
//! an event was *not* delivered by a later one that was.

mod backplane;
#[cfg(feature = "clients")]
mod clients;
mod directory;
mod fixture;
#[doc(hidden)]
pub mod provider;
mod run;
mod setup;
mod under_test;
mod visitor;

pub use backplane::BackplaneUnderTest;
pub use directory::DirectoryUnderTest;
pub use run::run;
pub use setup::Setup;
pub use under_test::{ClientUnderTest, Ended, ProviderUnderTest, Received, Refused};
pub use visitor::{REFUSED_USER, Visitor, VisitorAuthenticator, VisitorPolicy};

pub use crate::{HookCall, HookLog};

/// The tests themselves; use the macros instead of calling them.
pub mod tests {
    pub use super::backplane::tests as backplane;
    pub use super::directory::tests as directory;
    pub use super::provider;
}
