//! Keys, tokens, and a server of key sets.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use realtime_core::{Identity, Refusal};
use realtime_http::{Tls, serve};
use realtime_jwt::{JwtAlgorithm, JwtAuthenticator, JwtConfig, JwtKey};
use realtime_testkit::TestCertificate;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// The secret of the tokens in `tests/keys`.
pub(crate) const SECRET: &str = "a secret of the tests, which has at least sixty-four bytes in all";

/// The tokens that Node.js has signed, by algorithm.
pub(crate) const TOKENS: &str = include_str!("../keys/tokens.json");

pub(crate) const RSA: &str = include_str!("../keys/rsa.pub.pem");
pub(crate) const P256: &str = include_str!("../keys/p256.pub.pem");
pub(crate) const P384: &str = include_str!("../keys/p384.pub.pem");
pub(crate) const ED25519: &str = include_str!("../keys/ed25519.pub.pem");
pub(crate) const RSA_JWK: &str = include_str!("../keys/rsa.jwk.json");
pub(crate) const P256_JWK: &str = include_str!("../keys/p256.jwk.json");
pub(crate) const P384_JWK: &str = include_str!("../keys/p384.jwk.json");
pub(crate) const ED25519_JWK: &str = include_str!("../keys/ed25519.jwk.json");
pub(crate) const ED25519B_JWK: &str = include_str!("../keys/ed25519b.jwk.json");

const ED25519_PRIVATE: &[u8] = include_bytes!("../keys/ed25519.pem");
const ED25519B_PRIVATE: &[u8] = include_bytes!("../keys/ed25519b.pem");

/// Returns the seconds since 1970, and some more.
pub(crate) fn in_seconds(more: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    i64::try_from(now).unwrap() + more
}

/// Returns the configuration with the tests' secret as HS256.
pub(crate) fn secret() -> JwtConfig {
    JwtConfig::default().with_key(JwtKey::from_secret(JwtAlgorithm::Hs256, SECRET).unwrap())
}

/// Signs claims with the tests' secret.
pub(crate) fn signed(claims: &Value) -> String {
    encode(&Header::default(), claims, &EncodingKey::from_secret(SECRET.as_bytes())).unwrap()
}

/// Signs a token of ann's with the first or the second Ed25519 key, and with this key id.
pub(crate) fn signed_by(second: bool, key_id: Option<&str>) -> String {
    let key = EncodingKey::from_ed_pem(if second { ED25519B_PRIVATE } else { ED25519_PRIVATE }).unwrap();
    let header = Header { kid: key_id.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
    encode(&header, &json!({"sub": "ann", "exp": in_seconds(60)}), &key).unwrap()
}

/// Identifies a token with this configuration.
pub(crate) async fn identify(config: JwtConfig, token: &str) -> Result<Identity, Refusal> {
    JwtAuthenticator::new(config).unwrap().identify(token).await
}

/// Returns the code of the refusal of a token.
pub(crate) async fn code(config: JwtConfig, token: &str) -> &'static str {
    identify(config, token).await.unwrap_err().code()
}

/// Returns a key of a set: one of `tests/keys` with more parameters.
pub(crate) fn jwk(key: &str, more: Value) -> Value {
    let mut key: Value = serde_json::from_str(key).unwrap();
    let own = key.as_object_mut().unwrap();
    own.extend(more.as_object().unwrap().clone());
    key
}

/// A server of a key set, which counts the requests.
#[derive(Clone)]
pub(crate) struct KeyServer(Arc<Served>);

struct Served {
    url: String,
    document: Mutex<(StatusCode, String)>,
    requests: AtomicUsize,
    /// Each answer takes a permit.
    answers: Semaphore,
}

impl KeyServer {
    /// Starts a server with these keys.
    pub(crate) async fn start(keys: &[Value]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (server, routes) = Self::new(format!("http://{}/keys", listener.local_addr().unwrap()), keys);
        tokio::spawn(async move { axum::serve(listener, routes).await });
        server
    }

    /// Starts one that speaks HTTPS as `localhost`.
    pub(crate) async fn start_secured(keys: &[Value], certificate: &TestCertificate) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (server, routes) = Self::new(format!("https://localhost:{port}/keys"), keys);
        let tls = Tls::from_pem_files(certificate.certificate_file(), certificate.key_file()).unwrap();
        tokio::spawn(serve(listener, routes).with_tls(tls).into_future());
        server
    }

    fn new(url: String, keys: &[Value]) -> (Self, axum::Router) {
        let document = Mutex::new((StatusCode::OK, String::new()));
        let answers = Semaphore::new(Semaphore::MAX_PERMITS);
        let server = Self(Arc::new(Served { url, document, requests: AtomicUsize::new(0), answers }));
        server.set_keys(keys);
        (server.clone(), axum::Router::new().route("/keys", get(answer)).with_state(server))
    }

    pub(crate) fn url(&self) -> &str {
        &self.0.url
    }

    pub(crate) fn set_keys(&self, keys: &[Value]) {
        self.set(StatusCode::OK, json!({ "keys": keys }).to_string());
    }

    pub(crate) fn set(&self, status: StatusCode, document: String) {
        *self.0.document.lock().unwrap() = (status, document);
    }

    pub(crate) fn requests(&self) -> usize {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// Holds all answers back.
    pub(crate) fn hold(&self) {
        self.0.answers.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets all answers go.
    pub(crate) fn release(&self) {
        self.0.answers.add_permits(1_000);
    }
}

async fn answer(State(server): State<KeyServer>) -> (StatusCode, String) {
    server.0.requests.fetch_add(1, Ordering::SeqCst);
    server.0.answers.acquire().await.unwrap().forget();
    server.0.document.lock().unwrap().clone()
}
