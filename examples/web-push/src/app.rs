use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{Html, IntoResponse};
use axum::routing::{get, post};
use axum::{Json, Router};
use realtime_unified::prelude::*;
use realtime_unified::{BoxError, OfflineConfig};
use serde::Deserialize;

use crate::push::{PushHosts, WebPush};
use crate::subscriptions::{Subscription, Subscriptions};
use crate::vapid::Vapid;

/// The settings of the program.
pub struct Config {
    /// The key by which push services know the application.
    pub vapid: Vapid,
    /// The push services.
    pub hosts: PushHosts,
    /// When users count as offline.
    pub offline: OfflineConfig,
}

#[derive(Clone)]
struct App {
    service: NotificationService,
    subscriptions: Subscriptions,
    public_key: String,
    hosts: PushHosts,
}

/// Whose subscription it is, or to whom a message goes.
#[derive(Deserialize)]
struct Of {
    user: String,
}

/// Builds the service, and the routes of the page.
///
/// # Errors
/// Those of [`WebPush::new`] and of the builder.
pub async fn build(config: Config) -> Result<(NotificationService, Router), BoxError> {
    let subscriptions = Subscriptions::default();
    let public_key = config.vapid.public_key().to_owned();
    let service = NotificationService::builder()
        .provider(WsProvider::default())
        .authenticator(by_query)
        .offline_sink(WebPush::new(subscriptions.clone(), config.vapid)?)
        .offline_config(config.offline)
        .build()
        .await?;
    let app = App { service: service.clone(), subscriptions, public_key, hosts: config.hosts };
    let router = Router::new()
        .route("/", get(async || Html(include_str!("../page/index.html"))))
        .route("/worker.js", get(async || ([(CONTENT_TYPE, "text/javascript")], include_str!("../page/worker.js"))))
        .route("/key", get(async |State(app): State<App>| app.public_key))
        .route("/subscriptions", get(count).post(subscribe))
        .route("/messages", post(send))
        .with_state(app);
    Ok((service, router))
}

/// Identifies the user by `?user=`: a real application looks at a session, here and below.
async fn by_query(request: ConnectRequest) -> Result<Identity, Refusal> {
    let user = request.query("user").ok_or_else(|| Refusal::unauthorized("user is missing"))?;
    Ok(Identity::user(&user))
}

async fn subscribe(
    State(app): State<App>,
    Query(of): Query<Of>,
    Json(subscription): Json<Subscription>,
) -> impl IntoResponse {
    if !app.hosts.allow(&subscription.endpoint) {
        return (StatusCode::UNPROCESSABLE_ENTITY, "this is no known push service");
    }
    match app.subscriptions.add(&of.user, subscription) {
        true => (StatusCode::CREATED, "subscribed"),
        false => (StatusCode::TOO_MANY_REQUESTS, "too many users"),
    }
}

async fn count(State(app): State<App>, Query(of): Query<Of>) -> Json<usize> {
    Json(app.subscriptions.of(&of.user).len())
}

/// Sends a message, and returns the event's id.
async fn send(State(app): State<App>, Query(of): Query<Of>, text: String) -> Result<String, StatusCode> {
    let sent = app.service.to_user(&of.user, "message", &text).await;
    sent.map(|receipt| receipt.id.to_string()).map_err(|error| {
        tracing::warn!(%error, "a message was not sent");
        StatusCode::SERVICE_UNAVAILABLE
    })
}
