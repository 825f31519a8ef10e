use std::net::{IpAddr, Ipv6Addr};

/// Returns the address to count a client by: of IPv6 its /64, which is assigned as a whole (RFC
/// 6177).
#[must_use]
pub fn address_key(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Returns the address to count a client by where a limit of each address may not have been set:
/// `None` for a client whose address is not known, and for one of this host under the default. A
/// proxy on this host that is not trusted would have all its clients under one address.
#[must_use]
pub fn counted_address(address: Option<IpAddr>, is_default: bool) -> Option<IpAddr> {
    let address = address?.to_canonical();
    (!is_default || !address.is_loopback()).then(|| address_key(address))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_limit_that_was_set_counts_this_host() {
        let counted = |address: &str, is_default| {
            counted_address(address.parse().ok(), is_default).map(|address| address.to_string())
        };
        for host in ["127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"] {
            assert_eq!(counted(host, true), None, "{host}");
            assert!(counted(host, false).is_some(), "{host}");
        }
        for is_default in [true, false] {
            assert_eq!(counted("::ffff:10.0.0.7", is_default).as_deref(), Some("10.0.0.7"));
            assert_eq!(counted("2001:db8::1:2:3:4", is_default).as_deref(), Some("2001:db8::"));
        }
        assert_eq!(counted_address(None, false), None);
    }
}
