//! Key sets from a server that rotates its keys.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use realtime_core::RefusalKind;
use realtime_jwt::{Jwks, JwtAuthenticator, JwtConfig};
use realtime_testkit::{TestCertificate, eventually, in_time};
use serde_json::{Value, json};

use crate::support::{ED25519_JWK, ED25519B_JWK, KeyServer, jwk, signed_by};

const HOUR: Duration = Duration::from_secs(3_600);
const SHORT: Duration = Duration::from_nanos(1);

fn first() -> Value {
    jwk(ED25519_JWK, json!({"kid": "first"}))
}

fn second() -> Value {
    jwk(ED25519B_JWK, json!({"kid": "second"}))
}

/// Returns an authenticator with the server's key set, never old, with this interval.
fn authenticator(server: &KeyServer, change: impl FnOnce(Jwks) -> Jwks) -> Arc<JwtAuthenticator> {
    let jwks = change(Jwks::from_url(server.url()).with_max_age(HOUR));
    Arc::new(JwtAuthenticator::new(JwtConfig::default().with_any_audience().with_jwks(jwks)).unwrap())
}

async fn code(authenticator: &JwtAuthenticator, token: &str) -> &'static str {
    let identified = in_time("an answer", authenticator.identify(token)).await;
    identified.map_or_else(|refusal| refusal.code(), |_| "ok")
}

#[tokio::test]
async fn unknown_key_id_has_the_keys_fetched_again() {
    let server = KeyServer::start(&[first()]).await;
    let authenticator = authenticator(&server, |jwks| jwks.with_fetch_interval(SHORT));
    assert_eq!(code(&authenticator, &signed_by(false, Some("first"))).await, "ok");
    assert_eq!(code(&authenticator, &signed_by(false, Some("first"))).await, "ok");
    assert_eq!(server.requests(), 1, "the keys are kept");
    server.set_keys(&[second()]);
    assert_eq!(code(&authenticator, &signed_by(true, Some("second"))).await, "ok");
    assert_eq!(server.requests(), 2);
    assert_eq!(code(&authenticator, &signed_by(false, Some("first"))).await, "token_unknown_key", "it is gone");
}

#[tokio::test]
async fn keys_come_by_https_from_a_server_that_is_trusted() {
    let certificate = TestCertificate::new();
    let server = KeyServer::start_secured(&[first()], &certificate).await;
    let token = signed_by(false, Some("first"));
    let trusting = |file: Option<PathBuf>| authenticator(&server, |jwks| jwks.with_root_certificates(file));
    assert_eq!(code(&trusting(Some(certificate.certificate_file())), &token).await, "ok");
    let requests = server.requests();
    let other = TestCertificate::new();
    for untrusted in [None, Some(other.certificate_file())] {
        assert_eq!(code(&trusting(untrusted), &token).await, "keys_unavailable");
    }
    assert_eq!(server.requests(), requests, "the handshake fails");
    for (file, why) in [(certificate.key_file(), "no certificate"), ("/no/such.pem".into(), "No such file")] {
        let jwks = Jwks::from_url(server.url()).with_root_certificates(file.clone());
        let error = JwtAuthenticator::new(JwtConfig::default().with_any_audience().with_jwks(jwks)).unwrap_err();
        let error = error.to_string();
        assert!(error.contains(why) && error.contains(file.to_str().unwrap()), "{error}");
    }
}

#[tokio::test]
async fn token_without_key_id_has_the_keys_fetched_again() {
    let server = KeyServer::start(&[first()]).await;
    let authenticator = authenticator(&server, |jwks| jwks.with_fetch_interval(SHORT));
    assert_eq!(code(&authenticator, &signed_by(false, None)).await, "ok");
    server.set_keys(&[second()]);
    assert_eq!(code(&authenticator, &signed_by(true, None)).await, "ok");
    // With a known id a wrong signature is no reason.
    let requests = server.requests();
    assert_eq!(code(&authenticator, &signed_by(false, Some("second"))).await, "token_signature");
    assert_eq!(server.requests(), requests);
}

#[tokio::test]
async fn flood_of_key_ids_causes_one_fetch() {
    let server = KeyServer::start(&[first()]).await;
    let authenticator = authenticator(&server, |jwks| jwks.with_fetch_interval(HOUR));
    for number in 0..200 {
        let made_up = signed_by(true, Some(&format!("made up {number}")));
        assert_eq!(code(&authenticator, &made_up).await, "token_unknown_key");
    }
    assert_eq!(code(&authenticator, &signed_by(false, Some("first"))).await, "ok");
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn clients_that_wait_share_one_fetch() {
    let server = KeyServer::start(&[first()]).await;
    server.hold();
    let authenticator = authenticator(&server, |jwks| jwks.with_fetch_interval(SHORT));
    let wait = |_| {
        let authenticator = Arc::clone(&authenticator);
        tokio::spawn(async move { code(&authenticator, &signed_by(false, Some("first"))).await })
    };
    let first_client = wait(0);
    eventually("a request", || server.requests() == 1).await;
    let others: Vec<_> = (1..20).map(wait).collect();
    // The one that caused the fetch disconnects.
    first_client.abort();
    server.release();
    for other in others {
        assert_eq!(in_time("an answer", other).await.unwrap(), "ok");
    }
    assert_eq!(server.requests(), 1);
}

#[tokio::test]
async fn failed_fetch_keeps_the_keys() {
    let server = KeyServer::start(&[first()]).await;
    let authenticator = authenticator(&server, |jwks| jwks.with_fetch_interval(SHORT).with_max_age(SHORT));
    let token = signed_by(false, Some("first"));
    assert_eq!(code(&authenticator, &token).await, "ok");
    for (status, document) in [
        (StatusCode::INTERNAL_SERVER_ERROR, String::new()),
        (StatusCode::FOUND, String::new()),
        (StatusCode::OK, "<html>".to_owned()),
        (StatusCode::OK, "x".repeat(300 * 1024)),
    ] {
        server.set(status, document);
        let requests = server.requests();
        eventually_async("another fetch", async || {
            assert_eq!(code(&authenticator, &token).await, "ok", "{status}");
            server.requests() > requests
        })
        .await;
        // What the fetch would have brought is not known.
        assert_eq!(code(&authenticator, &signed_by(true, Some("second"))).await, "keys_unavailable");
    }
    server.set_keys(&[second()]);
    eventually_async("the new keys", async || code(&authenticator, &signed_by(true, Some("second"))).await == "ok")
        .await;
}

#[tokio::test]
async fn old_keys_are_fetched_again_before_their_use() {
    let server = KeyServer::start(&[first()]).await;
    let authenticator = authenticator(&server, |jwks| jwks.with_fetch_interval(SHORT).with_max_age(SHORT));
    let token = signed_by(false, Some("first"));
    assert_eq!(code(&authenticator, &token).await, "ok");
    server.set_keys(&[second()]);
    eventually_async("the end of the key", async || code(&authenticator, &token).await == "token_unknown_key").await;
}

#[tokio::test]
async fn clients_are_refused_for_now_without_any_keys() {
    let server = KeyServer::start(&[first()]).await;
    server.set(StatusCode::SERVICE_UNAVAILABLE, String::new());
    let authenticator = authenticator(&server, |jwks| jwks.with_fetch_interval(SHORT));
    let token = signed_by(false, Some("first"));
    let refusal = authenticator.identify(&token).await.unwrap_err();
    assert_eq!((refusal.kind(), refusal.code()), (RefusalKind::Unavailable, "keys_unavailable"));
    assert!(refusal.retry_after().is_some());
    server.set_keys(&[first()]);
    eventually_async("the keys", async || code(&authenticator, &token).await == "ok").await;
}

#[tokio::test]
async fn fetch_without_an_answer_times_out() {
    let server = KeyServer::start(&[first()]).await;
    server.hold();
    let timeout = Duration::from_millis(50);
    let authenticator = authenticator(&server, |jwks| jwks.with_fetch_interval(SHORT).with_fetch_timeout(timeout));
    let token = signed_by(false, Some("first"));
    assert_eq!(code(&authenticator, &token).await, "keys_unavailable");
    server.release();
    eventually_async("the keys", async || code(&authenticator, &token).await == "ok").await;
}

#[tokio::test]
async fn file_is_read_again_for_an_unknown_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("keys.json");
    let write = |keys: &[Value]| std::fs::write(&path, json!({ "keys": keys }).to_string()).unwrap();
    write(&[first()]);
    let jwks = Jwks::from_file(&path).with_fetch_interval(SHORT);
    let authenticator = JwtAuthenticator::new(JwtConfig::default().with_jwks(jwks)).unwrap();
    assert_eq!(code(&authenticator, &signed_by(false, Some("first"))).await, "ok");
    write(&[first(), second()]);
    assert_eq!(code(&authenticator, &signed_by(true, Some("second"))).await, "ok");
}

/// Waits until this holds.
#[allow(clippy::future_not_send, reason = "a test awaits it in a task of its own")]
async fn eventually_async(what: &str, holds: impl AsyncFn() -> bool) {
    in_time(what, async {
        while !holds().await {
            tokio::task::yield_now().await;
        }
    })
    .await;
}
