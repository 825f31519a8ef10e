//! What must hold for every provider, every backplane and every directory, as tests that their crates import.
//!
//! A provider implements [`ProviderUnderTest`] in its `tests/` and calls
//! [`provider_conformance!`](crate::provider_conformance); [`SseClient`](crate::SseClient) and
//! [`WsClient`](crate::WsClient) are clients of the suite already:
//!
//! ```ignore
//! struct Served { provider: Arc<SseProvider>, url: String, server: JoinHandle<()> }
//!
//! #[async_trait]
//! impl ProviderUnderTest for Served {
//!     type Client = SseClient;
//!
//!     async fn start(setup: Setup) -> Self {
//!         let config = SseConfig::default().with_limits(setup.limits) /* … and so on with all of it */;
//!         /* serve it on port 0; the suite attaches it */
//!     }
//!
//!     fn provider(&self) -> Arc<dyn RealtimeProvider> {
//!         Arc::clone(&self.provider) as _
//!     }
//!
//!     async fn connect(&self, visitor: Visitor) -> Result<SseClient, Refused> {
//!         SseClient::visit(&self.url, &visitor).await
//!     }
//! }
//!
//! realtime_testkit::provider_conformance!(Served);
//! ```
//!
//! Every test has a provider of its own, waits for conditions and never for time, and proves that an event did *not*
//! come by a later one that did.

mod backplane;
mod directory;
mod hook;
#[cfg(feature = "clients")]
mod over_http;
#[doc(hidden)]
pub mod provider;
mod run;
mod setup;
mod stage;
mod subject;
mod visitor;

pub use backplane::BackplaneUnderTest;
pub use directory::DirectoryUnderTest;
pub use hook::{HookCall, HookLog};
pub use run::run;
pub use setup::Setup;
pub use subject::{ClientUnderTest, Ended, ProviderUnderTest, Received, Refused};
pub use visitor::{REFUSED_USER, Visitor, VisitorAuthenticator, VisitorPolicy};

/// The tests themselves; use the macros instead of calling them.
pub mod tests {
    pub use super::backplane::tests as backplane;
    pub use super::directory::tests as directory;
    pub use super::provider;
}
