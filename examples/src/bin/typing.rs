//! Typing indicators over WebSocket, in rooms each of which belongs to a tenant.
//!
//! Connect to `/ws?token=ann&channel=acme/general`, or send
//! `{"type":"subscribe","payload":{"channel":"acme/general"}}` later; then
//! `{"type":"chat:send","payload":{"channel":"acme/general","text":"hi"}}`.

use std::error::Error;
use std::net::SocketAddr;

use clap::Parser;
use realtime_unified::prelude::*;
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3007")]
    listen: SocketAddr,
}

/// The tokens with their user and tenant. An application looks into its sessions, or verifies a
/// signed token.
const TOKENS: [(&str, &str, &str); 3] = [("ann", "Ann", "acme"), ("bob", "Bob", "acme"), ("eve", "Eve", "other")];

async fn by_token(request: ConnectRequest) -> Result<Identity, Refusal> {
    let token = request.token().ok_or_else(|| Refusal::unauthorized("no token"))?;
    let found = TOKENS.iter().find(|(known, ..)| *known == token);
    let (_, user, tenant) = found.ok_or_else(|| Refusal::unauthorized("unknown token"))?;
    Ok(Identity::user(user).with_tenant(tenant))
}

/// Allows the rooms of the user's tenant, which are named `tenant/room`.
async fn own_tenant(cx: Context, room: String) -> RoomAccess {
    if is_of_tenant(cx.identity(), &room) { RoomAccess::Allow } else { RoomAccess::Deny }
}

fn is_of_tenant(identity: &Identity, room: &str) -> bool {
    room.split_once('/').is_some_and(|(tenant, _)| identity.tenant_name() == Some(tenant))
}

#[derive(Deserialize)]
struct ChatSend {
    channel: String,
    text: String,
}

#[derive(Deserialize)]
struct Typing {
    channel: String,
    typing: bool,
}

/// Sends a text to the others in its room. "Self" is this connection only: a client that reconnects
/// has another one, and may get its own last message as one that it missed.
async fn chat(cx: Context, message: ChatSend) -> Result<Receipt, HandlerError> {
    let user = may_write(&cx, &message.channel)?;
    let value = json!({ "user": user, "channel": message.channel, "text": message.text });
    Ok(cx.to_room(&message.channel).except_self().send("chat:message", &value).await?)
}

/// Sends a typing indicator: volatile, so that it is not kept for clients that reconnect, and
/// dropped first for a slow one.
async fn typing(cx: Context, now: Typing) -> Result<Receipt, HandlerError> {
    let user = may_write(&cx, &now.channel)?;
    let value = json!({ "user": user, "channel": now.channel, "isTyping": now.typing });
    // The user's other tabs do not need it either.
    Ok(cx.to_room(&now.channel).except_user(user).as_volatile().send("typing:indicator", &value).await?)
}

/// Returns the user that may write to the room: the policy decides who enters one, and the handler
/// who may send to one.
fn may_write<'a>(cx: &'a Context, room: &str) -> Result<&'a str, HandlerError> {
    let user = cx.identity().user_name().filter(|_| is_of_tenant(cx.identity(), room));
    user.ok_or_else(|| HandlerError::new("forbidden", "not your room"))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    realtime_examples::start_log();
    let args = Args::parse();
    let service = NotificationService::builder()
        .provider(WsProvider::new(WsConfig::default()))
        .on("chat:send", chat)
        .on("typing", typing)
        .authenticator(by_token)
        .room_policy(own_tenant)
        .build()
        .await?;

    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}\ntry: npx wscat -c 'ws://{address}/ws?token=ann&channel=acme/general'");
    serve(listener, service.router()).await?;
    Ok(())
}
