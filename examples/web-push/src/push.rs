use std::time::Duration;

use axum::http::header::AUTHORIZATION;
use axum::http::{HeaderValue, Request, StatusCode, Uri};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http_body_util::Full;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use realtime_unified::{BoxError, OfflineEvent, OfflineSink, async_trait};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use web_push_native::{Auth, WebPushBuilder};

use crate::subscriptions::{Subscription, Subscriptions};
use crate::vapid::Vapid;

/// The longest time that a push service keeps a message for a browser that is not running.
const KEEP: Duration = Duration::from_secs(24 * 3600);
/// The largest payload that every push service takes, with what the encryption adds.
const MOST_BYTES: usize = 3_000;

/// The push services that may be posted to: a client names the URL, and this server is not to fetch
/// whatever a client likes.
#[derive(Clone, Debug)]
pub struct PushHosts {
    hosts: Vec<String>,
    allows_plain_http: bool,
}

impl Default for PushHosts {
    /// Those of Chrome, Firefox, Safari and Edge, by https.
    fn default() -> Self {
        let known = ["fcm.googleapis.com", ".push.services.mozilla.com", ".push.apple.com", ".notify.windows.com"];
        Self { hosts: known.map(str::to_owned).into(), allows_plain_http: false }
    }
}

impl PushHosts {
    /// Allows one host, without TLS too, for a test.
    #[must_use]
    pub fn only(host: &str) -> Self {
        Self { hosts: vec![host.to_owned()], allows_plain_http: true }
    }

    /// Returns whether this endpoint may be posted to; a host with a dot in front allows all below
    /// it.
    #[must_use]
    pub fn allow(&self, endpoint: &str) -> bool {
        let Ok(url) = endpoint.parse::<Uri>() else { return false };
        let has_scheme =
            url.scheme_str() == Some("https") || self.allows_plain_http && url.scheme_str() == Some("http");
        let has_user = url.authority().is_some_and(|authority| authority.as_str().contains('@'));
        let is_known = |host: &str| {
            self.hosts.iter().any(|known| host == known || known.starts_with('.') && host.ends_with(known.as_str()))
        };
        has_scheme && !has_user && url.host().is_some_and(is_known)
    }
}

/// Pushes the messages that users miss to the browsers that they subscribed with.
pub struct WebPush {
    subscriptions: Subscriptions,
    vapid: Vapid,
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl WebPush {
    /// Creates a sink for these subscriptions.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(subscriptions: Subscriptions, vapid: Vapid) -> Result<Self, BoxError> {
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        let tls = ClientConfig::builder_with_provider(ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new().with_tls_config(tls).https_or_http().enable_http1().build();
        Ok(Self { subscriptions, vapid, client: Client::builder(TokioExecutor::new()).build(connector) })
    }

    /// Posts a message to one browser's push service.
    ///
    /// # Errors
    /// Those that a later attempt may not have.
    async fn push(&self, event: &OfflineEvent, subscription: &Subscription) -> Result<(), BoxError> {
        let request = match self.request(event, subscription) {
            Ok(request) => request,
            Err(error) => {
                tracing::warn!(user = event.user, %error, "a subscription cannot be used, and is removed");
                self.subscriptions.remove(&event.user, &subscription.endpoint);
                return Ok(());
            }
        };
        match self.client.request(request).await?.status() {
            status if status.is_success() => Ok(()),
            // The user has withdrawn it.
            StatusCode::NOT_FOUND | StatusCode::GONE => {
                self.subscriptions.remove(&event.user, &subscription.endpoint);
                Ok(())
            }
            status if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
                Err(format!("the push service answered {}", status.as_u16()).into())
            }
            status => {
                tracing::warn!(user = event.user, event = %event.id, %status, "the push service refuses a message");
                Ok(())
            }
        }
    }

    /// Returns the encrypted message (RFC 8291).
    fn request(&self, event: &OfflineEvent, subscription: &Subscription) -> Result<Request<Full<Bytes>>, BoxError> {
        let endpoint: Uri = subscription.endpoint.parse()?;
        let public = p256::PublicKey::from_sec1_bytes(&URL_SAFE_NO_PAD.decode(&subscription.keys.p256dh)?)?;
        let auth = URL_SAFE_NO_PAD.decode(&subscription.keys.auth)?;
        if auth.len() != 16 {
            return Err("the secret has not 16 bytes".into());
        }
        let authorization = self.vapid.authorization(&endpoint)?;
        let builder = WebPushBuilder::new(endpoint, public, Auth::clone_from_slice(&auth)).with_valid_duration(KEEP);
        let text = event.payload.bytes();
        // One that is too large is announced without its content.
        let text = if text.len() > MOST_BYTES { Bytes::from_static(b"null") } else { text.clone() };
        let mut request = builder.build(text)?;
        let headers = request.headers_mut();
        headers.insert(AUTHORIZATION, authorization.parse()?);
        headers.insert("urgency", HeaderValue::from_static("normal"));
        // A message of the same topic replaces one that was not delivered yet: a second call for
        // the event is not shown twice. It has 32 characters at most, as the id has.
        headers.insert("topic", event.id.to_string().parse()?);
        Ok(request.map(Full::from))
    }
}

#[async_trait]
impl OfflineSink for WebPush {
    async fn offline(&self, event: &OfflineEvent) -> Result<(), BoxError> {
        if event.name != "message" {
            return Ok(());
        }
        let mut failed = Ok(());
        for subscription in self.subscriptions.of(&event.user) {
            if let Err(error) = self.push(event, &subscription).await {
                // The others get theirs; all of them are tried again.
                failed = Err(error);
            }
        }
        failed
    }
}
