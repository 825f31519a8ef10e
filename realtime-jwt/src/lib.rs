#![doc = include_str!("../README.md")]

mod algorithm;
mod authenticator;
mod check;
mod claims;
mod config;
mod document;
mod fetch;
mod header;
mod jwks;
mod key;
mod key_set;
mod refusals;
mod rotation;

pub use algorithm::JwtAlgorithm;
pub use authenticator::JwtAuthenticator;
pub use claims::JwtClaims;
pub use config::JwtConfig;
pub use jwks::Jwks;
pub use key::JwtKey;
