//! Pages of other origins, and the cookies that their visitors' browsers send along, over each
//! transport.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::SinkExt;
use realtime_unified::{
    ConnectRequest, Identity, NotificationService, Origins, Refusal, SocketIoProvider, SseProvider, WsProvider,
};
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::http::HeaderName;

use crate::support::{UPGRADE, get, start, text_with};

/// The requests that open a connection: one of each transport, and both of Socket.IO's.
const REQUESTS: [(&str, &str, &str); 4] = [
    ("/sse", "", "200"),
    ("/ws", UPGRADE, "101"),
    ("/socket.io/?EIO=4&transport=polling", "", "200"),
    ("/socket.io/?EIO=4&transport=websocket", UPGRADE, "101"),
];

const COOKIE: (&str, &str) = ("cookie", "session=ann");

/// Serves all transports to users whom a cookie names, and counts the questions who they are.
async fn served(origins: Origins) -> (NotificationService, SocketAddr, Arc<AtomicUsize>) {
    let asked = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let by_cookie = move |request: ConnectRequest| {
        counted.fetch_add(1, Ordering::SeqCst);
        let user = request.cookie("session").map(Identity::user);
        std::future::ready(user.ok_or_else(|| Refusal::unauthorized("who is it?")))
    };
    let builder = NotificationService::builder()
        .provider(SseProvider::default())
        .provider(WsProvider::default())
        .provider(SocketIoProvider::default())
        .origins(origins)
        .authenticator(by_cookie);
    let (service, address) = start(builder).await;
    (service, address, asked)
}

fn lines(headers: &[(&str, &str)]) -> String {
    headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

/// Opens a Socket.IO connection with these headers, and returns the answer to its CONNECT.
async fn socket_answer(address: SocketAddr, headers: &[(&'static str, &str)]) -> String {
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket");
    let mut request = url.into_client_request().unwrap();
    for (name, value) in headers {
        request.headers_mut().insert(HeaderName::from_static(name), value.parse().unwrap());
    }
    let mut socket = tokio_tungstenite::connect_async(request).await.unwrap().0;
    text_with(&mut socket, "0{").await;
    socket.send(Message::text("40")).await.unwrap();
    text_with(&mut socket, "4").await
}

#[tokio::test]
async fn cookie_of_a_foreign_page_opens_no_connection() {
    let (service, address, asked) = served(Origins::same_host().and("https://*.app.example")).await;
    let foreign = [
        [("origin", "https://evil.example"), COOKIE],
        [("origin", "https://app.example"), COOKIE],
        [("origin", "null"), COOKIE],
        // Without an origin, but the browser says that it is another site's doing.
        [("sec-fetch-site", "cross-site"), COOKIE],
    ];
    for (path, upgrade, _) in REQUESTS {
        for headers in &foreign {
            let head = get(address, path, &(lines(headers) + upgrade)).await;
            assert!(head.starts_with("HTTP/1.1 403 "), "{path} {headers:?}: {head}");
            assert!(!head.contains("access-control"), "{path} {headers:?}: {head}");
        }
    }
    assert_eq!(asked.load(Ordering::SeqCst), 0, "nobody is asked who a refused client is");
    let refused: u64 = service.stats().values().map(|stats| stats.refused["origin"]).sum();
    assert_eq!(refused, (REQUESTS.len() * foreign.len()) as u64);
}

#[tokio::test]
async fn cookie_of_a_listed_page_opens_a_connection() {
    let (_service, address, _) = served(Origins::same_host().and("https://*.app.example")).await;
    let own = format!("http://{address}");
    for page in ["https://a.app.example", "https://a.b.app.example", &own] {
        let headers = [("origin", page), COOKIE];
        for (path, upgrade, status) in REQUESTS {
            let head = get(address, path, &(lines(&headers) + upgrade)).await.to_ascii_lowercase();
            assert!(head.starts_with(&format!("http/1.1 {status} ")), "{path} {page}: {head}");
            // A websocket needs none: a browser lets each page read it.
            if !path.starts_with("/ws") {
                assert!(head.contains(&format!("access-control-allow-origin: {page}\r\n")), "{path}: {head}");
                assert!(head.contains("access-control-allow-credentials: true\r\n"), "{path}: {head}");
            }
        }
        assert!(socket_answer(address, &headers).await.starts_with("40"), "{page}");
    }
}

#[tokio::test]
async fn page_that_is_not_listed_has_no_cookie() {
    let (_service, address, asked) = served(Origins::any().and("https://app.example")).await;
    for page in [("origin", "https://evil.example"), ("origin", "null"), ("sec-fetch-site", "cross-site")] {
        for (path, upgrade, _) in &REQUESTS[..2] {
            let head = get(address, path, &(lines(&[page, COOKIE]) + upgrade)).await;
            assert!(head.starts_with("HTTP/1.1 401 "), "{path} {page:?}: {head}");
            assert!(!head.contains("access-control-allow-credentials"), "{path} {page:?}: {head}");
        }
        let answer = socket_answer(address, &[page, COOKIE]).await;
        assert!(answer.starts_with("44") && answer.contains("unauthorized"), "{page:?}: {answer}");
    }
    assert_eq!(asked.load(Ordering::SeqCst), 9);
    for page in [("origin", "https://app.example"), ("sec-fetch-site", "same-origin")] {
        assert!(get(address, "/sse", &lines(&[page, COOKIE])).await.starts_with("HTTP/1.1 200 "), "{page:?}");
        assert!(socket_answer(address, &[page, COOKIE]).await.starts_with("40"), "{page:?}");
    }
}
