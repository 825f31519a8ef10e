use std::time::Duration;

use realtime_unified::prelude::*;
use realtime_unified::{Inbound, NotificationServiceBuilder, Payload};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct ChatSend {
    channel: String,
    text: String,
}

#[derive(Deserialize)]
struct Typing {
    channel: String,
}

/// Adds the handlers of the events that clients may send, over WebSocket and Socket.IO alike.
pub(crate) fn register(service: NotificationServiceBuilder) -> NotificationServiceBuilder {
    service.on_raw("echo", echo).on("chat:send", chat).on("typing:start", typing).on("wait", wait).on("say", say)
}

/// Answers with the same payload, bytes included: as the ack if the client asked for one, else as
/// an event of the same name.
async fn echo(cx: Context, inbound: Inbound) -> Result<Option<Payload>, HandlerError> {
    let payload = Payload::from(inbound.payload);
    if inbound.ack.is_some() {
        return Ok(Some(payload));
    }
    cx.to(Target::connection(cx.connection_id())).send_payload("echo", payload).await?;
    Ok(None)
}

#[derive(Deserialize)]
struct Say {
    room: String,
    text: String,
}

/// Sends a text to all members of its room, over whatever they are connected with, and answers
/// nothing.
async fn say(cx: Context, Say { room, text }: Say) -> Result<(), HandlerError> {
    check_member(&cx, &room)?;
    cx.to_room(&room).send("said", &json!({ "text": text })).await?;
    Ok(())
}

/// Sends a text to the others in its room, over whatever they are connected with.
async fn chat(cx: Context, message: ChatSend) -> Result<Receipt, HandlerError> {
    check_member(&cx, &message.channel)?;
    let user = cx.identity().user_name().unwrap_or("somebody").to_owned();
    let value = json!({ "user": user, "channel": message.channel, "text": message.text });
    Ok(cx.to_room(&message.channel).except_self().send("chat:message", &value).await?)
}

/// Sends a typing indicator to the others in a room: volatile, since a lost one does not matter.
async fn typing(cx: Context, typing: Typing) -> Result<Receipt, HandlerError> {
    check_member(&cx, &typing.channel)?;
    let user = cx.identity().user_name().unwrap_or("somebody").to_owned();
    Ok(cx
        .to_room(&typing.channel)
        .except_self()
        .as_volatile()
        .send("typing:indicator", &json!({ "user": user }))
        .await?)
}

/// Answers after so many milliseconds, at most 10,000, so that a shutdown has a handler to wait
/// for.
async fn wait(_: Context, millis: u64) -> Reply<u64> {
    let millis = millis.min(10_000);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Reply(millis)
}

/// Rejects a client that is not in the room.
fn check_member(cx: &Context, room: &str) -> Result<(), HandlerError> {
    if cx.is_in_room(room) { Ok(()) } else { Err(HandlerError::new("not_in_room", "join the room first")) }
}
