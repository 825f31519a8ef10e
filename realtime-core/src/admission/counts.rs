use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::admission::address::counted_address;
use crate::values::identity::Identity;
use crate::values::refusal::{Refusal, RefusalKind};

/// The limits of connections other than those of one user; `usize::MAX` is none.
#[derive(Debug)]
pub(crate) struct Bounds {
    /// The connections in all.
    pub(crate) connections: usize,
    /// The connections of one tenant.
    pub(crate) of_tenant: AtomicUsize,
    /// The connections of one client address.
    pub(crate) of_address: usize,
    /// `true` if the limit of an address was not set, and so does not hold for this host.
    pub(crate) address_is_default: bool,
}

/// The tenant and the address that a connection is counted by; `None` where it is not counted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Place {
    tenant: Option<Arc<str>>,
    address: Option<IpAddr>,
}

/// The numbers of connections. One without any has no entry, so that they are bounded by the
/// connections.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) connections: usize,
    tenants: HashMap<Arc<str>, usize>,
    addresses: HashMap<IpAddr, usize>,
}

impl Bounds {
    /// Returns what a connection of this identity from this address is counted by.
    pub(crate) fn place(&self, identity: &Identity, address: Option<IpAddr>) -> Place {
        let tenant = (self.of_tenant() < usize::MAX).then(|| identity.shared_tenant().cloned()).flatten();
        Place { tenant, address: self.counted(address) }
    }

    /// Returns what a client of this address is counted by before it is known.
    pub(crate) fn stranger(&self, address: Option<IpAddr>) -> Place {
        Place { tenant: None, address: self.counted(address) }
    }

    fn counted(&self, address: Option<IpAddr>) -> Option<IpAddr> {
        counted_address(address, self.address_is_default).filter(|_| self.of_address < usize::MAX)
    }

    fn of_tenant(&self) -> usize {
        self.of_tenant.load(Ordering::Relaxed)
    }
}

impl Counts {
    /// Checks that there is room for one more connection.
    ///
    /// # Errors
    /// A [`Refusal`] of kind `NodeLimit`, `AddressLimit` or `TenantLimit`.
    pub(crate) fn check(&self, bounds: &Bounds, place: &Place) -> Result<(), Refusal> {
        if self.connections >= bounds.connections {
            return Err(Refusal::new(RefusalKind::NodeLimit, "this node accepts no more connections"));
        }
        if count(&self.addresses, place.address.as_ref()) >= bounds.of_address {
            return Err(Refusal::new(RefusalKind::AddressLimit, "this address has too many connections"));
        }
        if count(&self.tenants, place.tenant.as_ref()) >= bounds.of_tenant() {
            return Err(Refusal::new(RefusalKind::TenantLimit, "this tenant has too many connections"));
        }
        Ok(())
    }

    /// Counts a connection.
    pub(crate) fn add(&mut self, place: &Place) {
        self.connections += 1;
        if let Some(tenant) = &place.tenant {
            *self.tenants.entry(Arc::clone(tenant)).or_default() += 1;
        }
        if let Some(address) = place.address {
            *self.addresses.entry(address).or_default() += 1;
        }
    }

    /// Counts the end of a connection.
    pub(crate) fn remove(&mut self, place: &Place) {
        self.connections -= 1;
        subtract(&mut self.tenants, place.tenant.as_ref());
        subtract(&mut self.addresses, place.address.as_ref());
    }

    /// Returns the number of entries.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> usize {
        self.tenants.len() + self.addresses.len()
    }
}

fn count<K: Eq + Hash>(counts: &HashMap<K, usize>, key: Option<&K>) -> usize {
    key.and_then(|key| counts.get(key)).copied().unwrap_or(0)
}

fn subtract<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: Option<&K>) {
    let Some(key) = key else { return };
    if let Some(count) = counts.get_mut(key) {
        *count -= 1;
        if *count == 0 {
            counts.remove(key);
        }
    }
}
