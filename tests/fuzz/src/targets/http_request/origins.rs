use http::header::{ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use realtime_http::Origins;

const LISTED: [&str; 2] = ["https://app.example", "http://dev.example:5173"];

/// Checks that no page is accepted that is not allowed, and each one that is.
pub(super) fn check(parts: &Parts) {
    let same = Origins::same_host();
    let all = [
        (Origins::only(LISTED), false, true),
        (same.clone(), true, false),
        (LISTED.iter().fold(same, |origins, page| origins.and(*page)), true, true),
    ];
    for (origins, same, listed) in all {
        let accepted = origins.check(parts).is_ok();
        let headers = answer(&origins, parts);
        let mut pages = parts.headers.get_all(ORIGIN).iter();
        let page = pages.next().and_then(|page| page.to_str().ok());
        assert_eq!(headers.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN), accepted && page.is_some());
        let Some(page) = page else { continue };
        let is_listed = LISTED.iter().any(|listed| place(page).is_some() && place(listed) == place(page));
        let is_same = host(parts).is_some_and(|host| is_of(page, host));
        assert!(!accepted || (listed && is_listed) || (same && is_same), "{page} is accepted by {origins}");
        assert!(
            accepted || !listed || !LISTED.contains(&page) || pages.next().is_some(),
            "{page} is refused by {origins}"
        );
    }
    // Any page may connect, and only one of the same host with its visitor's cookies.
    let page = parts.headers.get(ORIGIN).and_then(|page| page.to_str().ok());
    let is_same = page.zip(host(parts)).is_some_and(|(page, host)| is_of(page, host));
    assert!(Origins::any().check(parts).is_ok());
    assert!(!answer(&Origins::any(), parts).contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS) || is_same);
}

fn answer(origins: &Origins, parts: &Parts) -> HeaderMap {
    let mut headers = HeaderMap::new();
    origins.allow(parts, &mut headers);
    let get = |name: HeaderName| headers.get(name);
    assert!(get(ACCESS_CONTROL_ALLOW_ORIGIN).is_none_or(|page| Some(page) == parts.headers.get(ORIGIN)));
    headers
}

fn host(parts: &Parts) -> Option<&str> {
    parts.headers.get(HOST)?.to_str().ok()
}

/// Returns scheme, host and port of a page.
fn place(page: &str) -> Option<(String, String, u16)> {
    let (scheme, host) = page.split_once("://")?;
    let scheme = scheme.to_ascii_lowercase();
    let (host, port) = split_port(host, default_port(&scheme)?)?;
    Some((scheme, host, port))
}

/// Returns whether a page is of this host, as a request names it.
fn is_of(page: &str, named: &str) -> bool {
    let Some((scheme, rest)) = page.split_once("://") else { return false };
    // A page whose scheme has no default port is compared as it is written.
    match default_port(&scheme.to_ascii_lowercase()) {
        Some(port) => split_port(rest, port) == split_port(named, port),
        None => rest.eq_ignore_ascii_case(named),
    }
}

fn default_port(scheme: &str) -> Option<u16> {
    match scheme {
        "http" | "ws" => Some(80),
        "https" | "wss" => Some(443),
        _ => None,
    }
}

fn split_port(host: &str, default: u16) -> Option<(String, u16)> {
    let host = host.to_ascii_lowercase();
    match host.rsplit_once(':') {
        Some((name, port)) if !port.ends_with(']') => port.parse().ok().map(|port| (name.to_owned(), port)),
        _ => Some((host, default)),
    }
}
