//! A push service of the test's own: what arrives there is encrypted, signed, and can be read by
//! the browser alone.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use p256::SecretKey;
use p256::elliptic_curve::sec1::ToEncodedPoint;
use realtime_testkit::{WsClient, eventually, in_time};
use realtime_unified::{Drain, OfflineConfig, serve};
use realtime_web_push::{Config, PushHosts, Vapid, build};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use web_push_native::Auth;

/// The messages that the push service got, and how it answers the next ones.
#[derive(Clone, Default)]
struct Service(Arc<Mutex<Answers>>);

#[derive(Default)]
struct Answers {
    messages: Vec<(HeaderMap, Bytes)>,
    answers: Vec<StatusCode>,
}

impl Service {
    async fn start(&self) -> String {
        async fn take(State(service): State<Service>, headers: HeaderMap, body: Bytes) -> StatusCode {
            let mut state = service.0.lock().unwrap();
            state.messages.push((headers, body));
            if state.answers.is_empty() { StatusCode::CREATED } else { state.answers.remove(0) }
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new().route("/push/{id}", post(take)).with_state(self.clone());
        tokio::spawn(serve(listener, app).into_future());
        format!("http://{address}")
    }

    fn messages(&self) -> Vec<(HeaderMap, Bytes)> {
        self.0.lock().unwrap().messages.clone()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().messages.len()
    }
}

/// A browser's secrets.
struct Browser {
    key: SecretKey,
    auth: [u8; 16],
}

impl Browser {
    fn subscription(&self, endpoint: &str) -> Value {
        let public = URL_SAFE_NO_PAD.encode(self.key.public_key().to_encoded_point(false));
        json!({ "endpoint": endpoint, "keys": { "p256dh": public, "auth": URL_SAFE_NO_PAD.encode(self.auth) } })
    }

    fn read(&self, body: &Bytes) -> Value {
        let text = web_push_native::decrypt(body.to_vec(), &self.key, Auth::from_slice(&self.auth)).unwrap();
        serde_json::from_slice(&text).unwrap()
    }
}

struct Program {
    url: String,
    http: reqwest::Client,
    vapid_key: String,
}

impl Program {
    async fn start() -> Self {
        let vapid = Vapid::random("mailto:ops@example.com").unwrap();
        let vapid_key = vapid.public_key().to_owned();
        let offline = OfflineConfig::default().with_delay(Duration::from_secs(3));
        let (service, app) = build(Config { vapid, hosts: PushHosts::only("127.0.0.1"), offline }).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(service.serve(listener, app, Drain::now()).into_future());
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        Self { url, http, vapid_key }
    }

    async fn subscribe(&self, user: &str, subscription: &Value) -> u16 {
        let url = format!("{}/subscriptions?user={user}", self.url);
        in_time("an answer", self.http.post(url).json(subscription).send()).await.unwrap().status().as_u16()
    }

    /// Sends a message; returns the event's id.
    async fn send(&self, user: &str, text: &'static str) -> String {
        let url = format!("{}/messages?user={user}", self.url);
        in_time("an answer", self.http.post(url).body(text).send()).await.unwrap().text().await.unwrap()
    }

    async fn subscriptions(&self, user: &str) -> usize {
        let url = format!("{}/subscriptions?user={user}", self.url);
        in_time("an answer", self.http.get(url).send()).await.unwrap().json().await.unwrap()
    }
}

/// Checks the signature of a message, and returns its claims.
fn claims(authorization: &str, public: &str) -> HashMap<String, Value> {
    let (token, key) = authorization.strip_prefix("vapid t=").unwrap().split_once(", k=").unwrap();
    assert_eq!(key, public);
    let point = URL_SAFE_NO_PAD.decode(key).unwrap();
    let coordinate = |part: &[u8]| URL_SAFE_NO_PAD.encode(part);
    let key = DecodingKey::from_ec_components(&coordinate(&point[1..33]), &coordinate(&point[33..])).unwrap();
    let mut validation = Validation::new(Algorithm::ES256);
    validation.validate_aud = false;
    decode(token, &key, &validation).unwrap().claims
}

#[tokio::test]
async fn missed_message_is_pushed_until_the_browser_is_gone() {
    let (program, service) = (Program::start().await, Service::default());
    let push_url = service.start().await;
    let browser = Browser { key: SecretKey::from_slice(&[7; 32]).unwrap(), auth: [9; 16] };
    let subscription = browser.subscription(&format!("{push_url}/push/ann"));
    assert_eq!(program.subscribe("ann", &subscription).await, 201);
    assert_eq!(program.subscribe("bob", &browser.subscription(&format!("{push_url}/push/bob"))).await, 201);
    // Bob is there, and gets no push.
    let mut bob = WsClient::new(format!("{}/ws?user=bob", program.url.replacen("http", "ws", 1)));
    bob.next_of("connected").await.unwrap();
    program.send("bob", "not pushed").await;
    assert_eq!(bob.next_of("message").await.unwrap().payload, "not pushed");
    // The first attempt fails, and is repeated.
    service.0.lock().unwrap().answers = vec![StatusCode::SERVICE_UNAVAILABLE];
    let id = program.send("ann", "hello").await;
    eventually("two attempts", || service.count() == 2).await;
    for (headers, body) in service.messages() {
        let header = |name: &str| headers[name].to_str().unwrap().to_owned();
        assert_eq!((browser.read(&body), header("topic")), (json!("hello"), id.clone()));
        let rest = ["content-encoding", "ttl", "urgency"].map(header);
        assert_eq!(rest, ["aes128gcm", "86400", "normal"]);
        let claims = claims(&header("authorization"), &program.vapid_key);
        assert_eq!((&claims["aud"], &claims["sub"]), (&json!(push_url), &json!("mailto:ops@example.com")));
    }
    // The browser has withdrawn its subscription.
    assert_eq!(program.subscriptions("ann").await, 1);
    service.0.lock().unwrap().answers = vec![StatusCode::GONE];
    program.send("ann", "too late").await;
    eventually("a third attempt", || service.count() == 3).await;
    while program.subscriptions("ann").await > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(program.subscriptions("bob").await, 1);
}

#[tokio::test]
async fn only_push_services_can_be_subscribed_with() {
    let program = Program::start().await;
    let browser = Browser { key: SecretKey::from_slice(&[7; 32]).unwrap(), auth: [9; 16] };
    for endpoint in ["http://10.0.0.1/push", "file:///etc/passwd", "http://127.0.0.1@10.0.0.1/", ""] {
        assert_eq!(program.subscribe("ann", &browser.subscription(endpoint)).await, 422, "{endpoint}");
    }
    let hosts = PushHosts::default();
    for (endpoint, is_allowed) in [
        ("https://fcm.googleapis.com/fcm/send/x", true),
        ("https://updates.push.services.mozilla.com/wpush/v2/x", true),
        ("http://fcm.googleapis.com/fcm/send/x", false),
        ("https://push.services.mozilla.com.evil.example/x", false),
        ("https://evilpush.apple.com.example/x", false),
        ("https://localhost/x", false),
    ] {
        assert_eq!(hosts.allow(endpoint), is_allowed, "{endpoint}");
    }
}
