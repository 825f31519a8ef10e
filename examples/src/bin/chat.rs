//! A chat in which users of Server-Sent Events, WebSocket and Socket.IO talk to each other in one
//! room.
//!
//! With `/ws?user=ann&channel=lobby` or Socket.IO (`auth: {user, room: "lobby"}`) send `say` with a
//! text. `/sse?user=ann&channel=lobby` carries nothing back: `POST /say?user=ann` the text.

use std::{error::Error, net::SocketAddr, time::Duration};

use axum::{Router, extract::State, routing::post};
use clap::Parser;
use realtime_unified::prelude::*;
use serde_json::{Value, json};

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3002")]
    listen: SocketAddr,
}

/// Believes `?user=`, or Socket.IO's `auth.user`. An application verifies a token.
async fn by_name(request: ConnectRequest) -> Result<Identity, Refusal> {
    let user = request.query("user").or_else(|| request.auth_text("user").map(Into::into));
    Ok(Identity::user(user.ok_or_else(|| Refusal::unauthorized("say who you are"))?))
}

/// Handles `say` of the members of the room: sends the text to all of them, over whatever they are
/// connected with.
async fn say(cx: Context, text: String) -> Result<Receipt, HandlerError> {
    Ok(cx.to_room_as_member("lobby").send("said", &message(cx.identity(), &text)).await?)
}

/// Does the same for clients that cannot send events.
async fn post_say(Caller(who): Caller, State(app): State<NotificationService>, text: String) -> Result<(), Rejection> {
    Ok(app.to_room("lobby", "said", &message(&who, &text)).await.map(drop)?)
}

fn message(from: &Identity, text: &str) -> Value {
    json!({ "user": from.user_name(), "text": text })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    realtime_examples::start_log();
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .on("say", say)
        .authenticator(by_name)
        .room_policy(AllowRooms)
        .build()
        .await?;
    let app = Router::new().route("/say", post(post_say)).with_state(service.clone());
    let listener = tokio::net::TcpListener::bind(Args::parse().listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}\ntry: curl -N 'http://{address}/sse?user=ann&channel=lobby'");
    Ok(service.serve(listener, app, Drain::over(Duration::from_secs(5))).await?)
}
