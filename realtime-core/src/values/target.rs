use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::values::connection::ConnectionId;
use crate::values::error::Result;
use crate::values::identity::Identity;
use crate::values::name::check_name;

/// The recipients of an event.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Target {
    scope: Scope,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    except_connections: Vec<ConnectionId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    except_users: Vec<Arc<str>>,
    /// The excluded users of one tenant, as pairs of tenant and user.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    except_users_in: Vec<(Arc<str>, Arc<str>)>,
}

/// The set of connections a [`Target`] starts from.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// Every connection.
    All,
    /// One connection; never durable.
    Connection(ConnectionId),
    /// The members of a room, of one tenant if named.
    Room {
        /// The room.
        name: Arc<str>,
        /// The tenant to which the members are restricted.
        tenant: Option<Arc<str>>,
    },
    /// Every connection of a tenant.
    Tenant(Arc<str>),
    /// Every connection of a user, in one tenant if named.
    User {
        /// The user.
        name: Arc<str>,
        /// The tenant to which the connections are restricted.
        tenant: Option<Arc<str>>,
    },
}

impl Target {
    /// Addresses every connection.
    #[must_use]
    pub fn all() -> Self {
        Self::new(Scope::All)
    }

    /// Addresses one connection. Events for one connection skip the log: from another node they
    /// arrive at most once, and are not redelivered after a loss.
    #[must_use]
    pub fn connection(id: ConnectionId) -> Self {
        Self::new(Scope::Connection(id))
    }

    /// Addresses the members of a room, of any tenant.
    pub fn room(room: impl AsRef<str>) -> Self {
        Self::new(Scope::Room { name: room.as_ref().into(), tenant: None })
    }

    /// Addresses the members of a room that belong to this tenant.
    pub fn room_in(tenant: impl AsRef<str>, room: impl AsRef<str>) -> Self {
        Self::new(Scope::Room { name: room.as_ref().into(), tenant: Some(tenant.as_ref().into()) })
    }

    /// Addresses every connection of a tenant.
    pub fn tenant(tenant: impl AsRef<str>) -> Self {
        Self::new(Scope::Tenant(tenant.as_ref().into()))
    }

    /// Addresses every connection of a user, in any tenant.
    pub fn user(user: impl AsRef<str>) -> Self {
        Self::new(Scope::User { name: user.as_ref().into(), tenant: None })
    }

    /// Addresses every connection of a user in this tenant.
    pub fn user_in(tenant: impl AsRef<str>, user: impl AsRef<str>) -> Self {
        Self::new(Scope::User { name: user.as_ref().into(), tenant: Some(tenant.as_ref().into()) })
    }

    /// Excludes this connection.
    #[must_use]
    pub fn except_connection(mut self, id: ConnectionId) -> Self {
        self.except_connections.push(id);
        self
    }

    /// Excludes every connection of this user, in any tenant.
    #[must_use]
    pub fn except_user(mut self, user: impl AsRef<str>) -> Self {
        self.except_users.push(user.as_ref().into());
        self
    }

    /// Excludes every connection of this user in this tenant.
    #[must_use]
    pub fn except_user_in(mut self, tenant: impl AsRef<str>, user: impl AsRef<str>) -> Self {
        self.except_users_in.push((tenant.as_ref().into(), user.as_ref().into()));
        self
    }

    /// Returns the set of connections that the target starts from.
    #[must_use]
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// Returns whether the target excludes anyone.
    pub(crate) fn has_exceptions(&self) -> bool {
        !(self.except_connections.is_empty() && self.except_users.is_empty() && self.except_users_in.is_empty())
    }

    /// Returns the excluded connections.
    pub(crate) fn except_connections(&self) -> impl Iterator<Item = &ConnectionId> {
        self.except_connections.iter()
    }

    /// Returns the excluded users, each with its tenant if it is excluded in that one only.
    pub(crate) fn except_users(&self) -> impl Iterator<Item = (Option<&str>, &str)> {
        let in_any = self.except_users.iter().map(|user| (None, &**user));
        in_any.chain(self.except_users_in.iter().map(|(tenant, user)| (Some(&**tenant), &**user)))
    }

    /// Checks every name in the target.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`].
    pub fn check(&self) -> Result<()> {
        match &self.scope {
            Scope::All | Scope::Connection(_) => {}
            Scope::Room { name, tenant } => {
                check_name("room", name)?;
                tenant.as_ref().map_or(Ok(()), |tenant| check_name("tenant", tenant))?;
            }
            Scope::Tenant(tenant) => check_name("tenant", tenant)?,
            Scope::User { name, tenant } => {
                check_name("user", name)?;
                tenant.as_ref().map_or(Ok(()), |tenant| check_name("tenant", tenant))?;
            }
        }
        self.except_users.iter().try_for_each(|user| check_name("user", user))?;
        self.except_users_in.iter().try_for_each(|(tenant, user)| {
            check_name("tenant", tenant)?;
            check_name("user", user)
        })
    }

    /// Returns whether the tenant filter and the exceptions include this connection, without regard
    /// to the scope's own set.
    #[must_use]
    pub fn admits(&self, id: ConnectionId, identity: &Identity) -> bool {
        self.tenant_only().is_none_or(|tenant| identity.tenant_name() == Some(tenant))
            && !self.excludes(id)
            && !identity.user_name().is_some_and(|user| self.excepts(identity.tenant_name(), user))
    }

    /// Returns whether this connection is one of the exceptions.
    pub(crate) fn excludes(&self, id: ConnectionId) -> bool {
        self.except_connections.contains(&id)
    }

    /// Returns whether [`Target::admits`] includes every connection.
    pub(crate) fn admits_all(&self) -> bool {
        self.tenant_only().is_none() && !self.has_exceptions()
    }

    /// Returns whether this user is one of the exceptions.
    pub(crate) fn excepts(&self, tenant: Option<&str>, user: &str) -> bool {
        self.except_users.iter().any(|except| &**except == user)
            || self.except_users_in.iter().any(|(of, except)| &**except == user && Some(&**of) == tenant)
    }

    /// Widens a room to everyone, or to its tenant: for providers that show rooms to everyone.
    pub(crate) fn widen_room(mut self) -> Self {
        self.scope = match self.scope {
            Scope::Room { tenant: None, .. } => Scope::All,
            Scope::Room { tenant: Some(tenant), .. } => Scope::Tenant(tenant),
            other => other,
        };
        self
    }

    /// Returns the tenant that the scope's set is restricted to.
    pub(crate) fn tenant_only(&self) -> Option<&str> {
        match &self.scope {
            Scope::Room { tenant, .. } | Scope::User { tenant, .. } => tenant.as_deref(),
            Scope::All | Scope::Connection(_) | Scope::Tenant(_) => None,
        }
    }

    fn new(scope: Scope) -> Self {
        Self { scope, except_connections: Vec::new(), except_users: Vec::new(), except_users_in: Vec::new() }
    }
}
