//! The subprotocols of the opening handshake, one of which carries a token.

use realtime_ws::{WsConfig, WsProvider};

use crate::support::{Server, handshake_of};

/// Returns the status and the subprotocol of the answer to a handshake with these lines of offers.
async fn offered(server: &Server, path: &str, lines: &[&str]) -> (u16, Option<String>) {
    let lines: String = lines.iter().map(|line| format!("\r\nSec-WebSocket-Protocol: {line}")).collect();
    let request = handshake_of(path).replace("\r\n\r\n", &format!("{lines}\r\n\r\n"));
    let (_, head) = server.request(&request).await;
    let answer = head.lines().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("sec-websocket-protocol").then(|| value.to_owned())
    });
    (head.split(' ').nth(1).unwrap().parse().unwrap(), answer)
}

async fn server() -> Server {
    Server::start(WsProvider::new(WsConfig::default().with_subprotocols(["v1", "v2"]))).await
}

#[tokio::test]
async fn first_offered_subprotocol_that_is_configured_is_selected() {
    let server = server().await;
    for (lines, answer) in
        [(&["v0, v2, v1"][..], Some("v2")), (&["v0", "v1"], Some("v1")), (&["v0"], None), (&["V1"], None), (&[], None)]
    {
        let (status, answered) = offered(&server, "/ws?user=a", lines).await;
        assert_eq!((status, answered.as_deref()), (101, answer), "{lines:?}");
    }
}

#[tokio::test]
async fn token_after_bearer_is_the_clients_token() {
    let server = server().await;
    let cases = [
        (&["bearer, good"][..], 101, Some("bearer")),
        (&["Bearer,good"], 101, Some("Bearer")),
        (&["bearer", "good"], 101, Some("bearer")),
        (&["bearer, good, v2"], 101, Some("v2")),
        (&["v0, bearer, good"], 101, Some("bearer")),
        (&["bearer, wrong"], 401, None),
        (&["bearer, v1"], 401, None),
    ];
    for (lines, status, answer) in cases {
        let answered = offered(&server, "/ws?user=a", lines).await;
        assert_eq!((answered.0, answered.1.as_deref()), (status, answer), "{lines:?}");
    }
    // The header is before the URL.
    assert_eq!(offered(&server, "/ws?user=a&token=wrong", &["bearer, good"]).await.0, 101);
    assert_eq!(offered(&server, "/ws?user=a&token=good", &["bearer, wrong"]).await.0, 401);
}

#[tokio::test]
async fn malformed_offers_are_refused() {
    let server = server().await;
    let many = "a, ".repeat(40);
    for lines in [
        &["bearer"][..],
        &["bearer,"],
        &["v1, bearer"],
        &["bearer, a, bearer, b"],
        &["bearer good"],
        &["bearer, \"good\""],
        &["bearer, g=d"],
        &["v1;x"],
        &["v1, \u{fc}"],
        &[&many],
    ] {
        assert_eq!(offered(&server, "/ws?user=a", lines).await, (400, None), "{lines:?}");
    }
    assert_eq!(server.stats().refused["bad_request"], 10);
}

#[tokio::test]
async fn number_of_offers_is_a_setting() {
    for (most, offers, status) in [(2, 2, 101), (2, 3, 400), (50, 50, 101), (50, 51, 400)] {
        let server = Server::start(WsProvider::new(WsConfig::default().with_max_subprotocols(most))).await;
        let line = vec!["a"; offers].join(", ");
        assert_eq!(offered(&server, "/ws?user=a", &[&line]).await.0, status, "{offers} of {most}");
    }
}
