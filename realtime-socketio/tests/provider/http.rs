//! Requests without a session: origins, paths, methods, versions.

use realtime_http::Origins;
use realtime_socketio::SocketIoConfig;
use reqwest::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::TRANSPORTS;
use crate::support::{Client, Server, Setup, Transport, Wire, in_time};

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

/// Sends a request with these headers, and for a websocket with those of the handshake.
async fn send(server: &Server, method: Method, path: &str, headers: &[(&str, &str)]) -> reqwest::Response {
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let mut request = http.request(method, format!("http://{}{path}", server.address()));
    if path.contains("websocket") {
        request = request
            .header("connection", "upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==");
        if !headers.iter().any(|(name, _)| *name == "sec-websocket-version") {
            request = request.header("sec-websocket-version", "13");
        }
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    in_time("a response", request.send()).await.unwrap()
}

#[tokio::test]
async fn foreign_origin_gets_403_on_both_transports() {
    let server = Server::start().await;
    for path in [POLLING, WEBSOCKET] {
        let response = send(&server, Method::GET, path, &[("origin", "https://evil.example")]).await;
        assert_eq!(response.status(), 403);
        assert!(response.headers().get("access-control-allow-origin").is_none());
        assert_eq!(response.json::<serde_json::Value>().await.unwrap()["error"]["code"], "origin");
    }
    let preflight = send(&server, Method::OPTIONS, POLLING, &[("origin", "https://evil.example")]).await;
    assert_eq!(preflight.status(), 403);
    assert_eq!(server.stats().refused.get("origin"), Some(&3));
    // A request for an image of a page has no `origin` header.
    assert_eq!(send(&server, Method::GET, POLLING, &[("sec-fetch-site", "cross-site")]).await.status(), 403);
    assert_eq!(send(&server, Method::GET, POLLING, &[("sec-fetch-site", "same-origin")]).await.status(), 200);
    let own = format!("http://{}", server.address());
    assert_eq!(send(&server, Method::GET, POLLING, &[("origin", &own)]).await.status(), 200);
    assert_eq!(send(&server, Method::GET, WEBSOCKET, &[("origin", &own)]).await.status(), 101);
    // A proxy may add the default port of the scheme.
    for (path, status) in [(POLLING, 200), (WEBSOCKET, 101)] {
        let page = [("host", "app.example:443"), ("origin", "https://app.example")];
        assert_eq!(send(&server, Method::GET, path, &page).await.status(), status);
        let other = [("host", "app.example:443"), ("origin", "http://app.example")];
        assert_eq!(send(&server, Method::GET, path, &other).await.status(), 403);
    }
}

#[tokio::test]
async fn preflight_of_allowed_origin_allows_requested_headers() {
    let origins = Origins::same_host().and("https://app.example");
    let server = Setup::from(SocketIoConfig::default().with_origins(origins)).start().await;
    // Headers that tracing and an application's `extraHeaders` add to each request.
    let names = ("access-control-request-headers", "content-type, sentry-trace, traceparent, x-csrf-token");
    let preflight = |origin: &'static str| [("origin", origin), ("access-control-request-method", "POST"), names];
    let response = send(&server, Method::OPTIONS, POLLING, &preflight("https://app.example")).await;
    assert_eq!(
        (response.status().as_u16(), &response.headers()["access-control-allow-headers"]),
        (204, &names.1.parse().unwrap())
    );
    assert_eq!(response.headers()["access-control-max-age"], "600");
    let foreign = send(&server, Method::OPTIONS, POLLING, &preflight("https://evil.example")).await;
    assert!(!foreign.headers().contains_key("access-control-allow-headers"));
}

#[tokio::test]
async fn responses_are_marked_as_not_transformable() {
    let server = Server::start().await;
    for path in [POLLING, "/socket.io/?EIO=4&transport=polling&sid=unknown"] {
        let response = send(&server, Method::GET, path, &[]).await;
        assert_eq!(response.headers()["cache-control"], "no-cache, no-transform", "{path}");
    }
}

#[tokio::test]
async fn handshake_with_headers_rewritten_by_proxy_is_accepted() {
    let server = Server::start().await;
    for (connection, upgrade) in [
        ("Connection: keep-alive\r\nConnection: Upgrade", "Upgrade: websocket"),
        ("Connection: keep-alive,\tUpgrade", "Upgrade: websocket"),
        ("Connection: Upgrade\t", "Upgrade: h2c, websocket"),
        ("Connection: upgrade,keep-alive", "Upgrade: h2c\r\nUpgrade:\tWebSocket"),
    ] {
        let mut client = tokio::net::TcpStream::connect(server.address()).await.unwrap();
        let request = format!(
            "GET {WEBSOCKET} HTTP/1.1\r\nHost: x\r\n{connection}\r\n{upgrade}\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        client.write_all(request.as_bytes()).await.unwrap();
        let mut read = Vec::new();
        // The open packet arrives on the websocket.
        while !read.windows(7).any(|text| text == b"\"sid\":\"") {
            let count = in_time("a response", client.read_buf(&mut read)).await.unwrap();
            assert_ne!(count, 0, "{connection} {upgrade}: {}", String::from_utf8_lossy(&read));
            assert!(read.starts_with(&b"HTTP/1.1 101 "[..read.len().min(13)]), "{}", String::from_utf8_lossy(&read));
        }
    }
}

#[tokio::test]
async fn allowed_origin_gets_cors_headers() {
    let origins = Origins::same_host().and("https://app.example");
    let server = Setup::from(SocketIoConfig::default().with_origins(origins)).start().await;
    let origin = ("origin", "https://app.example");
    let preflight = [origin, ("access-control-request-method", "POST")];
    for (response, vary) in [
        (send(&server, Method::OPTIONS, POLLING, &preflight).await, "origin, access-control-request-headers"),
        (send(&server, Method::GET, POLLING, &[origin]).await, "origin"),
        (send(&server, Method::GET, WEBSOCKET, &[origin]).await, "origin"),
    ] {
        assert!(response.status().is_success() || response.status() == 101, "{response:?}");
        let headers = response.headers();
        assert_eq!(headers["access-control-allow-origin"], "https://app.example");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert_eq!(headers["access-control-allow-methods"], "GET, POST");
        assert_eq!(headers["vary"], vary);
    }
}

#[tokio::test]
async fn path_matches_with_and_without_trailing_slash() {
    let server = Server::start().await;
    for path in ["/socket.io", "/socket.io/"] {
        for transport in TRANSPORTS {
            let mut client = Client::open_with(server.address(), transport, path, "", None).await.unwrap();
            client.connect("/", &json!({})).await.expect("accepted");
        }
    }
    for path in ["/", "/socket.io/x", "/socket.iox"] {
        assert_eq!(send(&server, Method::GET, &format!("{path}?EIO=4&transport=polling"), &[]).await.status(), 404);
    }
}

#[tokio::test]
async fn path_is_configurable() {
    for (path, reached) in [("/live/", "/live"), ("/live", "/live/"), ("/", "/")] {
        let server = Setup::from(SocketIoConfig::default().with_path(path)).start().await;
        for transport in TRANSPORTS {
            let mut client = Client::open_with(server.address(), transport, reached, "", None).await.unwrap();
            client.enter(&json!({})).await;
            if transport == Transport::Polling {
                client.upgrade().await;
            }
        }
        assert_eq!(send(&server, Method::GET, POLLING, &[]).await.status(), 404);
    }
}

#[tokio::test]
async fn wrong_websocket_version_gets_400_with_version_13() {
    let server = Server::start().await;
    for version in ["12", "x", ""] {
        let response = send(&server, Method::GET, WEBSOCKET, &[("sec-websocket-version", version)]).await;
        assert_eq!(response.status(), 400);
        assert_eq!(response.headers()["sec-websocket-version"], "13");
    }
}

#[tokio::test]
async fn invalid_requests_get_400() {
    let server = Server::start().await;
    let unknown = "AAAAAAAAAAAAAAAA";
    for (method, path) in [
        (Method::GET, "/socket.io/".to_owned()),
        (Method::GET, "/socket.io/?EIO=3&transport=polling".to_owned()),
        (Method::GET, "/socket.io/?EIO=4&transport=carrier-pigeon".to_owned()),
        (Method::POST, POLLING.to_owned()),
        (Method::PUT, POLLING.to_owned()),
        (Method::GET, format!("{POLLING}&sid={unknown}")),
        (Method::POST, format!("{POLLING}&sid={unknown}")),
        (Method::GET, format!("{POLLING}&sid=%00")),
        (Method::GET, format!("{WEBSOCKET}&sid={unknown}")),
        (Method::GET, format!("{WEBSOCKET}&sid=")),
    ] {
        let response = send(&server, method.clone(), &path, &[]).await;
        assert_eq!(response.status(), 400, "{method} {path}");
        let body = response.json::<serde_json::Value>().await.unwrap();
        // Engine.IO's own errors have another form.
        let error = body.get("error").unwrap_or(&body);
        assert!(!error["code"].is_null() && error["message"].is_string(), "{method} {path}: {body}");
    }
    let open = server.open(Transport::Polling).await.open;
    let session = format!("{POLLING}&sid={}", open["sid"].as_str().unwrap());
    let response = send(&server, Method::PUT, &session, &[]).await;
    assert_eq!(response.status(), 400);
    assert_eq!(response.json::<serde_json::Value>().await.unwrap()["error"]["code"], "bad_request");
    let large = format!("4{}", "x".repeat(2 * 1024 * 1024));
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = http.post(format!("http://{}{session}", server.address())).body(large).send().await.unwrap();
    assert_eq!(response.status(), 413);
    assert_eq!(response.json::<serde_json::Value>().await.unwrap()["error"]["code"], "too_large");
    // A GET without the headers of a handshake.
    let response = http.get(format!("http://{}{WEBSOCKET}", server.address())).send().await.unwrap();
    assert_eq!(response.status(), 400);
    assert_eq!(response.json::<serde_json::Value>().await.unwrap()["error"]["code"], "bad_request");
}

/// One TCP connection carries the waiting GET and the POSTs.
#[tokio::test]
async fn polling_works_over_http_2() {
    let server = Server::start().await;
    let mut client = server.open(Transport::Polling).await;
    let Wire::Polling(polling) = &mut client.wire else { unreachable!() };
    polling.http = reqwest::Client::builder().no_proxy().http2_prior_knowledge().build().unwrap();
    let (http, url) = (polling.http.clone(), polling.url.clone());
    client.enter(&json!({"user": "ann"})).await;
    let (response, ()) = tokio::join!(client.event("error"), async {
        let response = in_time("a response", http.post(url).body("42[\"unheard of\"]").send()).await.unwrap();
        assert_eq!((response.status(), response.version()), (reqwest::StatusCode::OK, reqwest::Version::HTTP_2));
    });
    assert_eq!(response["code"], "unknown_event");
}

#[tokio::test]
async fn open_packet_contains_times_and_limit() {
    let config = SocketIoConfig::default()
        .with_max_message_bytes(12_345_usize)
        .with_ping_interval(std::time::Duration::from_secs(7))
        .with_ping_timeout(std::time::Duration::from_secs(8));
    let server = Setup::from(config).start().await;
    for (transport, upgrades) in TRANSPORTS.into_iter().zip([json!(["websocket"]), json!([])]) {
        let open = server.open(transport).await.open;
        assert_eq!((&open["pingInterval"], &open["pingTimeout"]), (&json!(7000), &json!(8000)));
        assert_eq!(open["upgrades"], upgrades);
        assert_eq!(open["maxPayload"], 12_345);
    }
}
