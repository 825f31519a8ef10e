use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use realtime_core::{Error, Identity, Refusal, Result, TokenSource, setters};

use crate::claims::JwtClaims;
use crate::jwks::{Jwks, Source};
use crate::key::JwtKey;

/// Makes an identity of verified claims.
pub(crate) type Identify = Arc<dyn Fn(&JwtClaims) -> Result<Identity, Refusal> + Send + Sync>;

/// The keys, checks and claims of a [`JwtAuthenticator`](crate::JwtAuthenticator). What cannot work
/// is rejected when it is created.
#[derive(Clone)]
pub struct JwtConfig {
    pub(crate) keys: Vec<JwtKey>,
    pub(crate) jwks: Option<Jwks>,
    pub(crate) audiences: Vec<String>,
    pub(crate) any_audience: bool,
    pub(crate) issuers: Vec<String>,
    pub(crate) leeway: Duration,
    pub(crate) expiry_required: bool,
    pub(crate) max_token_bytes: usize,
    pub(crate) sources: Vec<TokenSource>,
    pub(crate) user_claim: Cow<'static, str>,
    pub(crate) tenant_claim: Option<String>,
    pub(crate) rooms_claim: Option<String>,
    pub(crate) identify: Option<Identify>,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            jwks: None,
            audiences: Vec::new(),
            any_audience: false,
            issuers: Vec::new(),
            leeway: Duration::from_secs(30),
            expiry_required: true,
            max_token_bytes: 8 * 1024,
            sources: vec![TokenSource::Bearer, TokenSource::Auth("token".into()), TokenSource::Subprotocol],
            user_claim: "sub".into(),
            tenant_claim: None,
            rooms_claim: None,
            identify: None,
        }
    }
}

setters! {
    impl JwtConfig {
        /// Sets by how much the clocks of the issuer and of this host may differ; default 30 s. A
        /// token is accepted for so long after its `exp`, and before its `nbf`.
        ///
        /// A connection has none: it ends at its token's `exp`, and one that was opened after that
        /// when the leeway is over.
        with_leeway(leeway: Duration);
        /// Sets whether a token without `exp` is refused; default `true`. Such a token is good for
        /// ever: who finds it can use it.
        with_expiry_required(expiry_required: bool);
        /// Sets the longest token that is looked at, in bytes; default 8 KiB.
        with_max_token_bytes(max_token_bytes: usize);
        /// Sets the claim with the user's name, a text or a whole number; default `sub`.
        with_user_claim(user_claim: impl Into<Cow<'static, str>>);
    }
}

impl JwtConfig {
    /// Adds a key. With several, each token is verified with the one that is for its algorithm and
    /// its key id, so that keys can be replaced one after the other.
    #[must_use]
    pub fn with_key(mut self, key: JwtKey) -> Self {
        self.keys.push(key);
        self
    }

    /// Sets the key set, besides the keys of [`with_key`](Self::with_key).
    #[must_use]
    pub fn with_jwks(mut self, jwks: Jwks) -> Self {
        self.jwks = Some(jwks);
        self
    }

    /// Adds an audience: a token has to name one of them in `aud`. Without any, a token that names
    /// an audience is refused, since it is for somebody else (RFC 7519 §4.1.3).
    ///
    /// A key set from a URL needs one: its issuer signs tokens for other applications with the same
    /// keys.
    #[must_use]
    pub fn with_audience(mut self, audience: impl Into<String>) -> Self {
        self.audiences.push(audience.into());
        self
    }

    /// Accepts tokens for any audience, and those for none.
    #[must_use]
    pub fn with_any_audience(mut self) -> Self {
        self.any_audience = true;
        self
    }

    /// Adds an issuer: a token has to name one of them in `iss`. By default `iss` is not looked at.
    #[must_use]
    pub fn with_issuer(mut self, issuer: impl Into<String>) -> Self {
        self.issuers.push(issuer.into());
        self
    }

    /// Sets the claim with the tenant's name, a text or a whole number; a token without it is
    /// refused. By default users have no tenant.
    #[must_use]
    pub fn with_tenant_claim(mut self, claim: impl Into<String>) -> Self {
        self.tenant_claim = Some(claim.into());
        self
    }

    /// Sets the claim with the rooms that a connection is in from its start: a list of names, or
    /// one name; a token without it names none ([`Identity::with_rooms`]). By default none are.
    #[must_use]
    pub fn with_rooms_claim(mut self, claim: impl Into<String>) -> Self {
        self.rooms_claim = Some(claim.into());
        self
    }

    /// Makes the identity by a function of the verified claims, in the place of the claims for
    /// user, tenant and rooms, and of [`JwtClaims`] in the identity. The connection ends at the
    /// token's `exp`, or at the identity's own expiry if that is earlier; `jti` is the token's id
    /// unless the identity has one.
    ///
    /// ```
    /// use realtime_core::{Identity, Refusal};
    /// use realtime_jwt::{JwtClaims, JwtConfig};
    ///
    /// struct Roles(Vec<String>);
    ///
    /// let config = JwtConfig::default().with_identity(|claims: &JwtClaims| {
    ///     let user: String = claims.get("email").ok_or_else(|| Refusal::forbidden("no email"))?;
    ///     Ok(Identity::user(user).with_claims(Roles(claims.get("roles").unwrap_or_default())))
    /// });
    /// ```
    #[must_use]
    pub fn with_identity<F>(mut self, identify: F) -> Self
    where
        F: Fn(&JwtClaims) -> Result<Identity, Refusal> + Send + Sync + 'static,
    {
        self.identify = Some(Arc::new(identify));
        self
    }

    /// Looks for the token in a cookie too, after the other places. Where it is set, the pages of
    /// other origins must not be allowed to connect (`Origins::any`): browsers send cookies by
    /// themselves.
    #[must_use]
    pub fn with_cookie(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.sources.push(TokenSource::Cookie(name.into()));
        self
    }

    /// Looks for the token in a parameter of the URL too, such as `token`, after the other places;
    /// off by default: proxies, browsers and servers write URLs into logs and histories, where a
    /// token is good until it expires. A browser has the subprotocol `bearer`, a cookie, or a
    /// ticket.
    #[must_use]
    pub fn with_query(mut self, name: impl Into<Cow<'static, str>>) -> Self {
        self.sources.push(TokenSource::Query(name.into()));
        self
    }

    /// Sets where the token is looked for, in this order; default: `Authorization: Bearer …`,
    /// Socket.IO's `auth.token`, and a WebSocket's subprotocol after `bearer`.
    #[must_use]
    pub fn with_sources(mut self, sources: impl IntoIterator<Item = TokenSource>) -> Self {
        self.sources = sources.into_iter().collect();
        self
    }

    /// Rejects what cannot work.
    pub(crate) fn check(&self) -> Result<()> {
        let wrong = |what: &str| Err(Error::Config(format!("jwt: {what}")));
        if self.keys.is_empty() && self.jwks.is_none() {
            return wrong("no key: call with_key(…) or with_jwks(…)");
        }
        if self.sources.is_empty() {
            return wrong("no source: with_sources(…) names no place where the token is");
        }
        if self.max_token_bytes == 0 {
            return wrong("max_token_bytes is zero");
        }
        let Some(jwks) = &self.jwks else { return Ok(()) };
        if matches!(jwks.source, Source::Url(_)) && self.audiences.is_empty() && !self.any_audience {
            return wrong("a key set from a url needs with_audience(…): its keys sign tokens for others too");
        }
        if jwks.fetch_timeout.is_zero() || jwks.fetch_interval.is_zero() || jwks.max_age.is_zero() {
            return wrong("jwks: fetch_timeout, fetch_interval or max_age is zero");
        }
        Ok(())
    }
}

impl std::fmt::Debug for JwtConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtConfig")
            .field("keys", &self.keys)
            .field("jwks", &self.jwks)
            .field("audiences", &self.audiences)
            .field("issuers", &self.issuers)
            .field("leeway", &self.leeway)
            .field("sources", &self.sources)
            .finish_non_exhaustive()
    }
}
