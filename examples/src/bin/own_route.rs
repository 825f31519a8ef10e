//! Routes of the application with an extractor of its own: the application knows its user before
//! any provider does. (With the service's authenticator, [`Caller`] is
//! such an extractor.)
//!
//! `GET /api/events` is an event stream and `GET /api/socket` a WebSocket for the user of the
//! cookie `session`; `POST /api/notify/{user}` sends to both. Try
//! `curl -N -H 'cookie: session=s-ann' …/api/events`.

use std::collections::HashMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{FromRequestParts, Path, Request, State};
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use realtime_unified::prelude::*;
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3005")]
    listen: SocketAddr,
}

#[derive(Clone)]
struct App {
    service: NotificationService,
    /// The accounts by session id: a stand-in for the application's session store.
    sessions: Arc<HashMap<&'static str, Account>>,
}

#[derive(Clone, Copy)]
struct Account {
    user: &'static str,
    team: &'static str,
}

/// The account of a request's session; a request without a valid session gets 401.
struct SignedIn(Account);

impl FromRequestParts<App> for SignedIn {
    type Rejection = Rejection;

    async fn from_request_parts(parts: &mut Parts, app: &App) -> Result<Self, Self::Rejection> {
        let request = ConnectRequest::new("own", parts);
        let account = request.cookie("session").and_then(|session| app.sessions.get(session));
        Ok(Self(*account.ok_or_else(|| Refusal::unauthorized("sign in first"))?))
    }
}

impl SignedIn {
    fn identity(&self) -> Identity {
        Identity::user(self.0.user).with_tenant(self.0.team)
    }

    /// Returns the rooms of the connection; no policy is asked.
    fn rooms(&self) -> [String; 1] {
        [format!("team:{}", self.0.team)]
    }
}

async fn events(who: SignedIn, State(app): State<App>, request: Request) -> Result<Response, Rejection> {
    Ok(app.service.sse()?.open(request, who.identity(), who.rooms()).await)
}

async fn socket(who: SignedIn, State(app): State<App>, request: Request) -> Result<Response, Rejection> {
    Ok(app.service.ws()?.open(request, who.identity(), who.rooms()).await)
}

/// Sends one event over both transports.
async fn notify(
    from: SignedIn,
    State(app): State<App>,
    Path(to): Path<String>,
    Json(text): Json<String>,
) -> Result<Json<Value>, Rejection> {
    let event = Event::json("notification", &json!({ "from": from.0.user, "text": text }))?;
    // A bare user name means that user in every tenant; this keeps messages within the team.
    let target = Target::user_in(from.0.team, to);
    let receipt = app.service.broadcast(&["sse", "ws"], target, event).await?;
    let connections = receipt.delivered.map_or(0, |delivered| delivered.matched);
    Ok(Json(json!({ "connections": connections })))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    realtime_examples::start_log();
    let args = Args::parse();
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        // Only the ready routes ask the authenticator, and `service.router()` is not merged below.
        .allow_anonymous()
        .build()
        .await?;
    let sessions = HashMap::from([
        ("s-ann", Account { user: "ann", team: "blue" }),
        ("s-bob", Account { user: "bob", team: "blue" }),
        ("s-eve", Account { user: "eve", team: "red" }),
    ]);
    let app = Router::new()
        .route("/api/events", get(events))
        .route("/api/socket", get(socket))
        .route("/api/notify/{user}", post(notify))
        .with_state(App { service, sessions: Arc::new(sessions) });

    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}\ntry: curl -N -H 'cookie: session=s-ann' 'http://{address}/api/events'");
    serve(listener, app).await?;
    Ok(())
}
