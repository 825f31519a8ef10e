//! The places of a request in which the token is looked for.

use http::request::Parts;
use realtime_core::{Authenticator, ConnectRequest, TokenSource};
use realtime_jwt::{JwtAuthenticator, JwtConfig};
use serde_json::json;

use crate::support::{in_seconds, secret, signed};

fn parts(uri: &str, header: Option<(&str, &str)>) -> Parts {
    let request = http::Request::get(uri);
    let request = header.map(|(name, value)| http::Request::get(uri).header(name, value)).unwrap_or(request);
    request.body(()).unwrap().into_parts().0
}

/// Returns the code of the refusal of a request, or `"ok"`.
async fn asked(config: JwtConfig, parts: &Parts, auth: Option<&str>) -> &'static str {
    let request = ConnectRequest::new("ws", parts).with_auth(auth.map(|token| json!({ "token": token })));
    let authenticator = JwtAuthenticator::new(config).unwrap();
    authenticator.authenticate(&request).await.map_or_else(|refusal| refusal.code(), |_| "ok")
}

#[tokio::test]
async fn token_is_read_from_each_place_that_is_on() {
    let token = signed(&json!({"sub": "ann", "exp": in_seconds(60)}));
    let (plain, bearer) = (parts("/ws", None), format!("Bearer {token}"));
    let offered = format!("bearer, {token}");
    let cookie = format!("a=b; session={token}");
    assert_eq!(asked(secret(), &plain, None).await, "token_missing");
    assert_eq!(asked(secret(), &plain, Some(&token)).await, "ok");
    assert_eq!(asked(secret(), &plain, Some("")).await, "token_missing");
    assert_eq!(asked(secret(), &parts("/ws", Some(("authorization", &bearer))), None).await, "ok");
    assert_eq!(asked(secret(), &parts("/ws", Some(("sec-websocket-protocol", &offered))), None).await, "ok");

    let in_cookie = parts("/ws", Some(("cookie", &cookie)));
    assert_eq!(asked(secret(), &in_cookie, None).await, "token_missing");
    assert_eq!(asked(secret().with_cookie("session"), &in_cookie, None).await, "ok");
    let in_query = parts(&format!("/ws?token={token}"), None);
    assert_eq!(asked(secret(), &in_query, None).await, "token_missing");
    assert_eq!(asked(secret().with_query("token"), &in_query, None).await, "ok");
    let only_cookie = secret().with_sources([TokenSource::Cookie("session".into())]);
    assert_eq!(
        asked(only_cookie, &parts("/ws", Some(("authorization", &bearer))), Some(&token)).await,
        "token_missing"
    );
}
