//! Rooms and acks over Socket.IO: users that the server joins to a room, clients that enter one
//! themselves, and questions in both directions.
//!
//! A client connects with `io(url, { auth: { user: 'ann' } })`.

use std::collections::BTreeMap;
use std::error::Error;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::{Path, State};
use axum::routing::{get, post};
use axum::{Json, Router};
use clap::Parser;
use realtime_unified::prelude::*;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3003")]
    listen: SocketAddr,
}

/// Believes `auth.user`. An application verifies `auth.token`.
async fn by_name(request: ConnectRequest) -> Result<Identity, Refusal> {
    let user = request.auth_text("user").ok_or_else(|| Refusal::unauthorized("auth.user is missing"))?;
    Ok(Identity::user(user))
}

/// Decides about `auth.rooms` and the event `join`: every client may enter public rooms.
async fn public_rooms(_: Context, room: String) -> RoomAccess {
    if room.starts_with("public/") { RoomAccess::Allow } else { RoomAccess::Deny }
}

/// The messages by room, as long as the program runs. An application has its database here.
#[derive(Clone, Default)]
struct Messages(Arc<Mutex<BTreeMap<String, Vec<Value>>>>);

impl Messages {
    fn save(&self, room: &str, message: Value) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).entry(room.to_owned()).or_default().push(message);
    }

    fn of_room(&self, room: &str) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get(room).cloned().unwrap_or_default()
    }
}

#[derive(Deserialize)]
struct Say {
    room: String,
    text: String,
}

/// Handles `emit('say', …, callback)`: answers with the message's position in the log.
async fn say(cx: Context, say: Say) -> Result<Reply<Value>, HandlerError> {
    if !say.room.starts_with("public/") {
        return Err(HandlerError::new("forbidden", "only public rooms may be written to"));
    }
    let message = json!({ "from": cx.identity().user_name(), "text": say.text });
    let receipt = cx.to_room(&say.room).except_self().send("said", &message).await?;
    // The builder's `state(…)` is available in every handler, hook and policy.
    cx.state::<Messages>()?.save(&say.room, message);
    Ok(Reply(json!({ "position": receipt.position })))
}

/// Handles `emit('history', room, callback)`: answers with all messages of a room.
async fn history(cx: Context, room: String) -> Result<Reply<Vec<Value>>, HandlerError> {
    if !cx.is_in_room(&room) {
        return Err(HandlerError::new("forbidden", "not a member"));
    }
    Ok(Reply(cx.state::<Messages>()?.of_room(&room)))
}

type Service = State<NotificationService>;

/// Handles `POST /rooms/{room}/members/{user}`: joins all of the user's connections, later ones
/// included. No policy is asked.
async fn join(State(service): Service, Path((room, user)): Path<(String, String)>) -> Result<(), Rejection> {
    Ok(service.join_room(&user, &room).await.map(drop)?)
}

/// Handles `DELETE /rooms/{room}/members/{user}`.
async fn leave(State(service): Service, Path((room, user)): Path<(String, String)>) -> Result<(), Rejection> {
    Ok(service.leave_room(&user, &room).await.map(drop)?)
}

/// Handles `GET /users/{user}/rooms`.
async fn rooms_of(State(service): Service, Path(user): Path<String>) -> Result<Json<Vec<String>>, Rejection> {
    Ok(Json(service.user_rooms(&user).await?))
}

/// Handles `POST /rooms/{room}/question`: asks every member, and shows each answer and each member
/// without one.
async fn ask(
    State(service): Service,
    Path(room): Path<String>,
    Json(question): Json<Value>,
) -> Result<Json<Vec<Value>>, Rejection> {
    let event = Event::json("question", &question)?;
    // `next()` in place of `all()` gives each answer as it arrives.
    let acks = service.ask_each(Target::room(room), event, Duration::from_secs(5)).await?.all().await;
    let shown = acks.into_iter().map(|ack| {
        let answer = ack.json::<Value>().unwrap_or_default();
        json!({ "connection": ack.connection, "status": ack.status, "ms": ack.elapsed.as_millis(), "answer": answer })
    });
    Ok(Json(shown.collect()))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    realtime_examples::start_log();
    let args = Args::parse();
    let service = NotificationService::builder()
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .on("say", say)
        .on("history", history)
        .state(Messages::default())
        .authenticator(by_name)
        .room_policy(public_rooms)
        .build()
        .await?;
    let app = Router::new()
        .route("/rooms/{room}/members/{user}", post(join).delete(leave))
        .route("/rooms/{room}/question", post(ask))
        .route("/users/{user}/rooms", get(rooms_of))
        .with_state(service.clone())
        .merge(service.router());

    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    // The requests of socket.io-client by hand: a session, a CONNECT, and the first events.
    println!("listening on http://{address}\ntry: {}", realtime_examples::socket_io_by_hand(address));
    serve(listener, app).await?;
    Ok(())
}
