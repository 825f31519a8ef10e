//! The documents of the project, as pages of this documentation: start with the [`guide`].
//!
//! They are files in `docs/` of the repository, which also has `ARCHITECTURE.md` (how an event
//! travels, and where everything is), `CONTRIBUTING.md`, `CHANGELOG.md`, the examples in
//! `examples/` and measurements in `bench/`.

// In Markdown the first definition of a link counts: `links.md` leads to the modules here, and the
// definitions at the end of each document lead to its neighbours among the files.

#[doc = include_str!("docs/links.md")]
#[doc = include_str!("../docs/guide.md")]
pub mod guide {}

#[doc = include_str!("docs/links.md")]
#[doc = include_str!("../docs/guarantees.md")]
pub mod guarantees {}

#[doc = include_str!("docs/links.md")]
#[doc = include_str!("../docs/many-nodes.md")]
pub mod many_nodes {}

#[doc = include_str!("docs/links.md")]
#[doc = include_str!("../docs/offline.md")]
pub mod offline {}

#[doc = include_str!("docs/links.md")]
#[doc = include_str!("../docs/operations.md")]
pub mod operations {}

#[doc = include_str!("docs/links.md")]
#[cfg_attr(feature = "metrics", doc = include_str!("../docs/metrics.md"))]
pub mod metrics {}

#[doc = include_str!("docs/links.md")]
#[doc = include_str!("../docs/clients.md")]
pub mod clients {}

#[doc = include_str!("docs/links.md")]
#[cfg_attr(feature = "otel", doc = include_str!("../docs/tracing.md"))]
pub mod tracing {}

#[doc = include_str!("docs/links.md")]
#[doc = include_str!("../docs/from-typescript.md")]
pub mod typescript {}
