use std::collections::HashSet;
use std::sync::Arc;
use std::time::SystemTime;

use crate::values::claims::Claims;
use crate::values::name::check_name;
use crate::values::refusal::Refusal;

/// The user and the tenant that a connection belongs to, the rooms that it is in, the application's
/// claims about them, and the expiry and the id of the token that proves it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    user: Option<Arc<str>>,
    tenant: Option<Arc<str>>,
    expires_at: Option<SystemTime>,
    token_id: Option<Arc<str>>,
    rooms: Option<Arc<[Box<str>]>>,
    claims: Option<Claims>,
}

impl Identity {
    /// Creates an anonymous identity: matched by sends to everyone, to rooms and to a connection,
    /// never by user or tenant.
    #[must_use]
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// Creates the identity of a user without a tenant.
    pub fn user(user: impl AsRef<str>) -> Self {
        Self { user: Some(user.as_ref().into()), ..Self::default() }
    }

    /// Sets the tenant.
    #[must_use]
    pub fn with_tenant(mut self, tenant: impl AsRef<str>) -> Self {
        self.tenant = Some(tenant.as_ref().into());
        self
    }

    /// Sets until when the identity is valid; its connections are closed at that time.
    #[must_use]
    pub fn with_expiry(mut self, at: SystemTime) -> Self {
        self.expires_at = Some(at);
        self
    }

    /// Sets the id of the token that the user presented (`jti`), by which it can be revoked: 1–256
    /// bytes, no control characters.
    #[must_use]
    pub fn with_token_id(mut self, id: impl AsRef<str>) -> Self {
        self.token_id = Some(id.as_ref().into());
        self
    }

    /// Sets the rooms that each connection of this identity is in from its start, as far as the
    /// client does not leave them; the room policy is not asked about them. A client that resumes
    /// gets what was sent to them since its cursor, as under
    /// [`RoomAccess::Allow`](crate::RoomAccess::Allow). They count in
    /// [`Limits::with_rooms_per_connection`](crate::Limits::with_rooms_per_connection).
    #[must_use]
    pub fn with_rooms<R: Into<String>>(mut self, rooms: impl IntoIterator<Item = R>) -> Self {
        let mut known = HashSet::new();
        let rooms = rooms.into_iter().map(|room| room.into().into_boxed_str());
        let rooms: Vec<_> = rooms.filter(|room| known.insert(room.clone())).collect();
        self.rooms = (!rooms.is_empty()).then(|| rooms.into());
        self
    }

    /// Sets the application's claims about the user: roles, the session's id, a verified token.
    /// Handlers, hooks and policies read them back. There is one value; a second one replaces the
    /// first. The claims stay on this node, and are in no log.
    ///
    /// ```
    /// use realtime_core::Identity;
    ///
    /// struct Roles(Vec<&'static str>);
    ///
    /// let identity = Identity::user("ann").with_claims(Roles(vec!["editor"]));
    /// assert!(identity.claims::<Roles>().is_some_and(|roles| roles.0.contains(&"editor")));
    /// ```
    #[must_use]
    pub fn with_claims<T: Send + Sync + 'static>(mut self, claims: T) -> Self {
        self.claims = Some(Claims::new(claims));
        self
    }

    /// Returns the value of [`Identity::with_claims`], if there is one and it has this type.
    #[must_use]
    pub fn claims<T: Send + Sync + 'static>(&self) -> Option<&T> {
        self.claims.as_ref()?.get()
    }

    /// Returns the user's name, if there is one.
    #[must_use]
    pub fn user_name(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the tenant's name, if there is one.
    #[must_use]
    pub fn tenant_name(&self) -> Option<&str> {
        self.tenant.as_deref()
    }

    /// Returns until when the identity is valid, if that is limited.
    #[must_use]
    pub fn expiry(&self) -> Option<SystemTime> {
        self.expires_at
    }

    /// Returns the id of the token that the user presented, if it has one.
    #[must_use]
    pub fn token_id(&self) -> Option<&str> {
        self.token_id.as_deref()
    }

    /// Returns the rooms that each connection of this identity is in from its start.
    #[must_use]
    pub fn rooms(&self) -> impl ExactSizeIterator<Item = &str> {
        self.rooms.as_deref().unwrap_or_default().iter().map(|room| &**room)
    }

    /// Returns the name of the type of the claims, if there are any.
    #[must_use]
    pub fn claims_type(&self) -> Option<&'static str> {
        self.claims.as_ref().map(Claims::type_name)
    }

    /// Returns whether the identity has expired.
    #[must_use]
    pub fn is_expired(&self, now: SystemTime) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    pub(crate) fn shared_user(&self) -> Option<&Arc<str>> {
        self.user.as_ref()
    }

    pub(crate) fn shared_tenant(&self) -> Option<&Arc<str>> {
        self.tenant.as_ref()
    }

    /// Returns whether the identity ends by itself, or can be revoked.
    pub(crate) fn can_end(&self) -> bool {
        self.expires_at.is_some() || self.token_id.is_some()
    }

    /// Returns whether another identity is that of the same user of the same tenant.
    pub(crate) fn is_same_user(&self, other: &Self) -> bool {
        (&self.user, &self.tenant) == (&other.user, &other.tenant)
    }

    /// Rejects names that break the rules, and an identity that has expired.
    pub(crate) fn check(&self) -> Result<(), Refusal> {
        for (what, name) in [("user", &self.user), ("tenant", &self.tenant), ("token", &self.token_id)] {
            if let Some(name) = name {
                check_name(what, name).map_err(|error| Refusal::bad_request(error.to_string()))?;
            }
        }
        for room in self.rooms() {
            check_name("room", room).map_err(|error| Refusal::bad_request(error.to_string()))?;
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

    #[test]
    fn rooms_are_kept_once_and_their_names_checked() {
        let ann = Identity::user("ann").with_rooms(["b", "a", "b"]);
        assert_eq!(ann.rooms().collect::<Vec<_>>(), ["b", "a"]);
        assert!(ann.check().is_ok());
        assert!(ann.with_rooms(["a", ""]).check().is_err());
        assert_eq!(Identity::user("ann").with_rooms([""; 0]), Identity::user("ann"));
    }

    #[derive(Debug)]
    struct Token(&'static str);

    #[test]
    fn claims_are_found_by_type_and_hidden_from_debug() {
        let ann = Identity::user("ann");
        assert!(ann.claims::<Token>().is_none());
        let signed = ann.clone().with_claims(1_u32).with_claims(Token("secret"));
        assert_eq!(signed.claims::<Token>().map(|token| token.0), Some("secret"));
        assert!(signed.claims::<u32>().is_none());
        assert!(!format!("{signed:?}").contains("secret"), "{signed:?}");
        assert_eq!(signed, signed.clone());
        assert_ne!(signed, ann);
        assert_ne!(signed, ann.with_claims(Token("secret")), "equal claims may have different meanings");
    }
}
