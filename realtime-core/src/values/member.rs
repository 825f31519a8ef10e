use std::sync::Arc;

use crate::values::error::Result;
use crate::values::identity::Identity;
use crate::values::name::check_name;

/// The user of a join or a leave: in every tenant, as a bare name means, or in one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Member {
    pub(crate) user: Arc<str>,
    pub(crate) tenant: Option<Arc<str>>,
}

impl Member {
    /// Creates the user of this name, in one tenant or in any.
    pub(crate) fn new(user: &str, tenant: Option<&str>) -> Self {
        tenant.map_or_else(|| Self::bare(user), |tenant| Self::of_tenant(tenant, user))
    }

    /// Creates the user of this name, in any tenant.
    pub(crate) fn bare(user: &str) -> Self {
        Self { user: user.into(), tenant: None }
    }

    /// Creates the user of this name in this tenant.
    pub(crate) fn of_tenant(tenant: &str, user: &str) -> Self {
        Self { user: user.into(), tenant: Some(tenant.into()) }
    }

    /// Returns the user of this identity, with its tenant if there is one; `None` for an identity
    /// without a user.
    pub(crate) fn of(identity: &Identity) -> Option<Self> {
        let user = Arc::clone(identity.shared_user()?);
        Some(Self { user, tenant: identity.shared_tenant().cloned() })
    }

    /// Checks both names.
    pub(crate) fn check(&self) -> Result<()> {
        check_name("user", &self.user)?;
        self.tenant.as_ref().map_or(Ok(()), |tenant| check_name("tenant", tenant))
    }
}
