//! Each program on a free port, and one thing done with it that shows its idea.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use futures_util::{SinkExt, StreamExt};
use realtime_testkit::{ClientError, SseClient, WsClient};
use reqwest::StatusCode;
use serde_json::{Value, json};
use support::{Polling, Program, http, refused, shell, within};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

async fn sse(url: String) -> SseClient {
    let mut client = SseClient::connect(url).await.unwrap();
    client.next_of("connected").await.unwrap();
    client
}

async fn ws(url: String) -> WsClient {
    let mut client = WsClient::connect(url).await.unwrap();
    client.next_of("connected").await.unwrap();
    client
}

async fn post(url: String, body: &Value) -> reqwest::Response {
    let response = within("an answer", http().post(&url).json(body).send()).await.unwrap();
    assert!(response.status().is_success(), "{url}: {}", response.status());
    response
}

#[tokio::test]
async fn dashboard_sends_metrics_to_members_and_a_count_to_all() {
    let program = Program::start(env!("CARGO_BIN_EXE_dashboard"), &[]).await;
    let page = within("the page", http().get(&program.url).send()).await.unwrap().text().await.unwrap();
    assert!(page.contains("new EventSource("), "{page}");

    let mut watcher = sse(format!("{}/sse?channel=dashboard&user=ann", program.url)).await;
    let mut other = sse(format!("{}/sse", program.url)).await;
    let mut metrics: Value = watcher.next_of("metric-update").await.unwrap().json();
    if metrics["users"] == 0 {
        // Counted just before this connection was.
        metrics = watcher.next_of("metric-update").await.unwrap().json();
    }
    assert_eq!(metrics["users"], 1);
    watcher.next_of("online").await.unwrap();
    // Two rounds for everyone, and no metrics between them.
    for _ in 0..2 {
        assert_eq!(other.next().await.unwrap().event, "online");
    }
    let denied = SseClient::connect(format!("{}/sse?channel=secret", program.url)).await;
    assert!(matches!(denied, Err(ClientError::Refused { status: 403, .. })), "{denied:?}");
}

#[tokio::test]
async fn chat_connects_users_of_all_transports() {
    let program = Program::start(env!("CARGO_BIN_EXE_chat"), &[]).await;
    let mut ann = sse(format!("{}/sse?user=ann&channel=lobby", program.url)).await;
    let mut bob = ws(format!("{}/ws?user=bob&channel=lobby", program.ws_url())).await;
    let mut eve = Polling::connect(&program.url, &json!({ "user": "eve", "room": "lobby" })).await;
    let mut outside = ws(format!("{}/ws?user=out", program.ws_url())).await;

    let posted = http().post(format!("{}/say?user=ann", program.url)).body("by post").send();
    assert_eq!(within("an answer", posted).await.unwrap().status(), StatusCode::OK);
    bob.request("say", "by ws").await.unwrap();
    eve.emit(None, &json!(["say", "by socket"])).await;
    for (user, text) in [("ann", "by post"), ("bob", "by ws"), ("eve", "by socket")] {
        let said = json!({ "user": user, "text": text });
        assert_eq!(ann.next_of("said").await.unwrap().json::<Value>(), said);
        assert_eq!(bob.next_of("said").await.unwrap().payload, said);
        assert_eq!(eve.event("said").await.arguments[0], said);
    }
    // A client outside the room gets nothing until it enters.
    outside.request("subscribe", "lobby").await.unwrap();
    bob.request("say", "last").await.unwrap();
    assert_eq!(outside.next_event().await.unwrap().payload["text"], "last");
    let posted = http().post(format!("{}/say", program.url)).body("by nobody").send();
    assert_eq!(within("a refusal", posted).await.unwrap().status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn typing_reaches_only_the_others_in_the_room() {
    let program = Program::start(env!("CARGO_BIN_EXE_typing"), &[]).await;
    let mut ann = ws(format!("{}/ws?token=ann&channel=acme/general", program.ws_url())).await;
    let mut bob = ws(format!("{}/ws?token=bob", program.ws_url())).await;
    let mut eve = ws(format!("{}/ws?token=eve", program.ws_url())).await;
    bob.request("subscribe", &json!({ "channel": "acme/general" })).await.unwrap();
    eve.request("subscribe", &json!({ "channel": "acme/general" })).await.unwrap_err();

    ann.send("typing", &json!({ "channel": "acme/general", "typing": true })).await.unwrap();
    let typing = bob.next_of("typing:indicator").await.unwrap();
    assert_eq!(typing.payload, json!({ "user": "Ann", "channel": "acme/general", "isTyping": true }));
    ann.send("chat:send", &json!({ "channel": "acme/general", "text": "hi" })).await.unwrap();
    let message = bob.next_of("chat:message").await.unwrap();
    assert_eq!(message.payload, json!({ "user": "Ann", "channel": "acme/general", "text": "hi" }));

    // The next event that Ann gets is Bob's: neither her own message nor what Eve tried to send.
    eve.request("chat:send", &json!({ "channel": "acme/general", "text": "psst" })).await.unwrap_err();
    bob.send("chat:send", &json!({ "channel": "acme/general", "text": "hello" })).await.unwrap();
    assert_eq!(ann.next_event().await.unwrap().payload["text"], "hello");
}

#[tokio::test]
async fn echo_sends_back_text_and_bytes() {
    let program = Program::start(env!("CARGO_BIN_EXE_echo"), &[]).await;
    let (mut socket, _) = within("the handshake", connect_async(format!("{}/ws", program.ws_url()))).await.unwrap();
    let mut next = async |message: Option<Message>| {
        if let Some(message) = message {
            socket.send(message).await.unwrap();
        }
        within("a message", socket.next()).await.unwrap().unwrap()
    };
    let welcome = next(None).await;
    assert!(welcome.to_text().unwrap().contains("connected"), "{welcome}");
    for message in [Message::text("grüezi"), Message::binary(vec![0, 1, 255]), Message::text("")] {
        assert_eq!(next(Some(message.clone())).await, message);
    }
    let answer = next(Some(Message::text(r#"{"type":"echo","payload":[1],"ack":3}"#))).await;
    assert_eq!(answer, Message::text(r#"{"type":"ack","ack":3,"payload":[1]}"#));
}

#[tokio::test]
async fn rooms_asks_members_and_answers_clients() {
    let program = Program::start(env!("CARGO_BIN_EXE_rooms"), &[]).await;
    let mut ann = Polling::connect(&program.url, &json!({ "user": "ann" })).await;
    let mut bob = Polling::connect(&program.url, &json!({ "user": "bob", "rooms": ["public/tea"] })).await;
    for client in [&mut ann, &mut bob] {
        assert_eq!(client.event("connected").await.arguments[0]["reason"], "new");
    }

    // A client enters a room itself, and sends something to the others in it.
    ann.emit(Some(1), &json!(["join", "public/tea"])).await;
    assert_eq!(ann.answered(1).await, [json!(true)]);
    ann.emit(Some(2), &json!(["say", { "room": "public/tea", "text": "hi" }])).await;
    assert!(ann.answered(2).await[0]["position"].is_u64());
    let said = bob.event("said").await.arguments;
    assert_eq!(said[0], json!({ "from": "ann", "text": "hi" }));
    assert!(said[1].is_string(), "a cursor: {said:?}");
    ann.emit(Some(3), &json!(["join", "staff"])).await;
    assert_eq!(ann.answered(3).await[0]["error"]["code"], "room");
    bob.emit(Some(1), &json!(["history", "public/tea"])).await;
    assert_eq!(bob.answered(1).await, [json!([{ "from": "ann", "text": "hi" }])]);
    bob.emit(Some(2), &json!(["history", "staff"])).await;
    assert_eq!(bob.answered(2).await[0]["error"]["code"], "forbidden");

    // The server joins a user to any room, and asks its members.
    post(format!("{}/rooms/staff/members/ann", program.url), &json!(null)).await;
    let rooms = http().get(format!("{}/users/ann/rooms", program.url)).send();
    let rooms: Value = within("the rooms", rooms).await.unwrap().json().await.unwrap();
    assert_eq!(rooms, json!(["public/tea", "staff"]));
    let url = format!("{}/rooms/staff/question", program.url);
    let asked = tokio::spawn(async move { post(url, &json!({ "ready": null })).await });
    let question = ann.event("question").await;
    assert_eq!(question.arguments, [json!({ "ready": null })]);
    ann.answer(question.ack.unwrap(), &json!([{ "ready": true }])).await;
    let answers: Vec<Value> = within("the answers", asked).await.unwrap().json().await.unwrap();
    assert_eq!(answers.len(), 1, "{answers:?}");
    assert_eq!(answers[0]["status"], "answered");
    assert_eq!(answers[0]["answer"], json!({ "ready": true }));
}

#[tokio::test]
async fn domain_events_reach_admins_and_the_user() {
    let program = Program::start(env!("CARGO_BIN_EXE_domain_events"), &[]).await;
    let mut admin = sse(format!("{}/sse?token=admin&channel=admin-dashboard", program.url)).await;
    let mut user = ws(format!("{}/ws?token=user:u-1", program.ws_url())).await;
    let curious = SseClient::connect(format!("{}/sse?token=user:u-2&channel=admin-dashboard", program.url)).await;
    assert!(matches!(curious, Err(ClientError::Refused { status: 403, .. })), "{curious:?}");

    let registered = json!({ "userId": "u-1", "email": "ann@example.com" });
    post(format!("{}/register", program.url), &registered).await;
    assert_eq!(admin.next_of("user:registered").await.unwrap().json::<Value>(), registered);
    assert_eq!(user.next_of("notification").await.unwrap().payload["title"], "Welcome!");
}

#[tokio::test]
async fn own_routes_identify_the_signed_in_user() {
    let program = Program::start(env!("CARGO_BIN_EXE_own_route"), &[]).await;
    let nobody = SseClient::connect(format!("{}/api/events", program.url)).await;
    assert!(matches!(nobody, Err(ClientError::Refused { status: 401, .. })), "{nobody:?}");

    let events = format!("{}/api/events", program.url);
    let mut stream = SseClient::new(events).with_header("cookie", "a=b; session=s-bob");
    stream.next_of("connected").await.unwrap();
    let mut socket = WsClient::new(format!("{}/api/socket", program.ws_url())).with_header("cookie", "session=s-bob");
    socket.next_of("connected").await.unwrap();
    let notify = async |session: &str, text: &str| {
        let url = format!("{}/api/notify/bob", program.url);
        let request = http().post(url).header("cookie", format!("session={session}")).json(text);
        let response = within("an answer", request.send()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        response.json::<Value>().await.unwrap()
    };
    // Eve is of another team: her message reaches no connection, and Ann's is the first to arrive.
    assert_eq!(notify("s-eve", "psst").await, json!({ "connections": 0 }));
    assert_eq!(notify("s-ann", "hi").await, json!({ "connections": 2 }));
    let expected = json!({ "from": "ann", "text": "hi" });
    assert_eq!(stream.next().await.unwrap().json::<Value>(), expected);
    assert_eq!(socket.next_event().await.unwrap().payload, expected);
}

#[tokio::test]
async fn configured_provider_carries_the_notifications() {
    let file = std::env::temp_dir().join(format!("configured-{}.json", std::process::id()));
    std::fs::write(&file, r#"{"provider": "ws"}"#).unwrap();
    let program = Program::start(env!("CARGO_BIN_EXE_configured"), &["--config", file.to_str().unwrap()]).await;
    std::fs::remove_file(&file).unwrap();
    let mut client = ws(format!("{}/ws?user=ann", program.ws_url())).await;
    post(format!("{}/notify/ann", program.url), &json!({ "n": 1 })).await;
    assert_eq!(client.next_of("notification").await.unwrap().payload, json!({ "n": 1 }));
    drop(program);

    let program = Program::start(env!("CARGO_BIN_EXE_configured"), &["--provider", "socket"]).await;
    let mut client = Polling::connect(&program.url, &json!({ "user": "ann" })).await;
    client.event("connected").await;
    post(format!("{}/notify/ann", program.url), &json!({ "n": 2 })).await;
    assert_eq!(client.event("notification").await.arguments[0], json!({ "n": 2 }));
}

#[tokio::test]
async fn unknown_provider_ends_the_program_with_the_known_names() {
    let said = refused(env!("CARGO_BIN_EXE_configured"), &["--provider", "smtp"]).await;
    // After the log's first line.
    assert!(said.ends_with("\nerror: unknown provider \"smtp\"; registered: sse, ws, socket\n"), "{said}");
}

#[tokio::test]
async fn jwt_connects_with_tokens_and_tickets() {
    let program = Program::start(env!("CARGO_BIN_EXE_jwt"), &[]).await;
    let login = async |name: &'static str| {
        let answer = within("a token", http().post(format!("{}/login", program.url)).body(name).send()).await.unwrap();
        format!("Bearer {}", answer.text().await.unwrap())
    };
    let (ann, bob) = (login("ann").await, login("bob").await);
    let exchange = http().post(format!("{}/ticket", program.url)).header("authorization", &bob).send();
    let answer: Value = within("a ticket", exchange).await.unwrap().json().await.unwrap();
    let mut reader = sse(format!("{}/sse?ticket={}", program.url, answer["ticket"].as_str().unwrap())).await;
    let socket = |token: &str| WsClient::new(format!("{}/ws", program.ws_url())).with_header("authorization", token);
    let (mut writer, mut other) = (socket(&ann), socket(&bob));
    assert!(writer.request("publish", "hello").await.is_ok());
    assert_eq!(reader.next_of("published").await.unwrap().json::<String>(), "hello");
    let refused = other.request("publish", "hello").await;
    assert!(matches!(&refused, Err(ClientError::Protocol(error)) if error.contains("forbidden")), "{refused:?}");
    let expired = SseClient::connect(format!("{}/sse", program.url)).await;
    assert!(matches!(expired, Err(ClientError::Refused { status: 401, .. })), "{expired:?}");
}

/// Each program prints a line to try, which shows an event.
#[tokio::test]
async fn printed_line_of_each_program_shows_an_event() {
    let programs: [(&str, &[&str]); 11] = [
        (env!("CARGO_BIN_EXE_chat"), &[]),
        (env!("CARGO_BIN_EXE_dashboard"), &[]),
        (env!("CARGO_BIN_EXE_domain_events"), &[]),
        (env!("CARGO_BIN_EXE_echo"), &[]),
        (env!("CARGO_BIN_EXE_jwt"), &[]),
        (env!("CARGO_BIN_EXE_own_route"), &[]),
        (env!("CARGO_BIN_EXE_rooms"), &[]),
        (env!("CARGO_BIN_EXE_typing"), &[]),
        (env!("CARGO_BIN_EXE_configured"), &["--provider", "sse"]),
        (env!("CARGO_BIN_EXE_configured"), &["--provider", "ws"]),
        (env!("CARGO_BIN_EXE_configured"), &["--provider", "socket"]),
    ];
    for (binary, arguments) in programs {
        let program = Program::start(binary, arguments).await;
        if let Some(url) = program.attempt.strip_prefix("npx wscat -c ") {
            ws(url.trim_matches('\'').to_owned()).await;
        } else {
            let shown = within("an event", shell(&program.attempt, "connectionId")).await;
            assert!(shown.contains("connectionId"), "{}: {shown}", program.attempt);
        }
    }
}
