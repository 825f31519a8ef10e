//! The names that only authors of providers need.
//!
//! Applications use the names in the crate's root. The names in this module may change in a minor
//! version before 1.0.
//!
//! - A request is checked and admitted by [`admit`], from its [`ConnectQuery`] and the provider's
//!   [`ProviderOrigins`], or answered by [`refusal_response`] and its siblings.
//! - [`Spans`] holds where the last large events are in a stream, to tell whether a connection was
//!   lost within one.

pub use crate::admit::{ConnectQuery, ROOM_PARAMETERS, admit, admit_as};
pub use crate::caches::NO_TRANSFORM;
pub use crate::origin::ProviderOrigins;
pub use crate::paths::check_paths;
pub use crate::proxies::{notice_foreign_server, peer_of};
pub use crate::refusal::{error_response, method_response, refusal_response};
pub use crate::spans::Spans;
pub use crate::upgrade::{has_token, websocket_request};
