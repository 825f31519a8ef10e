//! Constructs of a first program, each of which once was a mistake: this file has to compile.
//!
//! A test of its own and no `pass` case of trybuild, which would build all dependencies again.

use std::num::ParseIntError;
use std::time::Duration;

use realtime_testkit::{MockRealtimeBroadcast, MockRealtimeProvider, RecordingProvider};
use realtime_unified::config::{Limits, OutboxConfig, WindowConfig};
use realtime_unified::prelude::*;

/// An order of a user's, whose name is a `String`.
struct Order {
    buyer: String,
}

/// The standard `Result` beside the prelude.
fn number_of(text: &str) -> Result<u32, ParseIntError> {
    text.parse()
}

/// A function in the place of a closure.
async fn by_name(request: ConnectRequest) -> Result<Identity, Refusal> {
    let name = request.query("user").ok_or_else(|| Refusal::unauthorized("say who you are"))?;
    Ok(Identity::user(&*name))
}

/// A handler whose errors are any: those of a library, and the application's own.
async fn double(cx: Context, text: String) -> Result<Reply<u32>, HandlerError> {
    let number = number_of(&text)?;
    cx.reply("doubling", &number).await?;
    if number > 1000 {
        return Err(HandlerError::new("too_much", "at most 1000"));
    }
    Ok(Reply(2 * number))
}

async fn paid(service: &NotificationService, order: &Order) -> Result<Receipt, Rejection> {
    service.broadcast_to_user("ws", &order.buyer, "paid", &1).await?;
    service.to_user(&order.buyer, "paid", &1).await?;
    Ok(service.send(Target::user(&order.buyer), Event::json("paid", &1)?).await?)
}

fn builders() {
    let limits = Limits::default().with_connections_per_user(3);
    let config = WsConfig::default()
        .with_limits(limits)
        .with_outbox(OutboxConfig::default())
        .with_window(WindowConfig::default().with_age(Duration::from_secs(60)));
    let secret = String::from("secret");
    let _ = NotificationService::builder()
        .provider(WsProvider::new(config).on_text(async |_, text: String| text.to_uppercase()))
        .authenticator(async move |request: ConnectRequest| match request.token() {
            Some(token) if token == "public" => Ok(Identity::anonymous()),
            _ => Err(Refusal::unauthorized("unknown token")),
        })
        .room_policy(async |_: Context, room: String| match room.as_str() {
            "lobby" => RoomAccess::Allow,
            _ => RoomAccess::Deny,
        })
        .on("double", double)
        .on("ping", async |_, (): ()| Reply("pong"))
        .on("say", async |cx, text: String| cx.to_room_as_member("lobby").send("said", &text).await);
    let _ = NotificationService::builder().authenticator(by_name);
    let _ = NotificationService::builder().authenticator(StaticTokens::new([(secret, Identity::user("ann"))]));
}

#[test]
fn first_programs_compile() {
    builders();
    let order = Order { buyer: String::from("ann") };
    let mock = MockRealtimeProvider::named("ws", MockRealtimeBroadcast::new());
    let service = NotificationService::mocked((mock, RecordingProvider::new("sse")));
    let _ = NotificationService::mocked([RecordingProvider::new("ws"), RecordingProvider::new("sse")]);
    drop(paid(&service, &order));
    assert_eq!(Identity::user(&order.buyer).user_name(), Some("ann"));
}
