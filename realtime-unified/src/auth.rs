//! The less common names of authentication and of the policy for rooms.

pub use realtime_core::{Anonymous, DenyRooms, RefusalKind, TokenSource};
#[cfg(feature = "jwt")]
pub use realtime_jwt::{Jwks, JwtAlgorithm, JwtAuthenticator, JwtClaims, JwtConfig, JwtKey};
