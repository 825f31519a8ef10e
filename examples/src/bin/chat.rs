//! A chat in which people on Server-Sent Events, WebSocket and Socket.IO talk to each other in one room.
//!
//! With `/ws?user=ann&channel=lobby` or Socket.IO (`auth: {user, room: "lobby"}`) send `say` with a text; beside
//! `/sse?user=ann&channel=lobby`, which carries nothing back, `POST /say?user=ann` it.

use std::{error::Error, net::SocketAddr};

use axum::{Router, extract::State, routing::post};
use clap::Parser;
use realtime_unified::{AllowRooms, Handlers, Result, prelude::*};
use serde_json::json;

#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3002")]
    listen: SocketAddr,
}

/// Believes `?user=`, or Socket.IO's `auth.user`. An application verifies a token.
struct ByName;

#[async_trait]
impl Authenticator for ByName {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let user = request.query("user").or_else(|| request.auth_text("user").map(Into::into));
        Ok(Identity::user(&*user.ok_or(Refusal::unauthorized("say who you are"))?))
    }
}

/// Everybody in the room hears it, over whatever they are connected with.
async fn say(service: NotificationService, who: &Identity, text: &str) -> Result<Receipt> {
    service.to_room("lobby", "said", &json!({ "user": who.user_name(), "text": text })).await
}

async fn post_say(Caller(who): Caller, State(app): State<NotificationService>, text: String) -> Result<(), Rejection> {
    Ok(say(app, &who, &text).await.map(drop)?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    realtime_examples::start_log();
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .on("say", async |cx: Context, text: String| say(cx.service()?, cx.identity(), &text).await)
        .authenticator(ByName)
        .room_policy(AllowRooms)
        .build()
        .await?;
    let app = Router::new().route("/say", post(post_say)).with_state(service.clone()).merge(service.router());
    let listener = tokio::net::TcpListener::bind(Args::parse().listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}\ntry: curl -N 'http://{address}/sse?user=ann&channel=lobby'");
    serve(listener, app).await?;
    Ok(())
}
