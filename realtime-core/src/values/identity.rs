use std::sync::Arc;
use std::time::SystemTime;

use crate::values::name::check_name;
use crate::values::refusal::Refusal;

/// Who a connection belongs to: a user, a tenant, and until when that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    user: Option<Arc<str>>,
    tenant: Option<Arc<str>>,
    expires_at: Option<SystemTime>,
}

impl Identity {
    /// Nobody in particular: reached by sends to everyone, to rooms, and to its connection.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// This user, without a tenant.
    pub fn user(user: impl Into<Arc<str>>) -> Self {
        Self { user: Some(user.into()), ..Self::default() }
    }

    /// The same identity in this tenant.
    pub fn tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }

    /// The same identity, valid until then: the connection is closed at that time.
    pub fn expires_at(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// The user's name, if there is one.
    pub fn user_name(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// The tenant's name, if there is one.
    pub fn tenant_name(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Until when the identity holds, if it ends.
    pub fn expiry(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// Whether the identity's time is over.
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn shared_user(&self) -> Option<&Arc<str>> {
        self.user.as_ref()
    }

    pub(crate) fn shared_tenant(&self) -> Option<&Arc<str>> {
        self.tenant.as_ref()
    }

    /// Refuses names that break the rules, and an identity that is over already.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        for (what, name) in [("user", &self.user), ("tenant", &self.tenant)] {
            if let Some(name) = name {
                check_name(what, name).map_err(|error| Refusal::bad_request(error.to_string()))?;
            }
        }
        if self.is_expired(SystemTime::now()) {
            return Err(Refusal::unauthorized("the identity has expired"));
        }
        Ok(())
    }
}
