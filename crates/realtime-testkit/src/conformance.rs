//! What must hold for every provider and every backplane, as tests that their crates import.
//!
//! A provider implements [`ProviderUnderTest`] in its `tests/` and calls
//! [`provider_conformance!`](crate::provider_conformance):
//!
//! ```ignore
//! struct Sse { /* the provider and the server it runs on */ }
//! #[async_trait]
//! impl ProviderUnderTest for Sse { /* start, provider, connect */ }
//! realtime_testkit::provider_conformance!(Sse);
//! ```
//!
//! Every test has a provider of its own, waits for conditions and never for time, and proves that an event did *not*
//! come by a later one that did.

mod backplane;
mod hook;
#[doc(hidden)]
pub mod provider;
mod run;
mod setup;
mod stage;
mod subject;
mod visitor;

pub use backplane::BackplaneUnderTest;
pub use hook::{HookCall, HookLog};
pub use run::run;
pub use setup::Setup;
pub use subject::{ClientUnderTest, Ended, ProviderUnderTest, Received, Refused};
pub use visitor::{REFUSED_USER, Visitor, VisitorAuthenticator, VisitorPolicy};

/// The tests themselves; use the macros instead of calling them.
pub mod tests {
    pub use super::backplane::tests as backplane;
    pub use super::provider;
}
