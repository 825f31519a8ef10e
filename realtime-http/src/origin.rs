use std::sync::OnceLock;

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, HOST, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use realtime_core::{Error, Refusal, RefusalKind};

/// The time in seconds for which a browser may cache the response to a preflight.
const PREFLIGHT_AGE: HeaderValue = HeaderValue::from_static("600");

/// The web pages that may connect. Browsers send `Origin` with every such request, and a page
/// cannot forge it (RFC 6454 §7); programs need not send it, and a request without it is accepted.
///
/// The exception are loads that a page causes without a permission check of the browser (`<img>`,
/// `<script>`): they have no `Origin` either, but `Sec-Fetch-Site: cross-site` or `same-site` (W3C
/// Fetch Metadata §2.3), and the page is unknown. They are rejected, whatever pages are listed,
/// unless every page may connect. `same-origin` and `none` are accepted. Browsers send this header
/// only to `https` and the own host: over plain `http` such loads cannot be distinguished from a
/// program's requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origins {
    listed: Vec<String>,
    any: bool,
    same: bool,
}

/// The origins of one provider: the provider's own, or else those of the service, or else the same
/// host.
#[derive(Debug)]
pub struct ProviderOrigins {
    own: Option<Origins>,
    service: OnceLock<Origins>,
}

static SAME_HOST: Origins = Origins { listed: Vec::new(), any: false, same: true };

impl ProviderOrigins {
    /// Creates the origins with those of the provider's configuration, if it has any.
    #[must_use]
    pub fn new(own: Option<Origins>) -> Self {
        Self { own, service: OnceLock::new() }
    }

    /// Sets the origins of the service; only the first call counts.
    pub fn set_default(&self, origins: &Origins) {
        self.service.get_or_init(|| origins.clone());
    }

    /// Returns the origins that apply.
    pub fn get(&self) -> &Origins {
        self.own.as_ref().or_else(|| self.service.get()).unwrap_or(&SAME_HOST)
    }
}

impl Default for Origins {
    /// Allows pages of the same host and port that the request is for.
    fn default() -> Self {
        Self { listed: Vec::new(), any: false, same: true }
    }
}

impl std::fmt::Display for Origins {
    /// Writes the pages, for a log.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.any {
            return f.write_str("any");
        }
        let same = self.same.then_some("same host");
        let names: Vec<_> = same.into_iter().chain(self.listed.iter().map(String::as_str)).collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(", ") }.as_str())
    }
}

impl Origins {
    /// Allows pages of the same host and port only; the default.
    #[must_use]
    pub fn same_host() -> Self {
        Self::default()
    }

    /// Allows every page: safe only where the identity does not come from cookies.
    #[must_use]
    pub fn any() -> Self {
        Self { listed: Vec::new(), any: true, same: true }
    }

    /// Allows these pages and no others, each written as `scheme://host[:port]`. The server's own
    /// host is not included: where its pages connect too, list it, or use
    /// `Origins::same_host().and(…)`.
    pub fn only<I: IntoIterator<Item = S>, S: Into<String>>(origins: I) -> Self {
        Self { listed: origins.into_iter().map(listed).collect(), any: false, same: false }
    }

    /// Allows this page too.
    #[must_use]
    pub fn and(mut self, origin: impl Into<String>) -> Self {
        self.listed.push(listed(origin));
        self
    }

    /// Checks that every listed origin is one that a page can have; called when a service is built.
    ///
    /// # Errors
    /// [`Error::Config`] that names the origin.
    pub fn verify(&self) -> Result<(), Error> {
        let wrong = self.listed.iter().find(|origin| !is_origin(origin));
        wrong.map_or(Ok(()), |origin| {
            Err(Error::Config(format!("origins: {origin:?} is not an origin; expected scheme://host[:port]")))
        })
    }

    /// Checks a request.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::Origin`].
    pub fn check(&self, parts: &Parts) -> Result<(), Refusal> {
        let mut origins = parts.headers.get_all(ORIGIN).iter();
        if self.any {
            return Ok(());
        }
        let allowed = match origins.next() {
            None => !is_cross_origin(&parts.headers),
            Some(origin) if origins.next().is_none() => origin.to_str().is_ok_and(|origin| self.allows(origin, parts)),
            Some(_) => false,
        };
        if allowed {
            return Ok(());
        }
        Err(Refusal::new(RefusalKind::Origin, format!("pages of {} may not connect", named(&parts.headers))))
    }

    /// Sets the headers with which the requesting page can read the response, if it may connect
    /// (Fetch §3.2.3).
    ///
    /// Cookies are allowed for listed origins and the same host only: with [`Origins::any`] every
    /// page could use them.
    pub fn allow(&self, parts: &Parts, answer: &mut HeaderMap) {
        answer.append(VARY, HeaderValue::from_static("origin"));
        let Some(origin) = parts.headers.get(ORIGIN).filter(|_| self.check(parts).is_ok()) else { return };
        answer.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        if !self.any {
            answer.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }

    /// Sets the headers of the response to a preflight (Fetch §4.8): a page that may connect may
    /// use these methods, and all headers that it requests, such as a CSRF token or those of
    /// tracing.
    pub fn allow_preflight(&self, parts: &Parts, methods: &'static str, answer: &mut HeaderMap) {
        self.allow(parts, answer);
        answer.insert(VARY, HeaderValue::from_static("origin, access-control-request-headers"));
        if !answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
            return;
        }
        answer.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(methods));
        answer.insert(ACCESS_CONTROL_MAX_AGE, PREFLIGHT_AGE);
        for asked in parts.headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS) {
            answer.append(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
    }

    fn allows(&self, origin: &str, parts: &Parts) -> bool {
        let origin = normalised(origin);
        (self.same && is_same_host(&origin, &parts.headers, parts)) || self.listed.contains(&origin)
    }
}

/// Returns the page as the browser names it, for a message.
fn named(headers: &HeaderMap) -> String {
    let Some(origin) = headers.get(ORIGIN) else { return "another site".to_owned() };
    let text = String::from_utf8_lossy(origin.as_bytes());
    format!("the origin {:?}", &text[..text.floor_char_boundary(128)])
}

/// Returns whether, according to the browser, a page of another origin caused the request.
fn is_cross_origin(headers: &HeaderMap) -> bool {
    headers.get_all("sec-fetch-site").iter().any(|site| site != "same-origin" && site != "none")
}

/// Returns whether a page can have this origin (RFC 6454 §6.2): a scheme, a host and perhaps a
/// port, or `null`; or the origin of pages in the web view of a mobile application, which have no
/// host.
fn is_origin(text: &str) -> bool {
    if matches!(text, "null" | "file://") {
        return true;
    }
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    // Browser extensions have origins too, whose hosts are no host names.
    is_scheme && !host.is_empty() && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*\\".contains(&byte))
}

/// Returns an origin as it is stored in a list.
fn listed(origin: impl Into<String>) -> String {
    let origin = origin.into();
    let trimmed = origin.trim_end_matches('/');
    // Without a host this is no origin, and an error shows it as it was written.
    normalised(if trimmed.ends_with(':') { &origin } else { trimmed })
}

/// Returns an origin in lower case and without the scheme's default port, which browsers omit.
fn normalised(origin: &str) -> String {
    let mut origin = origin.to_ascii_lowercase();
    if let Some((scheme, host)) = origin.split_once("://") {
        let without = without_default_port(scheme, host).len();
        origin.truncate(origin.len() - (host.len() - without));
    }
    origin
}

/// Returns a host without the scheme's default port (RFC 6454 §4, RFC 9110 §4.2).
fn without_default_port<'a>(scheme: &str, host: &'a str) -> &'a str {
    let port = match scheme {
        "http" | "ws" => ":80",
        "https" | "wss" => ":443",
        _ => return host,
    };
    host.strip_suffix(port).unwrap_or(host)
}

/// Returns whether an origin is the request's own host. HTTP/1.1 has the host in `Host`, HTTP/2 in
/// `:authority`, which is the URI's (RFC 9113 §8.3.1); some proxies add the default port of the
/// page's scheme.
fn is_same_host(origin: &str, headers: &HeaderMap, parts: &Parts) -> bool {
    let Some((scheme, origin_host)) = origin.split_once("://") else { return false };
    let host = headers.get(HOST).and_then(|host| host.to_str().ok());
    let host = host.or_else(|| parts.uri.authority().map(|authority| authority.as_str()));
    host.is_some_and(|host| without_default_port(scheme, host).eq_ignore_ascii_case(origin_host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(host: &str, origin: Option<&str>) -> Parts {
        let request = http::Request::get("/sse").header(HOST, host);
        origin
            .map_or(http::Request::get("/sse").header(HOST, host), |origin| request.header(ORIGIN, origin))
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    #[test]
    fn default_allows_the_same_host_and_programs() {
        let origins = Origins::default();
        assert!(origins.check(&parts("a.example:80", None)).is_ok());
        assert!(origins.check(&parts("a.example:8080", Some("http://A.example:8080"))).is_ok());
        for origin in
            ["http://b.example", "http://a.example", "null", "", "a.example:8080", "http://a.example:8080.evil"]
        {
            let refusal = origins.check(&parts("a.example:8080", Some(origin))).unwrap_err();
            assert_eq!(refusal.kind(), RefusalKind::Origin, "{origin:?}");
        }
    }

    #[test]
    fn default_port_may_be_omitted_on_either_side() {
        let same = [
            ("app.example:443", "https://app.example"),
            ("app.example", "https://app.example:443"),
            ("App.example:80", "http://app.example"),
            ("[::1]:80", "http://[::1]"),
            ("[::1]", "http://[::1]:80"),
        ];
        for (host, origin) in same {
            assert!(Origins::default().check(&parts(host, Some(origin))).is_ok(), "{host} {origin}");
        }
        let other = [
            ("app.example:80", "https://app.example"),
            ("app.example:443", "http://app.example"),
            ("app.example:8443", "https://app.example"),
            ("app.example", "https://app.example:8443"),
            ("app.example", "https://app.example:1443"),
        ];
        for (host, origin) in other {
            assert!(Origins::default().check(&parts(host, Some(origin))).is_err(), "{host} {origin}");
        }
        for origins in [Origins::only(["https://app.example:443/"]), Origins::same_host().and("https://App.example")] {
            for origin in ["https://app.example", "https://app.example:443"] {
                assert!(origins.check(&parts("api.example", Some(origin))).is_ok(), "{origins:?} {origin}");
            }
            for origin in ["http://app.example", "https://app.example:80", "https://app.example:4430"] {
                assert!(origins.check(&parts("api.example", Some(origin))).is_err(), "{origins:?} {origin}");
            }
        }
        let mut http2 = http::Request::get("https://app.example:443/sse").body(()).unwrap().into_parts().0;
        http2.headers.insert(ORIGIN, HeaderValue::from_static("https://app.example"));
        assert!(Origins::default().check(&http2).is_ok());
    }

    #[test]
    fn cross_origin_loads_without_an_origin_are_rejected() {
        let loaded = |site: &'static str| {
            let mut parts = parts("a.example", None);
            parts.headers.insert("sec-fetch-site", HeaderValue::from_static(site));
            parts
        };
        for origins in [Origins::default(), Origins::only(["https://app.example"])] {
            for site in ["cross-site", "same-site", "whatever"] {
                assert_eq!(origins.check(&loaded(site)).unwrap_err().kind(), RefusalKind::Origin, "{site}");
            }
            assert!(origins.check(&loaded("same-origin")).is_ok() && origins.check(&loaded("none")).is_ok());
        }
        assert!(Origins::any().check(&loaded("cross-site")).is_ok());
        // With an origin, that alone counts.
        let mut asked = loaded("cross-site");
        asked.headers.insert(ORIGIN, HeaderValue::from_static("https://app.example"));
        assert!(Origins::only(["https://app.example"]).check(&asked).is_ok());
    }

    #[test]
    fn invalid_origins_are_rejected() {
        for wrong in
            ["app.example", "https://", "https://app.example/path", "https://*.example", "", "://a", "ht tp://a"]
        {
            let error = Origins::same_host().and(wrong).verify().unwrap_err().to_string();
            assert!(error.contains("origins") && error.contains(wrong), "{error}");
        }
        let right = [
            "https://app.example/",
            "http://localhost:5173",
            "http://[::1]:80",
            "null",
            "file://",
            "chrome-extension://abc",
        ];
        assert!(Origins::only(right).verify().is_ok());
        assert!(Origins::any().verify().is_ok() && Origins::same_host().verify().is_ok());
    }

    #[test]
    fn origins_of_a_provider_override_those_of_the_service() {
        let (own, service) = (Origins::only(["https://own.example"]), Origins::only(["https://app.example"]));
        let origins = ProviderOrigins::new(None);
        assert_eq!(origins.get(), &Origins::same_host());
        origins.set_default(&service);
        assert_eq!(origins.get(), &service);
        let origins = ProviderOrigins::new(Some(own.clone()));
        origins.set_default(&service);
        assert_eq!(origins.get(), &own);
        assert_eq!(Origins::same_host().and("https://app.example").to_string(), "same host, https://app.example");
    }

    #[test]
    fn listed_origins_are_compared_exactly() {
        let origins = Origins::only(["https://App.example/"]);
        assert!(origins.check(&parts("api.example", Some("https://app.example"))).is_ok());
        assert!(origins.check(&parts("api.example", Some("https://api.example"))).is_err());
        assert!(origins.check(&parts("api.example", Some("https://app.example.evil"))).is_err());
        assert!(Origins::any().check(&parts("api.example", Some("null"))).is_ok());
    }

    #[test]
    fn preflight_allows_the_requested_headers() {
        let mut asked = parts("api.example", Some("https://app.example"));
        for names in ["traceparent, x-csrf-token", "sentry-trace"] {
            asked.headers.append(ACCESS_CONTROL_REQUEST_HEADERS, HeaderValue::from_static(names));
        }
        let answer = |origins: Origins| {
            let mut answer = HeaderMap::new();
            origins.allow_preflight(&asked, "GET", &mut answer);
            assert_eq!(answer[VARY], "origin, access-control-request-headers");
            let names = answer.get_all(ACCESS_CONTROL_ALLOW_HEADERS);
            let names: Vec<_> = names.iter().map(|names| names.to_str().unwrap().to_owned()).collect();
            let max_age = answer.get(ACCESS_CONTROL_MAX_AGE).map(|age| age.to_str().unwrap().to_owned());
            (names, max_age.unwrap_or_default())
        };
        for origins in [Origins::only(["https://app.example"]), Origins::any()] {
            let mirrored = vec!["traceparent, x-csrf-token".to_owned(), "sentry-trace".to_owned()];
            assert_eq!(answer(origins), (mirrored, "600".to_owned()));
        }
        assert_eq!(answer(Origins::default()), (Vec::new(), String::new()));
    }

    #[test]
    fn cookies_are_not_allowed_for_every_page() {
        let asked = parts("api.example", Some("https://app.example"));
        let answer = |origins: Origins| {
            let mut answer = HeaderMap::new();
            origins.allow(&asked, &mut answer);
            (answer.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), answer.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS))
        };
        assert_eq!(answer(Origins::default()), (false, false));
        assert_eq!(answer(Origins::only(["https://app.example"])), (true, true));
        assert_eq!(answer(Origins::any()), (true, false));
    }
}
