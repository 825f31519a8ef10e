mod presented;

use std::borrow::Cow;
use std::future::Future;
use std::net::IpAddr;
use std::sync::Arc;

use async_trait::async_trait;
use http::header::{AUTHORIZATION, COOKIE, HeaderName, HeaderValue};
use http::request::Parts;
use serde_json::Value;

use crate::traits::token_source::TokenSource;
use crate::values::connection::ConnectionId;
use crate::values::identity::Identity;
use crate::values::refusal::Refusal;
use crate::values::subprotocols::Subprotocols;
use crate::values::trace_context::TraceContext;

const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");

/// Identifies the user behind a request to connect.
///
/// A type of the application's, or an async closure:
///
/// ```
/// use realtime_core::{Authenticator, ConnectRequest, Identity, Refusal};
///
/// fn authenticator() -> impl Authenticator {
///     async |request: ConnectRequest| match request.token().as_deref() {
///         Some("secret") => Ok(Identity::user("ann")),
///         _ => Err(Refusal::unauthorized("unknown token")),
///     }
/// }
/// ```
#[async_trait]
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an authenticator",
    label = "expected an `Authenticator`",
    note = "an authenticator is a type with `#[async_trait] impl Authenticator for …`, or a closure \
            `async |request: ConnectRequest| -> Result<Identity, Refusal> {{ … }}` that captures nothing by reference"
)]
pub trait Authenticator: Send + Sync + 'static {
    /// Returns the identity behind this request.
    ///
    /// # Errors
    /// A [`Refusal`], whose message the client reads: keep secrets out of it.
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal>;
}

#[async_trait]
#[diagnostic::do_not_recommend]
impl<F, Fut> Authenticator for F
where
    F: Fn(ConnectRequest) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<Identity, Refusal>> + Send,
{
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        self(request.clone()).await
    }
}

/// The authenticator of `allow_anonymous()`: accepts every client as anonymous.
#[derive(Clone, Copy, Debug, Default)]
pub struct Anonymous;

#[async_trait]
impl Authenticator for Anonymous {
    async fn authenticate(&self, _: &ConnectRequest) -> Result<Identity, Refusal> {
        Ok(Identity::anonymous())
    }
}

/// A request to connect, as an [`Authenticator`] sees it. Cheap to clone.
#[derive(Clone)]
pub struct ConnectRequest {
    parts: Arc<Parts>,
    address: Option<IpAddr>,
    auth: Option<Arc<Value>>,
    provider: &'static str,
}

impl ConnectRequest {
    /// Creates a request without a Socket.IO `auth` value.
    pub fn new(provider: &'static str, parts: &Parts) -> Self {
        Self { parts: Arc::new(parts.clone()), address: None, auth: None, provider }
    }

    /// Sets the client's address.
    #[must_use]
    pub fn with_address(mut self, address: Option<IpAddr>) -> Self {
        self.address = address;
        self
    }

    /// Sets what a Socket.IO client passed as `auth`.
    #[must_use]
    pub fn with_auth(mut self, auth: Option<Value>) -> Self {
        self.auth = auth.map(Arc::new);
        self
    }

    /// Returns the name of the provider that the client connects with.
    #[must_use]
    pub fn provider(&self) -> &'static str {
        self.provider
    }

    /// Returns the client's address, where it is known: the one that trusted proxies name, or the
    /// TCP connection's own.
    #[must_use]
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }

    /// Returns method, path, headers and extensions of the HTTP request.
    #[must_use]
    pub fn parts(&self) -> &Parts {
        &self.parts
    }

    /// Returns what a Socket.IO client passed as `auth`.
    #[must_use]
    pub fn auth(&self) -> Option<&Value> {
        self.auth.as_deref()
    }

    /// Returns the first value of a query parameter, decoded.
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'_, str>> {
        self.query_all(name).next()
    }

    /// Returns all values of a query parameter, decoded.
    pub fn query_all<'a>(&'a self, name: &str) -> impl Iterator<Item = Cow<'a, str>> {
        self.query_pairs().filter(move |(key, _)| key == name).map(|(_, value)| value)
    }

    /// Returns all parameters of the query in their order, decoded.
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
        form_urlencoded::parse(self.parts.uri.query().unwrap_or_default().as_bytes())
    }

    /// Returns a cookie's value, if it is UTF-8. Other cookies may hold any bytes.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let lines = self.parts.headers.get_all(COOKIE).into_iter().map(HeaderValue::as_bytes);
        lines.flat_map(|line| line.split(|byte| *byte == b';')).find_map(|cookie| {
            let cookie = std::str::from_utf8(cookie.trim_ascii()).ok()?;
            let (key, value) = cookie.split_once('=')?;
            (key == name).then(|| value.trim_matches('"'))
        })
    }

    /// Returns a string in the Socket.IO `auth` object.
    #[must_use]
    pub fn auth_text(&self, name: &str) -> Option<&str> {
        self.auth()?.get(name)?.as_str()
    }

    /// Returns the id of the client's previous connection, from before a disconnect, as the client
    /// states it: `connectionId` in Socket.IO's `auth` or in the query, as the client received it
    /// in `connected`. `None` for anything that is not such an id.
    pub fn former_connection(&self) -> Option<ConnectionId> {
        const NAME: &str = "connectionId";
        self.auth_text(NAME).map(Cow::Borrowed).or_else(|| self.query(NAME))?.parse().ok()
    }

    /// Returns the token: `Authorization: Bearer …`, the subprotocol after `bearer`, the cookie
    /// `token`, `?token=`, or Socket.IO's `auth.token`, in this order.
    #[must_use]
    pub fn token(&self) -> Option<Cow<'_, str>> {
        self.token_in(&TokenSource::ALL)
    }

    /// Returns the token in the first of these places that has one.
    #[must_use]
    pub fn token_in(&self, sources: &[TokenSource]) -> Option<Cow<'_, str>> {
        sources.iter().find_map(|source| match source {
            TokenSource::Auth(name) => self.auth_text(name).map(Cow::Borrowed),
            TokenSource::Bearer => self.bearer().map(Cow::Borrowed),
            TokenSource::Cookie(name) => self.cookie(name).map(Cow::Borrowed),
            TokenSource::Query(name) => self.query(name),
            TokenSource::Subprotocol => self.subprotocol_token().map(Cow::Borrowed),
        })
    }

    /// Returns the token that a browser's `new WebSocket(url, ['bearer', token])` sends as a
    /// subprotocol, if there is one.
    #[must_use]
    pub fn subprotocol_token(&self) -> Option<&str> {
        // The handshake has counted the offers.
        Subprotocols::read_up_to(&self.parts.headers, usize::MAX).ok()?.token()
    }

    /// Returns the trace that the client names in the headers `traceparent` and `tracestate`;
    /// `None` without a valid one. It is what a stranger says.
    #[must_use]
    pub fn trace(&self) -> Option<TraceContext> {
        let mut parents = self.parts.headers.get_all(TRACEPARENT).iter();
        // Which of several is meant is not known.
        let (Some(parent), None) = (parents.next(), parents.next()) else { return None };
        let states = self.parts.headers.get_all(TRACESTATE).iter().filter_map(|state| state.to_str().ok());
        let state = states.collect::<Vec<_>>().join(",");
        TraceContext::parse(parent.to_str().ok()?, Some(&state))
    }

    /// Returns the token of the header `Authorization: Bearer …`, if there is one.
    #[must_use]
    pub fn bearer(&self) -> Option<&str> {
        let value = std::str::from_utf8(self.parts.headers.get(AUTHORIZATION)?.as_bytes()).ok()?;
        let (scheme, token) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
    }
}

impl std::fmt::Debug for ConnectRequest {
    /// Names the request without its query, headers and `auth`, which may hold secrets.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ConnectRequest")
            .field("provider", &self.provider)
            .field("method", &self.parts.method)
            .field("path", &self.parts.uri.path())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let request =
            headers.iter().fold(http::Request::get(uri), |request, (key, value)| request.header(*key, *value));
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn token_is_found_in_each_source_and_in_this_order() {
        let auth = serde_json::json!({"token": "d"});
        let all = parts("/sse?token=c%20c", &[("authorization", "bearer a"), ("cookie", "x=1; token=\"b\"")]);
        assert_eq!(ConnectRequest::new("sse", &all).with_auth(Some(auth.clone())).token().as_deref(), Some("a"));
        let cookie = parts("/sse?token=c%20c", &[("authorization", "Basic a"), ("cookie", "x=1; token=\"b\"")]);
        assert_eq!(ConnectRequest::new("sse", &cookie).token().as_deref(), Some("b"));
        let offered = parts("/ws?token=c%20c", &[("sec-websocket-protocol", "v1, bearer, e"), ("cookie", "token=b")]);
        assert_eq!(ConnectRequest::new("ws", &offered).token().as_deref(), Some("e"));
        let query = parts("/sse?token=c%20c", &[]);
        assert_eq!(ConnectRequest::new("sse", &query).token().as_deref(), Some("c c"));
        let none = parts("/sse", &[]);
        assert_eq!(ConnectRequest::new("sse", &none).with_auth(Some(auth.clone())).token().as_deref(), Some("d"));
        assert_eq!(ConnectRequest::new("sse", &none).token(), None);
    }

    #[test]
    fn token_is_looked_for_in_the_named_places_only() {
        let parts = parts("/sse?key=c&token=x", &[("authorization", "Bearer a"), ("cookie", "session=b")]);
        let request = ConnectRequest::new("sse", &parts).with_auth(Some(serde_json::json!({"jwt": "d"})));
        let sources = [
            (TokenSource::Bearer, Some("a")),
            (TokenSource::Cookie("session".into()), Some("b")),
            (TokenSource::Query("key".into()), Some("c")),
            (TokenSource::Auth("jwt".into()), Some("d")),
            (TokenSource::Subprotocol, None),
            (TokenSource::Cookie("token".into()), None),
        ];
        for (source, token) in sources {
            assert_eq!(request.token_in(std::slice::from_ref(&source)).as_deref(), token, "{source:?}");
        }
        assert_eq!(request.token_in(&[]), None);
    }

    #[test]
    fn cookie_is_found_among_others_that_are_not_ascii() {
        let find = |cookies: &[&[u8]]| {
            let mut parts = parts("/sse", &[]);
            for cookies in cookies {
                parts.headers.append(COOKIE, HeaderValue::from_bytes(cookies).unwrap());
            }
            ConnectRequest::new("sse", &parts).token().map(Cow::into_owned)
        };
        let token = Some("abc".to_owned());
        assert_eq!(find(&["city=Zürich; token=abc".as_bytes()]), token);
        assert_eq!(find(&[b"city=Z\xfcrich;\ttoken=\"abc\" ; x=\xff"]), token);
        assert_eq!(find(&[b"\xff", b"token=abc"]), token);
        assert_eq!(find(&[b"token=\xff", b"token=abc"]), token);
        assert_eq!(find(&["token=Zürich".as_bytes()]), Some("Zürich".to_owned()));
        assert_eq!(find(&[b"token=\xff; Token=abc; xtoken=abc"]), None);
    }

    #[test]
    fn debug_shows_no_secret() {
        let parts = parts("/sse?token=secret", &[("authorization", "Bearer secret")]);
        assert!(!format!("{:?}", ConnectRequest::new("sse", &parts)).contains("secret"));
    }
}
