use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::ConnectInfo;
use http::header::{FORWARDED, HeaderName};
use http::request::Parts;
use realtime_core::Error;

use crate::listener::WireInfo;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The reverse proxies that may report a client's address; none by default.
///
/// A proxy appends the address of its peer, so the header is read from the right: proxies of this
/// list are skipped, and the first other address is the client's. Addresses further left come from
/// the client and are ignored. Each proxy of the list must set the header, or its clients could
/// write one themselves.
///
/// ```
/// use realtime_http::TrustedProxies;
///
/// let proxies = TrustedProxies::new(["10.0.0.0/8", "2001:db8::7"])?;
/// assert!(proxies.contains("10.1.2.3".parse().unwrap()));
/// # Ok::<(), realtime_core::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    networks: Vec<Network>,
    header: Header,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Header {
    Forwarded,
    #[default]
    XForwardedFor,
}

/// Addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u32,
}

impl TrustedProxies {
    /// Trusts no proxy: a client's address is the socket's peer.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Trusts these addresses (`10.0.0.7`, `2001:db8::7`) and networks (`10.0.0.0/8`), which report
    /// the client in `X-Forwarded-For`.
    ///
    /// # Errors
    /// [`Error::Config`] when an entry is neither.
    pub fn new<I: IntoIterator<Item = S>, S: AsRef<str>>(entries: I) -> realtime_core::Result<Self> {
        let networks = entries.into_iter().map(|entry| {
            let entry = entry.as_ref();
            entry.parse().map_err(|()| Error::Config(format!("trusted_proxies: not an address or network: {entry:?}")))
        });
        Ok(Self { networks: networks.collect::<Result<_, _>>()?, header: Header::default() })
    }

    /// Reads the client from `Forwarded` (RFC 7239) instead of `X-Forwarded-For`.
    #[must_use]
    pub fn with_forwarded(mut self) -> Self {
        self.header = Header::Forwarded;
        self
    }

    /// Returns whether this is the address of a trusted proxy.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|network| network.contains(address))
    }

    /// Returns the address of the client that sent a request: the socket's peer, or the address
    /// that trusted proxies report.
    ///
    /// `None` when the address is unknown: the server gave the request no `ConnectInfo` of
    /// [`WireInfo`] or [`SocketAddr`], or a trusted proxy reports no other address.
    pub fn client(&self, request: &Parts) -> Option<IpAddr> {
        let peer = peer_of(request)?.ip().to_canonical();
        if !self.contains(peer) {
            return Some(peer);
        }
        let name = match self.header {
            Header::Forwarded => FORWARDED,
            Header::XForwardedFor => X_FORWARDED_FOR,
        };
        let lines: Vec<_> = request.headers.get_all(name).iter().collect();
        let hops = lines.into_iter().rev().flat_map(|line| match self.header {
            Header::Forwarded => elements_from_the_right(line.as_bytes()),
            Header::XForwardedFor => line.as_bytes().rsplit(|byte| *byte == b',').collect(),
        });
        for hop in hops {
            // An unreadable entry ends the search: entries further left come from an unknown
            // source.
            let address = self.read(hop)?;
            if !self.contains(address) {
                return Some(address);
            }
        }
        None
    }

    fn read(&self, hop: &[u8]) -> Option<IpAddr> {
        let hop = std::str::from_utf8(hop).ok()?.trim();
        let node = match self.header {
            Header::XForwardedFor => hop,
            Header::Forwarded => hop.split(';').find_map(|pair| {
                let (name, value) = pair.trim().split_once('=')?;
                name.eq_ignore_ascii_case("for").then_some(value)
            })?,
        };
        address(node.trim_matches('"')).map(|address| address.to_canonical())
    }
}

/// Returns the elements of a `Forwarded` header from the right, where those of trusted proxies are:
/// a comma within quotes ends no element (RFC 7239 §4), and a quote that a client has left open on
/// the left does not change them.
fn elements_from_the_right(line: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    let (mut quoted, mut end) = (false, line.len());
    for at in (0..line.len()).rev() {
        match line[at] {
            b'"' if line[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 0 => quoted = !quoted,
            b',' if !quoted => {
                elements.push(&line[at + 1..end]);
                end = at;
            }
            _ => {}
        }
    }
    elements.push(&line[..end]);
    elements
}

/// Returns the peer address of a request's connection, if the server provides it.
pub fn peer_of(request: &Parts) -> Option<SocketAddr> {
    let wire = request.extensions.get::<ConnectInfo<WireInfo>>().map(|info| info.0.peer());
    wire.or_else(|| request.extensions.get::<ConnectInfo<SocketAddr>>().map(|info| info.0))
}

/// Warns, once in a process, when a request did not come through
/// [`GuardedListener`](crate::GuardedListener): then the connection is without the guards of
/// [`serve`](crate::serve()).
pub fn notice_foreign_server(request: &Parts) {
    static NOTICED: AtomicBool = AtomicBool::new(false);
    if request.extensions.get::<ConnectInfo<WireInfo>>().is_none() && !NOTICED.swap(true, Ordering::Relaxed) {
        tracing::warn!(
            "served without realtime_http::serve: stalled readers and dead event streams are found late, and header \
             timeouts are not enforced; use serve(), or for all but the timeouts GuardedListener with \
             into_make_service_with_connect_info::<WireInfo>()"
        );
    }
}

/// Parses an address, with or without a port; an IPv6 address with a port is in brackets.
fn address(node: &str) -> Option<IpAddr> {
    if let Ok(address) = node.parse() {
        return Some(address);
    }
    match node.parse::<SocketAddr>() {
        Ok(address) => Some(address.ip()),
        Err(_) => node.strip_prefix('[')?.strip_suffix(']')?.parse().ok(),
    }
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(own), IpAddr::V4(other)) => {
                let mask = u32::MAX.checked_shl(u32::BITS - self.bits).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            (IpAddr::V6(own), IpAddr::V6(other)) => {
                let mask = u128::MAX.checked_shl(u128::BITS - self.bits).unwrap_or(0);
                (own.to_bits() ^ other.to_bits()) & mask == 0
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (address, bits) = match text.trim().split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse().map_err(|_| ())?)),
            None => (text.trim(), None),
        };
        let address: IpAddr = address.parse().map_err(|_| ())?;
        let all = if address.is_ipv4() { u32::BITS } else { u128::BITS };
        let bits = bits.unwrap_or(all);
        if bits > all {
            return Err(());
        }
        // `::ffff:10.0.0.0/104` contains mapped addresses, which are compared as IPv4.
        Ok(match (address, address.to_canonical()) {
            (IpAddr::V6(_), IpAddr::V4(mapped)) if bits >= 96 => Self { address: mapped.into(), bits: bits - 96 },
            _ => Self { address, bits },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(peer: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = http::Request::new(());
        request.extensions_mut().insert(ConnectInfo(SocketAddr::new(peer.parse().unwrap(), 1)));
        for (name, value) in headers {
            request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        request.into_parts().0
    }

    fn is(address: &str) -> Option<IpAddr> {
        Some(address.parse().unwrap())
    }

    #[test]
    fn networks_contain_addresses_with_the_same_prefix() {
        let proxies =
            TrustedProxies::new(["10.0.0.0/8", "192.168.1.7", "2001:db8::/32", "::ffff:172.16.0.0/108"]).unwrap();
        for inside in ["10.255.0.1", "192.168.1.7", "2001:db8:1::1", "::ffff:10.1.1.1", "172.31.0.1"] {
            assert!(proxies.contains(inside.parse().unwrap()), "{inside}");
        }
        for outside in ["11.0.0.1", "192.168.1.8", "2001:db9::1", "::1", "172.32.0.1"] {
            assert!(!proxies.contains(outside.parse().unwrap()), "{outside}");
        }
        assert!(TrustedProxies::new(["0.0.0.0/0"]).unwrap().contains("9.9.9.9".parse().unwrap()));
        assert!(!TrustedProxies::none().contains("127.0.0.1".parse().unwrap()));
    }

    #[test]
    fn invalid_networks_are_rejected() {
        for entry in ["", "proxy", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/", "::1/129", "10.0.0"] {
            assert!(matches!(TrustedProxies::new([entry]), Err(Error::Config(_))), "{entry}");
        }
    }

    #[test]
    fn forwarded_address_is_read_from_the_right() {
        let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap();
        let of = |peer, headers: &[(&str, &str)]| proxies.client(&request(peer, headers));
        let forwarded = "x-forwarded-for";
        assert_eq!(of("9.9.9.9", &[(forwarded, "1.1.1.1")]), is("9.9.9.9"), "this peer is not trusted");
        assert_eq!(
            of("10.0.0.1", &[(forwarded, "6.6.6.6, 1.1.1.1")]),
            is("1.1.1.1"),
            "the left one comes from the client"
        );
        assert_eq!(of("10.0.0.1", &[(forwarded, "6.6.6.6,1.1.1.1, 10.2.2.2,10.3.3.3 ")]), is("1.1.1.1"));
        assert_eq!(
            of("10.0.0.1", &[(forwarded, "6.6.6.6"), (forwarded, "1.1.1.1"), (forwarded, "10.2.2.2")]),
            is("1.1.1.1")
        );
        assert_eq!(of("10.0.0.1", &[(forwarded, "1.1.1.1:443")]), is("1.1.1.1"));
        assert_eq!(of("10.0.0.1", &[(forwarded, "[2001:db8::1]:443")]), is("2001:db8::1"));
        assert_eq!(of("10.0.0.1", &[(forwarded, "::ffff:1.1.1.1")]), is("1.1.1.1"));
        for unknown in [&[][..], &[(forwarded, "10.2.2.2")], &[(forwarded, "1.1.1.1, unknown")], &[(forwarded, "")]] {
            assert_eq!(of("10.0.0.1", unknown), None, "{unknown:?}");
        }
        assert_eq!(of("10.0.0.1", &[("forwarded", "for=1.1.1.1")]), None, "the client could have written it");
    }

    #[test]
    fn forwarded_header_is_read_when_configured() {
        let proxies = TrustedProxies::new(["10.0.0.0/8"]).unwrap().with_forwarded();
        let of = |headers: &[(&str, &str)]| proxies.client(&request("10.0.0.1", headers));
        let header = "for=6.6.6.6, by=10.0.0.2; For=\"[2001:db8::1]:4711\";proto=https, for=10.2.2.2";
        assert_eq!(of(&[("forwarded", header)]), is("2001:db8::1"));
        assert_eq!(of(&[("forwarded", "for=1.1.1.1;host=x")]), is("1.1.1.1"));
        for forged in [
            r#"for=1.1.1.1;host="a,for=9.9.9.9""#,
            r#"for=1.1.1.1;host="a\",for=9.9.9.9""#,
            r#"for=9.9.9.9;host=", for=1.1.1.1"#,
            r#"for="9.9.9.9\, for=1.1.1.1"#,
        ] {
            assert_eq!(of(&[("forwarded", forged)]), is("1.1.1.1"), "{forged}");
        }
        for unknown in ["for=_hidden", "proto=https", "for=1.1.1.1, for=unknown"] {
            assert_eq!(of(&[("forwarded", unknown)]), None, "{unknown}");
        }
        assert_eq!(of(&[("x-forwarded-for", "1.1.1.1")]), None);
    }

    #[test]
    fn client_is_unknown_without_connect_info() {
        assert_eq!(TrustedProxies::none().client(&http::Request::new(()).into_parts().0), None);
    }
}
