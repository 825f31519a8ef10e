use std::time::Duration;

use realtime_unified::{
    Context, HandlerError, Handlers, Inbound, NotificationServiceBuilder, Payload, Receipt, Reply, Result, Target,
};
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

/// What clients may send, over WebSocket and Socket.IO alike.
pub(crate) fn register(service: NotificationServiceBuilder) -> NotificationServiceBuilder {
    service.on_raw("echo", echo).on("chat:send", chat).on("typing:start", typing).on("wait", wait).on("say", say)
}

/// Answers what it was sent, bytes included: as the ack if the client asked for one, else as an event of the same name.
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

/// Passes a text on to all in its room, over whatever they are connected with, and has nothing to answer.
async fn say(cx: Context, Say { room, text }: Say) -> Result<(), HandlerError> {
    check_member(&cx, &room)?;
    cx.to_room(&room).send("said", &json!({ "text": text })).await?;
    Ok(())
}

/// Passes a text on to the others in its room, over whatever they are connected with.
async fn chat(cx: Context, message: ChatSend) -> Result<Receipt, HandlerError> {
    check_member(&cx, &message.channel)?;
    let user = cx.identity().user_name().unwrap_or("somebody").to_owned();
    let value = json!({ "user": user, "channel": message.channel, "text": message.text });
    Ok(cx.to_room(&message.channel).except_self().send("chat:message", &value).await?)
}

/// Tells the others in a room that somebody is typing; nobody misses it if it is lost.
async fn typing(cx: Context, typing: Typing) -> Result<Receipt, HandlerError> {
    check_member(&cx, &typing.channel)?;
    let user = cx.identity().user_name().unwrap_or("somebody").to_owned();
    Ok(cx.to_room(&typing.channel).except_self().volatile().send("typing:indicator", &json!({ "user": user })).await?)
}

/// Answers after so many milliseconds, at most 10,000: what a shutdown waits for.
async fn wait(_: Context, millis: u64) -> Reply<u64> {
    let millis = millis.min(10_000);
    tokio::time::sleep(Duration::from_millis(millis)).await;
    Reply(millis)
}

/// Who is not in a room does not write into it.
fn check_member(cx: &Context, room: &str) -> Result<(), HandlerError> {
    if cx.is_in_room(room) { Ok(()) } else { Err(HandlerError::new("not_in_room", "join the room first")) }
}
