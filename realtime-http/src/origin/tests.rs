use http::HeaderValue;

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
    for origin in ["http://b.example", "http://a.example", "null", "", "a.example:8080", "http://a.example:8080.evil"] {
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
    for wrong in ["app.example", "https://", "https://app.example/path", "https://a.example:x", "", "://a", "ht tp://a"]
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
fn wildcard_allows_subdomains_and_nothing_else() {
    let origins = Origins::only(["https://*.Example.com", "http://*.dev.test:8080", "https://*.localhost"]);
    origins.verify().unwrap();
    let allows = |origin: &str| origins.check(&parts("api.other", Some(origin))).is_ok();
    for subdomain in [
        "https://a.example.com",
        "https://A.B.Example.com",
        "https://xn--bcher-kva.example.com",
        "https://a_b.example.com:443",
        "http://a.dev.test:8080",
        "https://a.localhost",
    ] {
        assert!(allows(subdomain), "{subdomain}");
    }
    for other in [
        "https://example.com",
        "https://.example.com",
        "https://a..example.com",
        "https://evilexample.com",
        "https://example.com.evil",
        "https://a.example.com.evil",
        "https://evil/.example.com",
        "https://evil@a.example.com",
        "https://evil:1.example.com",
        "https://*.example.com",
        "https://b\u{fc}cher.example.com",
        "http://a.example.com",
        "https://a.example.com:8443",
        "http://a.dev.test",
        "xhttps://a.example.com",
        "null",
        "",
    ] {
        assert!(!allows(other), "{other}");
    }
}

#[test]
fn origins_that_no_page_has_are_named_with_the_reason() {
    for (wrong, reason) in [
        ("*", "Origins::any()"),
        ("https://*", "Origins::any()"),
        ("app.example", "scheme://host[:port]"),
        ("https://app.example/path", "scheme://host[:port]"),
        ("https://user@app.example", "scheme://host[:port]"),
        ("https://b\u{fc}cher.example", "punycode"),
        ("https://app.example:", "port"),
        ("https://app.example:0", "port"),
        ("https://app.example:65536", "port"),
        ("https://app.example:+1", "port"),
        ("https://*.com", "a domain of its own"),
        ("https://a.*.example.com", "first labels"),
        ("https://*a.example.com", "first labels"),
        ("https://**.example.com", "first labels"),
        ("https://*.*.example.com", "first labels"),
        ("https://*.", "first labels"),
    ] {
        let error = Origins::only([wrong]).verify().unwrap_err().to_string();
        assert!(error.contains("origins: ") && error.contains(reason), "{wrong}: {error}");
    }
}

#[test]
fn no_page_may_connect_with_none() {
    let origins = Origins::none();
    for page in ["https://a.example", "http://a.example:8080", "null"] {
        assert!(origins.check(&parts("a.example:8080", Some(page))).is_err(), "{page}");
    }
    assert!(origins.check(&parts("a.example", None)).is_ok(), "a program");
    assert!(origins.to_string() == "none" && origins.verify().is_ok());
}

#[test]
fn several_or_unreadable_origins_are_rejected() {
    let mut two = parts("a.example", Some("https://a.example"));
    two.headers.append(ORIGIN, HeaderValue::from_static("https://a.example"));
    assert!(Origins::default().check(&two).is_err());
    for (origin, listed) in [("null", true), ("https://a.example https://b.example", false)] {
        let asked = parts("api.example", Some(origin));
        assert_eq!(Origins::only(["null", "https://a.example"]).check(&asked).is_ok(), listed, "{origin}");
    }
    two.headers.insert(ORIGIN, HeaderValue::from_bytes(b"https://\xff.example").unwrap());
    assert!(Origins::default().check(&two).is_err());
}
