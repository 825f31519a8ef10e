//! JSON Web Tokens over each transport.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use realtime_testkit::in_time;
use realtime_unified::auth::{JwtAlgorithm, JwtAuthenticator, JwtClaims, JwtConfig, JwtKey, TokenSource};
use realtime_unified::prelude::*;
use realtime_unified::{Event, NotificationServiceBuilder, TicketConfig};
use serde_json::{Value, json};
use sha2::Sha256;

use crate::support::{
    Collector, UPGRADE, answer, get, lines, socket, sse_client, start, text_with, websocket, ws_client,
};

const SECRET: &str = "a secret of the tests, of 32 bytes or more";

/// Signs claims, with an expiry in a minute unless they have another.
fn token(claims: Value) -> String {
    let exp = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() + Duration::from_secs(60);
    let mut all = json!({"sub": "ann", "exp": exp.as_secs()});
    all.as_object_mut().unwrap().extend(claims.as_object().unwrap().clone());
    let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(json!({"alg": "HS256"})), part(all));
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn config() -> JwtConfig {
    let key = JwtKey::from_secret(JwtAlgorithm::Hs256, SECRET).unwrap();
    JwtConfig::default().with_key(key).with_rooms_claim("rooms").with_tenant_claim("org").with_query("token")
}

fn builder(config: JwtConfig) -> NotificationServiceBuilder {
    NotificationService::builder()
        .provider(SseProvider::default())
        .provider(WsProvider::default())
        .provider(SocketIoProvider::default())
        .authenticator(JwtAuthenticator::new(config).unwrap())
        .on("role", async |cx: Context, _: Value| {
            Reply(cx.identity().claims::<JwtClaims>().and_then(|claims| claims.get::<String>("role")))
        })
}

#[tokio::test]
async fn claims_of_a_token_hold_on_each_transport() {
    let (service, address) = start(builder(config())).await;
    let token = token(json!({"org": "acme", "rooms": ["lobby", "news"], "role": "editor"}));
    let mut sse = sse_client(address, &format!("/sse?token={token}")).await;
    // A room of the token needs no policy, also when the client names it.
    let mut ws = ws_client(address, &format!("/ws?token={token}&channel=news")).await;
    let mut socket = socket(address, "", &format!(r#"{{"token":"{token}"}}"#)).await;
    text_with(&mut socket, "40").await;
    text_with(&mut socket, r#"42["connected""#).await;

    service.broadcast_to_room("lobby", "said", "hi").await.unwrap();
    assert_eq!(sse.next_of("said").await.unwrap().json::<String>(), "hi");
    assert_eq!(ws.next_of("said").await.unwrap().json::<String>(), "hi");
    text_with(&mut socket, r#"42["said","hi""#).await;
    let receipt = service.send(Target::user_in("acme", "ann"), Event::json("x", &1).unwrap()).await.unwrap();
    assert_eq!(receipt.delivered.unwrap().matched, 3);

    let head = get(address, &format!("/ws?token={token}&channel=other"), UPGRADE).await;
    assert!(head.starts_with("HTTP/1.1 403 "), "a room that the token does not have: {head}");
}

#[tokio::test]
async fn tokens_are_refused_alike_on_each_transport() {
    let (_, address) = start(builder(config().with_audience("app"))).await;
    let fits = json!({"org": "acme", "aud": "app"});
    let with = |more: Value| {
        let mut claims = fits.clone();
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        token(claims)
    };
    let cases = [
        (String::new(), "token_missing"),
        ("ann".to_owned(), "token_malformed"),
        ("eyJhbGciOiJub25lIn0.e30.".to_owned(), "token_malformed"),
        ("eyJhbGciOiJSUzI1NiJ9.e30.AA".to_owned(), "token_unknown_key"),
        (format!("{}AAAA", with(json!({}))), "token_signature"),
        (with(json!({"exp": 1})), "token_expired"),
        (with(json!({"nbf": 32_503_680_000_u64})), "token_not_yet_valid"),
        (with(json!({"aud": "other"})), "token_audience"),
        (with(json!({"org": null})), "token_claims"),
    ];
    for (token, code) in cases {
        for (path, headers) in [("/sse", ""), ("/ws", UPGRADE)] {
            let headers = format!("{headers}authorization: Bearer {token}\r\n");
            let (head, body) = answer(address, &format!("GET {path}"), &headers).await;
            assert!(head.starts_with("http/1.1 401 "), "{path} {code}: {head}");
            assert_eq!(body["error"]["code"], code, "{path}: {body}");
            let challenge = if code == "token_missing" { "bearer" } else { "bearer error=\"invalid_token\"" };
            assert!(head.contains(&format!("\r\nwww-authenticate: {challenge}\r\n")), "{head}");
        }
        let mut socket = websocket(address, "/socket.io/?EIO=4&transport=websocket").await;
        text_with(&mut socket, "0{").await;
        let connect = json!({ "token": token }).to_string();
        futures_util::SinkExt::send(&mut socket, format!("40{connect}").into()).await.unwrap();
        let refused = text_with(&mut socket, "44").await;
        assert!(
            refused.contains(&format!(r#""code":"{code}""#)) && refused.contains(&format!("{code}: ")),
            "{refused}"
        );
    }
}

#[tokio::test]
async fn browser_websocket_presents_its_token_as_a_subprotocol() {
    let (_, address) = start(builder(config().with_sources([TokenSource::Subprotocol]))).await;
    let good = token(json!({"org": "acme"}));
    let offer = |token: &str| format!("{UPGRADE}sec-websocket-protocol: bearer, {token}\r\n");
    let head = get(address, "/ws", &offer(&good)).await;
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nsec-websocket-protocol: bearer\r\n"), "{head}");
    assert!(!head.contains(&good), "the token is not echoed: {head}");
    let head = get(address, "/ws", &offer(&token(json!({"org": "acme", "exp": 1})))).await;
    assert!(head.starts_with("HTTP/1.1 401 "), "{head}");
}

#[tokio::test]
async fn cookie_counts_for_pages_that_may_connect() {
    let origins = Origins::same_host().and("https://app.example");
    let (_, address) = start(builder(config().with_cookie("session")).origins(origins)).await;
    let cookie = format!("cookie: theme=dark; session={}\r\n", token(json!({"org": "acme"})));
    for (origin, allowed) in [("https://app.example", true), ("https://evil.example", false), ("null", false)] {
        let headers = format!("{cookie}origin: {origin}\r\n");
        let stream = get(address, "/sse", &headers).await;
        assert!(stream.starts_with(if allowed { "HTTP/1.1 200 " } else { "HTTP/1.1 403 " }), "{origin}: {stream}");
        let upgraded = get(address, "/ws", &format!("{UPGRADE}{headers}")).await;
        assert!(upgraded.starts_with(if allowed { "HTTP/1.1 101 " } else { "HTTP/1.1 403 " }), "{origin}: {upgraded}");
    }
}

#[tokio::test]
async fn connection_closes_when_its_token_expires() {
    let (_, address) = start(builder(config())).await;
    let soon = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 2;
    let mut ws = ws_client(address, &format!("/ws?token={}", token(json!({"org": "acme", "exp": soon})))).await;
    let closed = in_time("a close", ws.next_of("never")).await.unwrap_err();
    assert!(format!("{closed:?}").contains("4001"), "{closed:?}");
    let late = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64() - soon as f64;
    assert!((-1.0..1.0).contains(&late), "{late}");
}

#[tokio::test]
async fn log_has_the_reason_and_nothing_of_the_token() {
    let (collector, _guard) = Collector::install();
    let (_, address) = start(builder(config())).await;
    let expired = token(json!({"org": "acme", "exp": 1}));
    get(address, &format!("/sse?token={expired}"), "").await;
    let refused = lines(&collector, &["connection refused", "token_expired"], 1).await;
    refused[0].assert_has(&["setting=\"authenticator\"", "the token has expired"]);
    let signature = expired.rsplit_once('.').unwrap().1;
    assert!(collector.lines(&[signature]).is_empty() && !collector.spans().concat().contains(signature));
}

#[tokio::test]
async fn claims_are_in_the_ticket_of_a_token() {
    let (_, address) = start(builder(config()).tickets(TicketConfig::default())).await;
    let bearer = format!("authorization: Bearer {}\r\n", token(json!({"org": "acme", "role": "editor"})));
    let (_, body) = answer(address, "POST /ticket", &bearer).await;
    let mut ws = ws_client(address, &format!("/ws?ticket={}", body["ticket"].as_str().unwrap())).await;
    assert_eq!(ws.request("role", &Value::Null).await.unwrap(), "editor");
}
