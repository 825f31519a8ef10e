use crate::values::error::{Error, Result};

/// The limits of a service on a node, over all of its providers. One that is not set has its
/// default, and the largest number of its type is no limit; zero is rejected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServiceLimits {
    pub(crate) connections_per_address: Option<usize>,
    pub(crate) connections_per_tenant: Option<usize>,
    pub(crate) connections_per_user: Option<usize>,
    pub(crate) handshakes_per_address: Option<u32>,
    pub(crate) handshakes_per_second: Option<u32>,
}

setters! {
    impl ServiceLimits {
        /// Sets the number of connections from one client address, of IPv6 from one /64; default
        /// 1,000, which does not hold for addresses of this host.
        with_connections_per_address(connections_per_address: usize);
        /// Sets the number of connections of one tenant; default: with each provider half of its
        /// [`Limits::with_connections`](crate::Limits::with_connections).
        with_connections_per_tenant(connections_per_tenant: usize);
        /// Sets the number of connections of one user of a tenant; default 30, and as many as with
        /// any one of the providers.
        with_connections_per_user(connections_per_user: usize);
        /// Sets the handshakes per second from one client address, of IPv6 from one /64, five times
        /// as many of which may come at once; default 100, which does not hold for addresses of
        /// this host.
        with_handshakes_per_address(handshakes_per_address: u32);
        /// Sets the handshakes per second in all, four times as many of which may come at once;
        /// default 5,000.
        with_handshakes_per_second(handshakes_per_second: u32);
    }
}

impl ServiceLimits {
    /// Creates limits that bound nothing.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            connections_per_address: Some(usize::MAX),
            connections_per_tenant: Some(usize::MAX),
            connections_per_user: Some(usize::MAX),
            handshakes_per_address: Some(u32::MAX),
            handshakes_per_second: Some(u32::MAX),
        }
    }

    /// Rejects a limit that is zero.
    ///
    /// # Errors
    /// [`Error::Config`] that names the field.
    pub fn check(&self) -> Result<()> {
        let fields = [
            ("connections_per_address", self.connections_per_address == Some(0)),
            ("connections_per_tenant", self.connections_per_tenant == Some(0)),
            ("connections_per_user", self.connections_per_user == Some(0)),
            ("handshakes_per_address", self.handshakes_per_address == Some(0)),
            ("handshakes_per_second", self.handshakes_per_second == Some(0)),
        ];
        match fields.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((field, _)) => Err(Error::Config(format!("{field} is zero"))),
            None => Ok(()),
        }
    }
}
