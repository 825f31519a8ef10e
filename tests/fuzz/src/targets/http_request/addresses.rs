use std::net::{IpAddr, SocketAddr};

use axum::extract::ConnectInfo;
use http::header::{FORWARDED, HeaderName, HeaderValue};
use http::request::Parts;
use realtime_http::TrustedProxies;

const CLIENT: &str = "192.0.2.7";

/// Checks that a client cannot choose its address, whatever it sends: a trusted proxy appends the
/// address of its peer.
pub(super) fn check(parts: &Parts) {
    let proxies = TrustedProxies::new(["10.0.0.0/8", "2001:db8::7"]).unwrap();
    let all = [
        (proxies.clone(), HeaderName::from_static("x-forwarded-for"), CLIENT.to_owned()),
        (proxies.clone().with_forwarded(), FORWARDED, format!("for={CLIENT}")),
        (proxies.with_forwarded(), FORWARDED, format!("for=\"{CLIENT}:80\";proto=https")),
    ];
    let client: IpAddr = CLIENT.parse().unwrap();
    for (proxies, header, element) in all {
        let direct = from(parts, "198.51.100.1");
        assert_eq!(proxies.client(&direct), Some("198.51.100.1".parse().unwrap()), "a client names its address");
        let behind = from(parts, "10.0.0.1");
        assert!(proxies.client(&behind).is_none_or(|address| !proxies.contains(address)));

        let mut line = behind.clone();
        line.headers.append(header.clone(), HeaderValue::from_str(&element).unwrap());
        assert_eq!(proxies.client(&line), Some(client), "a line is put before {element}");

        let mut appended = behind;
        let mut lines: Vec<_> = appended.headers.get_all(&header).iter().map(|line| line.as_bytes().to_vec()).collect();
        let last = lines.last_mut();
        last.map(|last| last.extend(format!(", {element}").bytes())).unwrap_or_default();
        if lines.is_empty() {
            continue;
        }
        appended.headers.remove(&header);
        for line in lines {
            appended.headers.append(header.clone(), HeaderValue::from_bytes(&line).unwrap());
        }
        assert_eq!(proxies.client(&appended), Some(client), "something is put before {element}");
    }
}

fn from(parts: &Parts, peer: &str) -> Parts {
    let mut parts = parts.clone();
    parts.extensions.insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
    parts
}
