//! The spans: those that the documents name, what is in their fields, and that a healthy connection
//! logs nothing for an event.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::capture::Capture;
use crate::support::{Collector, accepted_socket, by_token, get, sse_client, start, text_with, ws_client};
use futures_util::SinkExt;
use realtime_testkit::{WsClient, eventually};
use realtime_unified::{
    AllowRooms, Context, Event, HandlerError, Handlers, NotificationService, NotificationServiceBuilder, Reply,
    SocketIoConfig, SocketIoProvider, SseConfig, SseProvider, Target, WsConfig, WsProvider,
};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;
use tracing_subscriber::{EnvFilter, prelude::*};

const DOCUMENT: &str = include_str!("../../docs/tracing.md");
const LONG: Duration = Duration::from_secs(60);

fn builder() -> NotificationServiceBuilder {
    NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .authenticator(by_token)
        .room_policy(AllowRooms)
        .on("say", async |cx: Context, text: String| cx.to_all().send("said", &text).await)
        .on("echo", async |_: Context, value: Value| Reply(value))
        .on("fail", async |_: Context, ()| Err::<(), _>(HandlerError::new("no", "on purpose")))
}

/// The name of a span or an event, with its level and its fields.
type Documented = BTreeMap<String, (String, BTreeSet<String>)>;

/// Reads the rows of a table whose first title is this.
fn documented(title: &str) -> Documented {
    let mut lines = DOCUMENT.lines().skip_while(|line| !line.starts_with(&format!("| {title} |"))).skip(2).peekable();
    assert!(lines.peek().is_some(), "a table of {title}s");
    let rows = lines.take_while(|line| line.starts_with('|')).map(|line| {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let fields = cells[3].split(", ").map(|field| field.trim_matches('`').to_owned()).collect();
        (cells[1].trim_matches('`').to_owned(), (cells[2].to_owned(), fields))
    });
    rows.collect()
}

/// Has every span made, over all transports; returns once all of them are.
async fn traffic(service: &NotificationService, address: SocketAddr) {
    let ws = WsClient::new(format!("ws://{address}/ws?token=ann")).without_reconnect();
    let mut ws = ws.answer_asks(|ask| Some(ask.payload.clone()));
    ws.next_of("connected").await.unwrap();
    let mut sse = sse_client(address, "/sse?token=ann").await;
    let mut socket = accepted_socket(address, "ann", "").await;
    ws.request("say", "from ws").await.unwrap();
    socket.send(Message::text(r#"421["say","from socket"]"#)).await.unwrap();
    text_with(&mut socket, "431").await;
    assert!(ws.request("fail", &()).await.is_err());
    let answering = tokio::spawn(async move { while ws.next_event().await.is_ok() {} });
    let acks = service.ask("ann", Event::json("dinner?", "pizza").unwrap(), LONG).await.unwrap();
    text_with(&mut socket, "42").await;
    // One answers, and the other one is not waited for.
    let mut acks = acks;
    acks.next().await.unwrap();
    drop(acks);
    service.send(Target::all(), Event::json("volatile", &1).unwrap().as_volatile()).await.unwrap();
    sse.next_of("volatile").await.unwrap();
    answering.abort();
}

#[tokio::test(flavor = "current_thread")]
async fn documented_spans_are_those_that_are_recorded() {
    let (capture, _guard) = Capture::install();
    let (service, address) = start(builder()).await;
    traffic(&service, address).await;
    let mut spans = Documented::new();
    let mut events = Documented::new();
    for captured in capture.all().into_iter().filter(|captured| captured.target == "realtime_core") {
        let fields = captured.declared.iter().map(|&field| field.to_owned()).collect();
        let all = if captured.parent.is_some() && ["ack", "delivered"].contains(&&*captured.name) {
            &mut events
        } else {
            &mut spans
        };
        all.insert(captured.name, (captured.level.to_string(), fields));
    }
    assert_eq!(spans, documented("span"));
    assert_eq!(events, documented("event"));
}

#[tokio::test(flavor = "current_thread")]
async fn spans_correlate_and_are_nested() {
    let (capture, _guard) = Capture::install();
    let (service, address) = start(builder()).await;
    let mut ws = ws_client(address, "/ws?token=ann").await;
    ws.request("say", "hello").await.unwrap();
    let said = ws.next_of("said").await.unwrap();
    let of = |name: &str| capture.named(name).pop().unwrap_or_else(|| panic!("{name}"));
    let connection = of("connection").values["connection"].clone();
    assert_eq!(of("handshake").values["connection"], connection);
    assert_eq!((&*of("handshake").values["outcome"], &*of("handshake").values["user"]), ("accepted", "ann"));
    assert_eq!(of("inbound").values["connection"], connection);
    assert_eq!((&*of("inbound").values["name"], &*of("inbound").values["outcome"]), ("say", "ok"));
    assert_eq!(of("publish").values["event"], of("deliver").values["event"]);
    assert_eq!((&*of("publish").values["to"], &*of("publish").values["position"]), ("all", "1"));
    let counts = ["matched", "queued", "dropped"].map(|field| of("deliver").values[field].clone());
    assert_eq!(counts, ["1", "1", "0"]);
    assert_eq!(of("delivered").values["connection"], connection);
    let chain = ["inbound", "handler", "publish", "deliver", "delivered"];
    for pair in chain.windows(2) {
        assert_eq!(of(pair[1]).parent.as_deref(), Some(pair[0]), "{pair:?}");
    }
    // The handshake's span ends with the handshake.
    assert_eq!(of("connection").parent, None);
    assert_eq!(said.payload, "hello");
    drop(service);
}

#[tokio::test(flavor = "current_thread")]
async fn asks_note_the_outcome_of_each_connection() {
    let (capture, _guard) = Capture::install();
    let (service, address) = start(builder()).await;
    let client = WsClient::new(format!("ws://{address}/ws?token=ann")).without_reconnect();
    let mut client = client.answer_asks(|_| Some(json!("yes")));
    client.next_of("connected").await.unwrap();
    tokio::spawn(async move { while client.next_event().await.is_ok() {} });
    let acks = service.ask("ann", Event::json("dinner?", "pizza").unwrap(), LONG).await.unwrap();
    assert_eq!(acks.all().await.len(), 1);
    let ack = capture.named("ack").pop().unwrap();
    assert_eq!((ack.parent.as_deref(), &*ack.values["outcome"]), (Some("ask"), "answered"));
    let elapsed: f64 = ack.values["elapsed_ms"].parse().unwrap();
    assert!((0.0..LONG.as_secs_f64() * 1000.0).contains(&elapsed), "{elapsed}");
    let connection = &capture.named("connection")[0].values["connection"];
    assert_eq!(&ack.values["connection"], connection);
    let deliver = capture.named("deliver").pop().unwrap();
    assert_eq!(deliver.parent.as_deref(), Some("ask"));
}

#[tokio::test(flavor = "current_thread")]
async fn refused_handshake_says_why() {
    let (capture, _guard) = Capture::install();
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .authenticator(async |_| Err(realtime_unified::Refusal::unauthorized("no")));
    let (_service, address) = start(service).await;
    assert!(get(address, "/sse", "").await.starts_with("HTTP/1.1 401"));
    let handshake = capture.named("handshake").pop().unwrap();
    assert_eq!((&*handshake.values["outcome"], &*handshake.values["address"]), ("unauthorized", "127.0.0.1"));
    assert_eq!(capture.named("connection refused").pop().unwrap().parent.as_deref(), Some("handshake"));
}

#[tokio::test(flavor = "current_thread")]
async fn no_field_holds_a_payload_a_token_or_a_cursor() {
    let (capture, _guard) = Capture::install();
    let tokens = realtime_unified::Identity::user("ann");
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .authenticator(move |_| std::future::ready(Ok(tokens.clone())))
        .room_policy(AllowRooms)
        .on("say", async |cx: Context, text: String| cx.to_all().send("said", &text).await);
    let (service, address) = start(service).await;
    let mut ws = ws_client(address, "/ws?token=secret-token").await;
    ws.request("say", "secret-payload").await.unwrap();
    ws.next_of("said").await.unwrap();
    let cursor = ws.last_event_id().to_owned();
    let mut resumed = sse_client(address, &format!("/sse?token=secret-token&lastEventId={cursor}")).await;
    let mut socket = accepted_socket(address, "secret-token", r#"{"token":"secret-token"}"#).await;
    socket.send(Message::text(r#"421["say","secret-payload"]"#)).await.unwrap();
    text_with(&mut socket, "431").await;
    resumed.next_of("said").await.unwrap();
    let asked = service.ask("ann", Event::json("q", "secret-payload").unwrap(), LONG).await.unwrap();
    text_with(&mut socket, "42").await;
    drop(asked);
    assert!(cursor.len() > 20 && capture.all().len() > 20);
    for captured in capture.all() {
        for (field, value) in &captured.values {
            let found =
                ["secret-payload", "secret-token", cursor.as_str()].into_iter().find(|text| value.contains(text));
            assert_eq!(found, None, "{field} of {}", captured.name);
        }
    }
}

/// The bytes of a log.
#[derive(Clone, Default)]
struct Written(Arc<Mutex<Vec<u8>>>);

impl Write for Written {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Written {
    fn lines(&self) -> usize {
        self.0.lock().unwrap().iter().filter(|byte| **byte == b'\n').count()
    }
}

#[tokio::test(flavor = "current_thread")]
async fn healthy_connection_logs_nothing_at_info() {
    Collector::install_second();
    let (info, debug) = (Written::default(), Written::default());
    let (to_info, to_debug) = (info.clone(), debug.clone());
    let at = |level: &str| EnvFilter::new(level);
    let _guard = tracing_subscriber::registry()
        .with(tracing_subscriber::fmt::layer().with_writer(move || to_info.clone()).with_filter(at("info")))
        .with(tracing_subscriber::fmt::layer().with_writer(move || to_debug.clone()).with_filter(at("debug")))
        .set_default();
    let (service, address) = start(builder()).await;
    eventually("the start is logged", || info.lines() > 0).await;
    let (started, all) = (info.lines(), debug.lines());
    let mut ws = ws_client(address, "/ws?token=ann").await;
    let mut sse = sse_client(address, "/sse?token=ann").await;
    let mut socket = accepted_socket(address, "ann", "").await;
    for number in 0..100 {
        ws.request("echo", &number).await.unwrap();
        socket.send(Message::text(format!("42{number}[\"echo\",{number}]"))).await.unwrap();
        text_with(&mut socket, &format!("43{number}")).await;
        service.to_all("number", &number).await.unwrap();
        assert_eq!(ws.next_of("number").await.unwrap().payload, number);
        assert_eq!(sse.next_of("number").await.unwrap().json::<i32>(), number);
        text_with(&mut socket, "42[\"number\"").await;
    }
    assert_eq!(info.lines(), started, "{}", String::from_utf8_lossy(&info.0.lock().unwrap()));
    assert!(debug.lines() >= all + 100, "what is not logged at info is at debug");
}
