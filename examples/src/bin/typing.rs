//! Typing indicators in rooms of which each belongs to a tenant, over WebSocket.
//!
//! Connect to `/ws?token=ann&channel=acme/general`, or send `{"type":"subscribe","payload":{"channel":"acme/general"}}`
//! later; then `{"type":"chat:send","payload":{"channel":"acme/general","text":"hi"}}`.

use std::error::Error;
use std::net::SocketAddr;

use clap::Parser;
use realtime_unified::{
    Authenticator, ConnectRequest, Context, HandlerError, Identity, NotificationService, Receipt, Refusal, RoomAccess,
    RoomPolicy, WsConfig, WsProvider, serve,
};
use realtime_unified::{Handlers, async_trait};
use serde::Deserialize;
use serde_json::json;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3007")]
    listen: SocketAddr,
}

/// Token, user, tenant. An application looks into its sessions, or verifies a signed token.
const TOKENS: [(&str, &str, &str); 3] = [("ann", "Ann", "acme"), ("bob", "Bob", "acme"), ("eve", "Eve", "other")];

struct Tokens;

#[async_trait]
impl Authenticator for Tokens {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        let token = request.token().ok_or(Refusal::unauthorized("no token"))?;
        let found = TOKENS.iter().find(|(known, ..)| *known == token);
        let (_, user, tenant) = found.ok_or(Refusal::unauthorized("unknown token"))?;
        Ok(Identity::user(*user).with_tenant(*tenant))
    }
}

/// Rooms are named `tenant/room`, and are open to the people of that tenant.
struct OwnTenant;

impl OwnTenant {
    fn lets(identity: &Identity, room: &str) -> bool {
        room.split_once('/').is_some_and(|(tenant, _)| identity.tenant_name() == Some(tenant))
    }
}

#[async_trait]
impl RoomPolicy for OwnTenant {
    async fn access(&self, cx: &Context, room: &str) -> RoomAccess {
        if Self::lets(cx.identity(), room) { RoomAccess::Allow } else { RoomAccess::Deny }
    }
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

/// Passes a text on to the others in its room. To "self" belongs this connection only: a client that comes back is another
/// one, and may be given its own last message as one it missed.
async fn chat(cx: Context, message: ChatSend) -> Result<Receipt, HandlerError> {
    let user = may_write(&cx, &message.channel)?;
    let value = json!({ "user": user, "channel": message.channel, "text": message.text });
    Ok(cx.to_room(&message.channel).except_self().send("chat:message", &value).await?)
}

/// Volatile: not kept for those who come back, and the first thing to be dropped for a slow client.
async fn typing(cx: Context, now: Typing) -> Result<Receipt, HandlerError> {
    let user = may_write(&cx, &now.channel)?;
    let value = json!({ "user": user, "channel": now.channel, "isTyping": now.typing });
    // The user's other tabs need not be told either.
    Ok(cx.to_room(&now.channel).except_user(user).volatile().send("typing:indicator", &value).await?)
}

/// The policy guards who enters a room; who may send to one is for the handler to say.
fn may_write<'a>(cx: &'a Context, room: &str) -> Result<&'a str, HandlerError> {
    let user = cx.identity().user_name().filter(|_| OwnTenant::lets(cx.identity(), room));
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
        .authenticator(Tokens)
        .room_policy(OwnTenant)
        .build()
        .await?;

    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}\ntry: npx wscat -c 'ws://{address}/ws?token=ann&channel=acme/general'");
    serve(listener, service.router()).await?;
    Ok(())
}
