//! One-time tickets: a client exchanges its credentials for a ticket, and connects with it where it
//! could send no header.

mod claims;
mod config;
mod issuer;
mod route;
mod seal;

pub(crate) use config::TICKET;
pub use config::TicketConfig;
pub(crate) use issuer::TicketIssuer;
pub(crate) use route::route;
