use std::sync::Arc;

use crate::values::error::Result;
use crate::values::identity::Identity;
use crate::values::name::check_name;

/// Whom a join or a leave means: a user in every tenant, which is what a bare name says, or in one.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Member {
    pub(crate) user: Arc<str>,
    pub(crate) tenant: Option<Arc<str>>,
}

impl Member {
    /// The user of this name, whatever the tenant.
    pub(crate) fn bare(user: &str) -> Self {
        Self { user: user.into(), tenant: None }
    }

    /// The user of this name in this tenant.
    pub(crate) fn of_tenant(tenant: &str, user: &str) -> Self {
        Self { user: user.into(), tenant: Some(tenant.into()) }
    }

    /// The user of this identity, of its tenant or of none; nobody where it names no user.
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
