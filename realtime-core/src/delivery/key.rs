use std::sync::Arc;

use crate::values::target::Scope;

/// The key under which the window finds a record.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    All,
    Room(Arc<str>),
    Tenant(Arc<str>),
    User(Arc<str>),
}

impl Key {
    pub(crate) fn of(scope: &Scope) -> Option<Self> {
        match scope {
            Scope::All => Some(Self::All),
            Scope::Connection(_) => None,
            Scope::Room { name, .. } => Some(Self::Room(Arc::clone(name))),
            Scope::Tenant(name) => Some(Self::Tenant(Arc::clone(name))),
            Scope::User { name, .. } => Some(Self::User(Arc::clone(name))),
        }
    }
}
