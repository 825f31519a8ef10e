//! Traces of OpenTelemetry: from a client's headers and messages over the nodes to clients.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::support::{Collector, accepted_socket, by_token, sse_client, start, text_with, ws_client};
use futures_util::SinkExt;
use opentelemetry::trace::{SpanId, TraceId, TracerProvider};
use opentelemetry_sdk::trace::{InMemorySpanExporter, InMemorySpanExporterBuilder, SdkTracerProvider, SpanData};
use realtime_testkit::{WsClient, eventually};
use realtime_unified::memory::{MemoryBackplane, MemoryDirectory};
use realtime_unified::otel::OtelPropagator;
use realtime_unified::{
    Context, Event, Handlers, NotificationService, NotificationServiceBuilder, Propagator, SocketIoConfig,
    SocketIoProvider, SseConfig, SseProvider, Target, TraceContext, WsConfig, WsProvider,
};
use serde_json::json;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tracing::Instrument;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::prelude::*;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The spans that this thread has ended.
struct Spans {
    exporter: InMemorySpanExporter,
    _provider: SdkTracerProvider,
    _guard: DefaultGuard,
}

impl Spans {
    /// Exports the spans of this thread from this level on, and those of the tests.
    fn install(level: LevelFilter) -> Self {
        Collector::install_second();
        let exporter = InMemorySpanExporterBuilder::new().build();
        let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
        let targets = Targets::new().with_target("realtime_core", level).with_target("app", LevelFilter::INFO);
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test")).with_filter(targets);
        let guard = tracing_subscriber::registry().with(layer).set_default();
        Self { exporter, _provider: provider, _guard: guard }
    }

    fn named(&self, name: &str) -> Vec<SpanData> {
        let spans = self.exporter.get_finished_spans().unwrap();
        spans.into_iter().filter(|span| span.name == name).collect()
    }

    /// Waits until so many spans of this name have ended, and returns them.
    async fn until(&self, name: &str, count: usize) -> Vec<SpanData> {
        eventually(format!("{count} × {name}"), || self.named(name).len() >= count).await;
        self.named(name)
    }

    async fn one(&self, name: &str) -> SpanData {
        let mut spans = self.until(name, 1).await;
        assert_eq!(spans.len(), 1, "{name}");
        spans.remove(0)
    }
}

fn parent() -> (TraceId, SpanId) {
    let parent = TraceContext::parse(PARENT, None).unwrap();
    (TraceId::from_bytes(parent.trace_id()), SpanId::from_bytes(parent.span_id()))
}

fn own(span: &SpanData) -> (TraceId, SpanId) {
    (span.span_context.trace_id(), span.span_context.span_id())
}

/// Asserts that the first span is the parent of the second one.
fn assert_parent(parent: (TraceId, SpanId), child: &SpanData) {
    assert_eq!((child.span_context.trace_id(), child.parent_span_id), parent, "the parent of {}", child.name);
}

fn builder() -> NotificationServiceBuilder {
    NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default().with_traceparent(true)))
        .provider(WsProvider::new(WsConfig::default().with_traceparent(true)))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .authenticator(by_token)
        .propagator(OtelPropagator::default())
        .on("say", async |cx: Context, text: String| cx.to_all().send("said", &text).await)
}

/// Two nodes on one log.
async fn nodes() -> [(NotificationService, SocketAddr); 2] {
    let (backplane, directory) = (MemoryBackplane::default(), Arc::new(MemoryDirectory::new()));
    let node = || start(builder().backplane(backplane.clone()).directory(Arc::clone(&directory)));
    [node().await, node().await]
}

#[tokio::test(flavor = "current_thread")]
async fn header_of_a_client_is_the_parent_of_its_handshake() {
    let spans = Spans::install(LevelFilter::INFO);
    let (_service, address) = start(builder()).await;
    for url in [format!("ws://{address}/ws?token=ann"), format!("http://{address}/sse?token=ann")] {
        spans.exporter.reset();
        if url.starts_with("ws") {
            let client = WsClient::new(url).without_reconnect().with_header("traceparent", PARENT);
            let mut client = client.with_header("tracestate", "a=b");
            client.next_of("connected").await.unwrap();
        } else {
            let client = realtime_testkit::SseClient::new(url).without_reconnect();
            let mut client = client.with_header("traceparent", PARENT).with_header("tracestate", "a=b");
            client.next_of("connected").await.unwrap();
        }
        let handshake = spans.one("handshake").await;
        assert_parent(parent(), &handshake);
        assert_eq!(handshake.span_context.trace_state().header(), "a=b");
        // Ended by the drop of the client.
        assert_parent(own(&handshake), &spans.one("connection").await);
    }
}

#[tokio::test(flavor = "current_thread")]
async fn header_of_a_session_is_the_parent_of_its_handshake() {
    let spans = Spans::install(LevelFilter::INFO);
    let (_service, address) = start(builder()).await;
    let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket&token=ann");
    let mut request = url.into_client_request().unwrap();
    request.headers_mut().insert("traceparent", PARENT.parse().unwrap());
    let (mut socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
    text_with(&mut socket, "0{").await;
    socket.send(Message::text("40")).await.unwrap();
    text_with(&mut socket, "40").await;
    assert_parent(parent(), &spans.one("handshake").await);
}

#[tokio::test(flavor = "current_thread")]
async fn without_a_propagator_events_have_no_trace() {
    let _spans = Spans::install(LevelFilter::DEBUG);
    let service = NotificationService::builder()
        .provider(WsProvider::new(WsConfig::default().with_traceparent(true)))
        .authenticator(by_token);
    let (service, address) = start(service).await;
    let mut ws = crate::support::websocket(address, "/ws?token=ann").await;
    service.to_user("ann", "plain", &1).await.unwrap();
    let text = text_with(&mut ws, r#"{"type":"plain""#).await;
    assert!(!text.contains("traceparent"), "{text}");
    let trace = TraceContext::parse(PARENT, None).unwrap();
    let event = Event::json("stored", &1).unwrap().with_trace(trace);
    service.send(Target::all(), event).await.unwrap();
    let text = text_with(&mut ws, r#"{"type":"stored""#).await;
    assert!(
        text.ends_with(&format!(r#""traceparent":"{PARENT}"}}"#)),
        "what the application sets is passed on: {text}"
    );
}

#[tokio::test(flavor = "current_thread")]
async fn malformed_or_unwanted_header_is_ignored() {
    let spans = Spans::install(LevelFilter::INFO);
    let (_service, address) = start(builder()).await;
    let connect = async |address: SocketAddr, header: &str| {
        let client = WsClient::new(format!("ws://{address}/ws?token=ann")).without_reconnect();
        client.with_header("traceparent", header).next_of("connected").await.unwrap();
        let handshake = spans.one("handshake").await;
        assert_eq!(handshake.parent_span_id, SpanId::INVALID, "{header}");
        assert_ne!(handshake.span_context.trace_id(), parent().0);
        spans.one("connection").await;
        spans.exporter.reset();
    };
    for malformed in [PARENT.to_uppercase(), PARENT[..54].to_owned(), "ff".to_owned() + &PARENT[2..]] {
        connect(address, &malformed).await;
    }
    let unwanted = builder().propagator(OtelPropagator::default().with_client_traces(false));
    let (_other, address) = start(unwanted).await;
    connect(address, PARENT).await;
}

#[tokio::test(flavor = "current_thread")]
async fn publish_is_the_parent_of_deliveries_on_all_nodes() {
    let spans = Spans::install(LevelFilter::DEBUG);
    let [(one, first), (_two, second)] = nodes().await;
    let mut clients = [ws_client(first, "/ws?token=ann").await, ws_client(second, "/ws?token=ann").await];
    for is_volatile in [false, true] {
        spans.exporter.reset();
        let event = Event::json("note", &1).unwrap();
        let event = if is_volatile { event.as_volatile() } else { event };
        let app = tracing::info_span!(target: "app", "request");
        one.send(Target::all(), event).instrument(app).await.unwrap();
        for client in &mut clients {
            client.next_of("note").await.unwrap();
        }
        let (request, publish) = (spans.one("request").await, spans.one("publish").await);
        assert_parent(own(&request), &publish);
        let deliveries = spans.until("deliver", 2).await;
        assert_eq!(deliveries.len(), 2, "one for each node");
        for deliver in &deliveries {
            assert_parent(own(&publish), deliver);
        }
    }
}

#[tokio::test(flavor = "current_thread")]
async fn message_of_a_client_goes_on_to_other_clients() {
    let spans = Spans::install(LevelFilter::DEBUG);
    let [(_one, first), (_two, second)] = nodes().await;
    let mut speaker = ws_client(first, "/ws?token=ann").await;
    let (mut ws, mut sse) = (ws_client(second, "/ws?token=bob").await, sse_client(second, "/sse?token=bob").await);
    let mut socket = accepted_socket(second, "bob", "").await;
    let say = json!({ "type": "say", "payload": "hi", "traceparent": PARENT, "tracestate": "a=b" });
    speaker.send_raw(Message::text(say.to_string())).await.unwrap();
    let said = text_with(&mut socket, "42[\"said\"").await;
    assert!(!said.contains("00-"), "{said}");
    sse.next_of("said").await.unwrap();
    ws.next_of("said").await.unwrap();
    let (inbound, handler, publish) =
        (spans.one("inbound").await, spans.one("handler").await, spans.one("publish").await);
    assert_parent(parent(), &inbound);
    assert_parent(own(&inbound), &handler);
    assert_parent(own(&handler), &publish);
    spans.until("deliver", 2).await.iter().for_each(|deliver| assert_parent(own(&publish), deliver));
    assert_eq!(publish.span_context.trace_state().header(), "a=b");
}

#[tokio::test(flavor = "current_thread")]
async fn event_of_a_client_begins_a_trace_of_its_own() {
    let spans = Spans::install(LevelFilter::DEBUG);
    let (_service, address) = start(builder()).await;
    let mut socket = accepted_socket(address, "ann", "").await;
    for number in 0..2 {
        socket.send(Message::text(format!("42{number}[\"say\",\"hi\"]"))).await.unwrap();
        text_with(&mut socket, &format!("43{number}")).await;
    }
    let inbound = spans.until("inbound", 2).await;
    let handshake = spans.one("handshake").await;
    let mut traces: Vec<_> = inbound.iter().chain([&handshake]).map(|span| own(span).0).collect();
    traces.sort_by_key(|trace| trace.to_bytes());
    traces.dedup();
    assert_eq!(traces.len(), 3);
    assert!(inbound.iter().all(|span| span.parent_span_id == SpanId::INVALID));
}

#[tokio::test(flavor = "current_thread")]
async fn clients_get_the_context_of_the_publish() {
    let spans = Spans::install(LevelFilter::DEBUG);
    let (service, address) = start(builder()).await;
    let mut ws = crate::support::websocket(address, "/ws?token=ann").await;
    text_with(&mut ws, r#"{"type":"connected""#).await;
    let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET /sse?token=ann HTTP/1.1\r\nhost: {address}\r\n\r\n");
    tokio::io::AsyncWriteExt::write_all(&mut stream, request.as_bytes()).await.unwrap();
    eventually("two connections", || service.stats().values().map(|stats| stats.connections).sum::<u64>() == 2).await;
    service.to_user("ann", "note", &1).await.unwrap();
    let publish = spans.one("publish").await;
    let (trace, span) = own(&publish);
    let expected = format!("00-{trace}-{span}-01");
    let text = text_with(&mut ws, r#"{"type":"note""#).await;
    assert!(text.ends_with(&format!(r#","traceparent":"{expected}"}}"#)), "{text}");
    let mut read = Vec::new();
    let comment = format!(": traceparent={expected}\nevent: note\n");
    while !String::from_utf8_lossy(&read).contains(&comment) {
        let more = tokio::io::AsyncReadExt::read_buf(&mut stream, &mut read);
        let more = realtime_testkit::in_time("the event", more).await.unwrap();
        assert!(more > 0, "{}", String::from_utf8_lossy(&read));
    }
}

#[tokio::test(flavor = "current_thread")]
async fn stored_trace_is_the_parent_of_its_publish() {
    let spans = Spans::install(LevelFilter::DEBUG);
    let (service, _) = start(builder()).await;
    let event = Event::json("note", &1).unwrap().with_trace(TraceContext::parse(PARENT, None).unwrap());
    service.send(Target::all(), event.clone()).await.unwrap();
    assert_parent(parent(), &spans.one("publish").await);
    // Without spans of its own the node passes it on as it is.
    spans.exporter.reset();
    drop(spans);
    let spans = Spans::install(LevelFilter::OFF);
    service.send(Target::all(), event).await.unwrap();
    assert!(spans.exporter.get_finished_spans().unwrap().is_empty());
    assert_eq!(OtelPropagator::default().current(), None);
}
