use std::net::IpAddr;
use std::sync::{Arc, OnceLock, Weak};

use realtime_core::Refusal;
use realtime_core::spi::Meter;

use crate::engine::session::cause::Fault;

/// The table of all sessions, as one session sees it. A session is identified by its number.
pub(crate) trait Registry: Send + Sync {
    /// Notes whether a session is connected to a namespace. Called in the order of the changes.
    fn set_connected(self: Arc<Self>, id: u64, connected: bool);

    /// Notes whether a session's CONNECT waits for a free slot of its user.
    fn set_held(self: Arc<Self>, id: u64, held: bool);

    /// Returns a new meter for a session by the rate of its client; none if there is no rate.
    fn meter(&self, id: u64) -> Option<Arc<Meter>>;

    /// Counts and logs the end of a session, or of an attempt to open one, of the client with this
    /// address.
    fn report(&self, report: Report, address: Option<IpAddr>);
}

/// Reason for which a client was turned away that had no connection to the main namespace.
pub(crate) enum Report {
    /// The client's own fault, for which its session was closed.
    Fault(Fault),
    Refusal(Refusal),
}

impl From<Fault> for Report {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<Refusal> for Report {
    fn from(refusal: Refusal) -> Self {
        Self::Refusal(refusal)
    }
}

/// A session's entry in the registry; none in tests.
#[derive(Default)]
pub(crate) struct Registered(OnceLock<(Weak<dyn Registry>, u64)>);

impl Registered {
    /// Sets the registry and the session's number in it.
    pub(crate) fn set(&self, registry: Weak<dyn Registry>, id: u64) {
        let _ = self.0.set((registry, id));
    }

    /// Notifies the registry whether the session is connected to a namespace.
    pub(crate) fn set_connected(&self, connected: bool) {
        if let Some((registry, id)) = self.registry() {
            registry.set_connected(id, connected);
        }
    }

    /// Notifies the registry whether the session's CONNECT waits for a free slot of its user.
    pub(crate) fn set_held(&self, held: bool) {
        if let Some((registry, id)) = self.registry() {
            registry.set_held(id, held);
        }
    }

    /// Returns a new meter for the session by the rate of its client; none if there is no rate.
    pub(crate) fn meter(&self) -> Option<Arc<Meter>> {
        let (registry, id) = self.registry()?;
        registry.meter(id)
    }

    /// Has the registry count and log the end of this session.
    pub(crate) fn report(&self, report: Report, address: Option<IpAddr>) {
        if let Some((registry, _)) = self.registry() {
            registry.report(report, address);
        }
    }

    fn registry(&self) -> Option<(Arc<dyn Registry>, u64)> {
        let (registry, id) = self.0.get()?;
        Some((registry.upgrade()?, *id))
    }
}
