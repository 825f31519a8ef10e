//! The route by which a client refreshes the credentials of its stream.

use std::time::{Duration, SystemTime};

use realtime_core::{ConnectRequest, Identity, Refusal};
use realtime_http::Origins;
use realtime_sse::SseConfig;
use serde_json::{Value, json};

use crate::support::{Reader, Server, Setup, runtime};

/// Identifies the user that the token names, for an hour, and keeps where the token was found.
async fn by_token(request: ConnectRequest) -> Result<Identity, Refusal> {
    let user = request.token().filter(|token| *token != "bad").ok_or_else(|| Refusal::unauthorized("no token"))?;
    let user = user.split('.').next().unwrap_or_default().to_owned();
    Ok(Identity::user(user).with_expiry(SystemTime::now() + Duration::from_secs(3_600)))
}

async fn start(config: SseConfig) -> Server {
    Setup { sse: config, runtime: runtime().with_authenticator(by_token), ..Setup::default() }.start().await
}

/// Opens a stream by this request, and returns it with the id of its connection.
async fn open(request: reqwest::RequestBuilder) -> (Reader, String) {
    let mut reader = Reader::of(request).await;
    let connected = reader.event().await.json();
    let id = connected["connectionId"].as_str().unwrap().to_owned();
    (reader, id)
}

fn post(server: &Server, path: &str) -> reqwest::RequestBuilder {
    reqwest::Client::builder().no_proxy().build().unwrap().post(server.url(path))
}

/// Returns the status and the body of an answer.
async fn answer(request: reqwest::RequestBuilder) -> (u16, Value) {
    let response = request.send().await.unwrap();
    assert_eq!(response.headers()["cache-control"], "no-store");
    (response.status().as_u16(), serde_json::from_str(&response.text().await.unwrap()).unwrap())
}

#[tokio::test]
async fn token_may_come_by_header_body_or_cookie() {
    let server = start(SseConfig::default()).await;
    let (mut ann, id) = open(server.get("/sse?token=ann.1")).await;
    let body = |token: Value| json!({"connectionId": id, "token": token}).to_string();
    let by_query = format!("/sse/refresh?connectionId={id}");
    for request in [
        post(&server, "/sse/refresh").body(body(json!("ann.2"))),
        post(&server, "/sse/refresh").bearer_auth("ann.3").body(body(Value::Null)),
        post(&server, &by_query).bearer_auth("ann.4"),
        post(&server, &by_query).header("cookie", "a=b; token=ann.5"),
        post(&server, &format!("{by_query}&token=ann.6")),
    ] {
        let (status, answer) = answer(request).await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer["expiresInMs"].as_u64().is_some_and(|left| left > 3_500_000), "{answer}");
    }
    server.send(realtime_core::Target::user("ann"), "n", 1).await;
    ann.expect("n", 1).await;
}

#[tokio::test]
async fn wrong_refreshes_are_answered_with_a_status() {
    let server = start(SseConfig::default()).await;
    let (_ann, id) = open(server.get("/sse?token=ann.1")).await;
    let path = format!("/sse/refresh?connectionId={id}");
    let none = "0".repeat(32);
    for (request, status, code) in [
        (post(&server, &path), 401, "unauthorized"),
        (post(&server, &path).bearer_auth("bad"), 401, "unauthorized"),
        (post(&server, &path).bearer_auth("bob.1"), 403, "identity_changed"),
        (post(&server, &path).bearer_auth("ann.1").body("{"), 400, "bad_request"),
        (post(&server, &path).bearer_auth("ann.1").body("x".repeat(20_000)), 400, "bad_request"),
        (post(&server, "/sse/refresh").bearer_auth("ann.1"), 400, "bad_request"),
        (post(&server, "/sse/refresh?connectionId=x").bearer_auth("ann.1"), 400, "bad_request"),
        (post(&server, &format!("/sse/refresh?connectionId={none}")).bearer_auth("ann.1"), 404, "unknown_connection"),
        (post(&server, &path).bearer_auth("ann.1").header("origin", "http://evil.example"), 403, "origin"),
    ] {
        let found = answer(request).await;
        assert_eq!((found.0, found.1["error"]["code"].as_str().unwrap_or_default()), (status, code), "{found:?}");
    }
    let wrong = server.get("/sse/refresh").send().await.unwrap();
    assert_eq!((wrong.status().as_u16(), &wrong.headers()["allow"]), (405, &"POST, OPTIONS".parse().unwrap()));
}

#[tokio::test]
async fn page_of_another_origin_may_refresh_if_it_may_connect() {
    let server = start(SseConfig::default().with_origins(Origins::same_host().and("http://app.example"))).await;
    let (_ann, id) = open(server.get("/sse?token=ann.1")).await;
    let url = server.url("/sse/refresh");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let preflight = client.request(reqwest::Method::OPTIONS, url).header("origin", "http://app.example");
    let preflight = preflight.header("access-control-request-headers", "authorization").send().await.unwrap();
    assert_eq!(preflight.status().as_u16(), 204);
    assert_eq!(preflight.headers()["access-control-allow-methods"], "POST");
    assert_eq!(preflight.headers()["access-control-allow-headers"], "authorization");
    let path = format!("/sse/refresh?connectionId={id}");
    let response = post(&server, &path).bearer_auth("ann.2").header("origin", "http://app.example").send().await;
    let response = response.unwrap();
    assert_eq!(response.status().as_u16(), 200);
    assert_eq!(response.headers()["access-control-allow-origin"], "http://app.example");
}

#[tokio::test]
async fn cookie_of_a_foreign_page_refreshes_nothing() {
    let server = start(SseConfig::default().with_origins(Origins::any())).await;
    let (_ann, id) = open(server.get("/sse?token=ann.1")).await;
    let path = format!("/sse/refresh?connectionId={id}");
    let from = |origin: String| post(&server, &path).header("origin", origin).header("cookie", "token=ann.2");
    let (status, refused) = answer(from("http://evil.example".to_owned())).await;
    assert_eq!((status, &refused["error"]["code"]), (401, &json!("unauthorized")));
    let own = server.url("");
    assert_eq!(answer(from(own.trim_end_matches('/').to_owned())).await.0, 200);
}

#[tokio::test]
async fn path_that_captures_the_rest_has_no_route_to_refresh() {
    use realtime_http::HttpProvider;

    let server = start(SseConfig::default().with_path("/streams/{*rest}")).await;
    assert_eq!(server.provider.paths(), ["/streams/{*rest}"]);
    let (_stream, _) = open(server.get("/streams/a/b?token=ann.1")).await;
    assert_eq!(post(&server, "/streams/refresh").send().await.unwrap().status().as_u16(), 405);
    let server = start(SseConfig::default().with_path("/{tenant}/sse/")).await;
    assert_eq!(server.provider.paths(), ["/{tenant}/sse/", "/{tenant}/sse/refresh"]);
}
