use std::borrow::Cow;
use std::sync::OnceLock;

use http::HeaderMap;
use http::header::{COOKIE, HOST, ORIGIN};
use http::request::Parts;
use realtime_core::{Error, Refusal, RefusalKind};

/// The web pages that may connect. Browsers send `Origin` with every such request, and a page
/// cannot forge it (RFC 6454 §7); programs need not send it, and a request without it is accepted.
///
/// The exception is subresource requests that a page makes without a permission check of the
/// browser (`<img>`, `<script>`): they have no `Origin` either, but `Sec-Fetch-Site: cross-site` or
/// `same-site` (W3C Fetch Metadata §2.3), and the page is unknown. They are rejected, whatever
/// pages are listed, unless every page may connect. `same-origin` and `none` are accepted. Browsers
/// send this header only to `https` and the own host: over plain `http` such requests cannot be
/// distinguished from a program's.
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

    /// Allows no page: only programs, which send no `Origin`, can connect.
    #[must_use]
    pub fn none() -> Self {
        Self { listed: Vec::new(), any: false, same: false }
    }

    /// Allows every page. Cookies count from pages of the same host, and from those that are listed
    /// in addition (`Origins::any().and(…)`): any other page has to identify its user by a token.
    #[must_use]
    pub fn any() -> Self {
        Self { listed: Vec::new(), any: true, same: true }
    }

    /// Allows these pages and no others, each written as `scheme://host[:port]`. The server's own
    /// host is not included: where its pages connect too, list it, or use
    /// `Origins::same_host().and(…)`.
    ///
    /// `https://*.example.com` allows every subdomain of `example.com`, of one label or more, and
    /// not `example.com` itself. Upper case and the scheme's default port make no difference; a
    /// host that is not ASCII is written in punycode (`xn--…`), as browsers send it. `null`, the
    /// origin of sandboxed frames and of files, has to be listed, and gets no cookies.
    pub fn only<I: IntoIterator<Item = S>, S: Into<String>>(origins: I) -> Self {
        Self { listed: origins.into_iter().map(listed).collect(), any: false, same: false }
    }

    /// Allows this page too; see [`Origins::only`].
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
        let wrong = self.listed.iter().find_map(|origin| Some((origin, problem(origin)?)));
        wrong.map_or(Ok(()), |(origin, problem)| {
            Err(Error::Config(format!("origins: {origin:?} is not an origin; {problem}")))
        })
    }

    /// Checks a request.
    ///
    /// # Errors
    /// A [`Refusal`] of kind [`RefusalKind::Origin`].
    pub fn check(&self, parts: &Parts) -> Result<(), Refusal> {
        if self.any || self.trusts(parts) || self.allows_null(parts) {
            return Ok(());
        }
        Err(Refusal::new(RefusalKind::Origin, format!("pages of {} may not connect", named(&parts.headers))))
    }

    /// Returns the request as it may be used to identify the client: without cookies, if they may
    /// be another page's doing.
    ///
    /// Browsers send a site's cookies along whichever page caused the request. So they count only
    /// from pages that are listed and from the same host: with [`Origins::any`] other pages may
    /// connect, but not as the visitor that the cookies name; and `null` is the origin of many
    /// pages (RFC 6454 §7.3), also where it is listed.
    #[must_use]
    pub fn without_foreign_cookies<'a>(&self, parts: &'a Parts) -> Cow<'a, Parts> {
        if !parts.headers.contains_key(COOKIE) || self.trusts(parts) {
            return Cow::Borrowed(parts);
        }
        let mut parts = parts.clone();
        parts.headers.remove(COOKIE);
        Cow::Owned(parts)
    }

    /// Returns whether a request is the doing of a page that may use its visitor's cookies, or of
    /// no page.
    pub(crate) fn trusts(&self, parts: &Parts) -> bool {
        let mut origins = parts.headers.get_all(ORIGIN).iter();
        match (origins.next(), origins.next()) {
            (None, _) => !is_cross_origin(&parts.headers),
            (Some(origin), None) => origin.to_str().is_ok_and(|origin| origin != "null" && self.allows(origin, parts)),
            (Some(_), Some(_)) => false,
        }
    }

    fn allows(&self, origin: &str, parts: &Parts) -> bool {
        let origin = normalised(origin);
        (self.same && is_same_host(&origin, &parts.headers, parts))
            || self.listed.iter().any(|listed| matches(listed, &origin))
    }

    /// Returns whether the request is a page's whose origin is `null`, and that is listed.
    fn allows_null(&self, parts: &Parts) -> bool {
        let mut origins = parts.headers.get_all(ORIGIN).iter();
        origins.next().is_some_and(|origin| origin == "null" && self.allows("null", parts)) && origins.next().is_none()
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

/// The names below which a wildcard is no mistake although they have one label: nobody registers
/// domains there (RFC 6761, RFC 6762).
const PRIVATE: [&str; 4] = ["internal", "local", "localhost", "test"];

/// Returns why no page can have this origin (RFC 6454 §6.2): a scheme, a host and perhaps a port,
/// or `null`; or the origin of pages in the web view of a mobile application, which have no host. A
/// wildcard is the first labels of a host.
fn problem(text: &str) -> Option<&'static str> {
    const FORM: Option<&str> = Some("expected scheme://host[:port]");
    if matches!(text, "null" | "file://") {
        return None;
    }
    if matches!(text, "*" | "*://*" | "http://*" | "https://*") {
        return Some("every page is allowed with Origins::any()");
    }
    if !text.is_ascii() {
        return Some("browsers send such a host in punycode: write it as xn--…");
    }
    let Some((scheme, host)) = text.split_once("://") else { return FORM };
    let is_scheme = scheme.starts_with(|first: char| first.is_ascii_alphabetic())
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let is_host = host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@\\".contains(&byte));
    if !is_scheme || host.is_empty() || !is_host {
        return FORM;
    }
    // A colon within brackets is a part of an address.
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (host, None),
    };
    if name.is_empty() || port.is_some_and(|port| !is_port(port)) {
        return Some("the port is not one of 1 to 65535");
    }
    // Without a wildcard there is nothing else to check.
    let (_, domain) = name.split_once('*')?;
    match domain.strip_prefix('.') {
        Some(domain) if name.starts_with("*.") && is_domain(domain) => {
            let is_public = !domain.contains('.') && !PRIVATE.contains(&domain);
            is_public.then_some("a wildcard needs a domain of its own, as in https://*.example.com")
        }
        _ => Some("a wildcard stands for the first labels of a host, as in https://*.example.com"),
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u16>().is_ok_and(|port| port > 0)
}

/// Returns whether this is a domain, or labels of one.
fn is_domain(text: &str) -> bool {
    text.split('.').all(|label| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    })
}

/// Returns whether an origin is the listed one, or one of its subdomains if that has a wildcard.
fn matches(listed: &str, origin: &str) -> bool {
    let Some((scheme, domain)) = listed.split_once("://*") else { return listed == origin };
    let host = origin.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
    // The domain begins with a dot, and a port belongs to it.
    host.and_then(|host| host.strip_suffix(domain)).is_some_and(is_domain)
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
mod tests;
