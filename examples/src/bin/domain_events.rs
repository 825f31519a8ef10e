//! From domain events to notifications: the code that registers a user knows nothing of transports.
//!
//! `POST /register` publishes `UserRegistered`; a subscriber notifies the admins' room and the
//! user, over whatever they are connected with: Server-Sent Events
//! (`/sse?token=admin&channel=admin-dashboard`) or WebSocket (`/ws?token=user:{id}`).

use std::error::Error;
use std::net::SocketAddr;

use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use realtime_unified::Error as NotifyError;
use realtime_unified::prelude::*;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3004")]
    listen: SocketAddr,
}

/// An event in the words of the domain.
#[derive(Debug)]
enum DomainEvent {
    UserRegistered(UserRegistered),
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct UserRegistered {
    user_id: String,
    email: String,
}

/// Turns domain events into notifications.
struct NotificationSubscriber {
    service: NotificationService,
}

impl NotificationSubscriber {
    async fn run(self, mut events: mpsc::Receiver<DomainEvent>) {
        while let Some(event) = events.recv().await {
            let handled = match &event {
                DomainEvent::UserRegistered(registered) => self.user_registered(registered).await,
            };
            // An error does not keep the next event from being handled.
            if let Err(error) = handled {
                tracing::error!(%error, ?event, "notification failed");
            }
        }
    }

    async fn user_registered(&self, registered: &UserRegistered) -> Result<(), NotifyError> {
        self.service.to_room("admin-dashboard", "user:registered", registered).await?;
        let welcome = json!({ "title": "Welcome!", "body": "Your account has been created successfully" });
        self.service.to_user(&registered.user_id, "notification", &welcome).await?;
        Ok(())
    }
}

/// Publishes the event; waits while the bus is full, so that a burst slows its source down instead
/// of being lost.
async fn register(State(bus): State<mpsc::Sender<DomainEvent>>, Json(registered): Json<UserRegistered>) -> StatusCode {
    match bus.send(DomainEvent::UserRegistered(registered)).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Accepts the tokens `admin` and `user:{id}`. An application verifies a signature.
async fn by_token(request: ConnectRequest) -> Result<Identity, Refusal> {
    let token = request.token().ok_or_else(|| Refusal::unauthorized("no token"))?;
    match token.strip_prefix("user:") {
        Some(user) => Ok(Identity::user(user)),
        None if token == "admin" => Ok(Identity::user("admin").with_tenant("admins")),
        None => Err(Refusal::unauthorized("unknown token")),
    }
}

async fn admins_only(cx: Context, _room: String) -> RoomAccess {
    if cx.identity().tenant_name() == Some("admins") { RoomAccess::Allow } else { RoomAccess::Deny }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    realtime_examples::start_log();
    let args = Args::parse();
    let service = NotificationService::builder()
        .authenticator(by_token)
        .room_policy(admins_only)
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .build()
        .await?;
    let (bus, events) = mpsc::channel(1024);
    tokio::spawn(NotificationSubscriber { service: service.clone() }.run(events));
    let app = Router::new().route("/register", post(register)).with_state(bus).merge(service.router());

    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}\ntry: curl -N 'http://{address}/sse?token=admin&channel=admin-dashboard'");
    serve(listener, app).await?;
    Ok(())
}
