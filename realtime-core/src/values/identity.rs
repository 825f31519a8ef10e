use std::sync::Arc;
use std::time::SystemTime;

use crate::values::claims::Claims;
use crate::values::name::check_name;
use crate::values::refusal::Refusal;

/// Who a connection belongs to: a user, a tenant, what else the application says of it, and until when that holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    user: Option<Arc<str>>,
    tenant: Option<Arc<str>>,
    expires_at: Option<SystemTime>,
    claims: Option<Claims>,
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

    /// The same identity with what else the application knows of it: roles, the session's id, a verified token. Handlers, hooks and
    /// policies read it back. There is one value; a second one takes its place. It stays on this node, and is in no log.
    ///
    /// ```
    /// use realtime_core::Identity;
    ///
    /// struct Roles(Vec<&'static str>);
    ///
    /// let identity = Identity::user("ann").with_claims(Roles(vec!["editor"]));
    /// assert!(identity.claims::<Roles>().is_some_and(|roles| roles.0.contains(&"editor")));
    /// ```
    pub fn with_claims<T: Send + Sync + 'static>(mut self, claims: T) -> Self {
        self.claims = Some(Claims::new(claims));
        self
    }

    /// What the authenticator said by [`Identity::with_claims`]; none if it said nothing, or in another type.
    pub fn claims<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.claims.as_ref()?.get()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Token(&'static str);

    #[test]
    fn claims_are_found_by_their_type_and_shown_nowhere() {
        let ann = Identity::user("ann");
        assert!(ann.claims::<Token>().is_none());
        let signed = ann.clone().with_claims(1_u32).with_claims(Token("secret"));
        assert_eq!(signed.claims::<Token>().map(|token| token.0), Some("secret"));
        assert!(signed.claims::<u32>().is_none());
        assert!(!format!("{signed:?}").contains("secret"), "{signed:?}");
        assert_eq!(signed, signed.clone());
        assert_ne!(signed, ann);
        assert_ne!(signed, ann.with_claims(Token("secret")), "who says the same may mean something else");
    }
}
