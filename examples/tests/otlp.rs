//! The spans of the example `otlp`, as a collector gets them.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[allow(dead_code, unused_imports, reason = "shared with the other tests")]
mod support;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use realtime_testkit::WsClient;
use serde_json::{Value, json};
use support::{Program, within};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;

/// The `traceparent` values that a client's own tracing would send.
const HANDSHAKE: &str = "00-11111111111111111111111111111111-2222222222222222-01";
const MESSAGE: &str = "00-33333333333333333333333333333333-4444444444444444-01";

/// An endpoint that takes traces by OTLP over HTTP.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Span>>>);

impl Collector {
    /// Starts the endpoint; returns its URL.
    async fn start(&self) -> String {
        let routes = Router::new().route("/v1/traces", post(take)).with_state(self.clone());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/v1/traces", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        url
    }

    /// Waits until so many spans of this name have arrived, and returns them.
    async fn spans(&self, name: &str, count: usize) -> Vec<Span> {
        let arrived = async {
            loop {
                let spans = self.0.lock().unwrap().iter().filter(|span| span.name == name).cloned().collect::<Vec<_>>();
                if spans.len() >= count {
                    return spans;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        within(&format!("{count} spans {name}"), arrived).await
    }

    async fn span(&self, name: &str) -> Span {
        let mut spans = self.spans(name, 1).await;
        assert_eq!(spans.len(), 1, "{name}");
        spans.remove(0)
    }
}

async fn take(State(collector): State<Collector>, headers: HeaderMap, body: Bytes) -> StatusCode {
    if headers.get("content-type").is_none_or(|kind| kind != "application/x-protobuf") {
        return StatusCode::UNSUPPORTED_MEDIA_TYPE;
    }
    let Ok(request) = ExportTraceServiceRequest::decode(body) else { return StatusCode::BAD_REQUEST };
    let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    collector.0.lock().unwrap().extend(scopes.flat_map(|scope| scope.spans));
    StatusCode::OK
}

/// Returns the ids of the trace and of the span in a `traceparent`.
fn ids(traceparent: &str) -> (String, String) {
    (traceparent[3..35].to_owned(), traceparent[36..52].to_owned())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn assert_parent((trace, span): (String, String), child: &Span) {
    assert_eq!((hex(&child.trace_id), hex(&child.parent_span_id)), (trace, span), "the parent of {}", child.name);
}

fn own(span: &Span) -> (String, String) {
    (hex(&span.trace_id), hex(&span.span_id))
}

fn attribute(span: &Span, key: &str) -> Option<String> {
    let found = span.attributes.iter().find(|attribute| attribute.key == key)?;
    Some(format!("{:?}", found.value.as_ref()?.value.as_ref()?))
}

#[tokio::test]
async fn collector_gets_one_trace_over_two_nodes() {
    let collector = Collector::default();
    let url = collector.start().await;
    let program = Program::start(env!("CARGO_BIN_EXE_otlp"), &["--collector", &url]).await;
    let mut listener = WsClient::new(format!("{}/b/ws", program.ws_url()));
    listener.next_of("connected").await.unwrap();
    let mut speaker = WsClient::new(format!("{}/a/ws", program.ws_url())).with_header("traceparent", HANDSHAKE);
    speaker.next_of("connected").await.unwrap();
    let say = json!({ "type": "say", "payload": "hello", "traceparent": MESSAGE, "ack": 1 });
    speaker.send_raw(Message::text(say.to_string())).await.unwrap();
    assert_eq!(listener.next_of("said").await.unwrap().payload, Value::from("hello"));

    let handshakes = collector.spans("handshake", 2).await;
    let of_speaker = handshakes.iter().find(|span| hex(&span.trace_id) == ids(HANDSHAKE).0);
    assert_parent(ids(HANDSHAKE), of_speaker.expect("the client's header is its parent"));
    let inbound = collector.span("inbound").await;
    assert_parent(ids(MESSAGE), &inbound);
    let handler = collector.span("handler").await;
    assert_parent(own(&inbound), &handler);
    let publish = collector.span("publish").await;
    assert_parent(own(&handler), &publish);
    let deliveries = collector.spans("deliver", 2).await;
    assert_eq!(deliveries.len(), 2, "one for each node");
    for deliver in &deliveries {
        assert_parent(own(&publish), deliver);
        assert_eq!(hex(&deliver.trace_id), ids(MESSAGE).0);
        assert_eq!(attribute(deliver, "event"), attribute(&publish, "event"));
        assert_eq!(attribute(deliver, "matched").as_deref(), Some("IntValue(1)"));
    }
}
