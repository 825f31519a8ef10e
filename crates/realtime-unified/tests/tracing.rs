//! What a log shows: everything that is done for a connection stands in its span, and a send and its delivery name the event.
#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(feature = "ws")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use futures_util::sink;
use realtime_unified::{Context, Identity, Inbound, NotificationService, WsConfig, WsProvider};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

/// Writes down the fields of spans and events, with the span that each event stands in.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    spans: Vec<String>,
    entered: Vec<u64>,
    /// Each event's fields, and the fields of the span around it.
    events: Vec<(String, String)>,
}

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

impl Subscriber for Collector {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target().starts_with("realtime") || metadata.target() == "tracing"
    }

    fn new_span(&self, attributes: &Attributes<'_>) -> Id {
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let mut seen = self.0.lock().unwrap();
        seen.spans.push(format!("{} {}", attributes.metadata().name(), fields.0));
        Id::from_u64(seen.spans.len() as u64)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        let mut seen = self.0.lock().unwrap();
        let span = seen.entered.last().map(|id| seen.spans[*id as usize - 1].clone()).unwrap_or_default();
        seen.events.push((fields.0, span));
    }

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().entered.pop();
    }
}

#[tokio::test(flavor = "current_thread")]
async fn logs_name_the_connection_and_the_event() {
    let collector = Collector::default();
    let _guard = tracing::subscriber::set_default(collector.clone());
    let provider = Arc::new(WsProvider::new(WsConfig::default()).on("panic", async |_: Context, (): ()| {
        assert!(std::hint::black_box(false), "on purpose");
    }));
    let service =
        NotificationService::builder().custom(Arc::clone(&provider) as _).allow_anonymous().build().await.unwrap();
    let link = provider.connect(Identity::user("ann"), sink::drain()).unwrap();
    let receipt = service.broadcast_to_user("ws", "ann", "secret:event", &"secret payload").await.unwrap();
    link.receive(Inbound::new("panic", "null"));
    while service.stats()["ws"].panics == 0 {
        tokio::task::yield_now().await;
    }

    let seen = collector.0.lock().unwrap();
    let connection = format!("connection provider=\"ws\" connection={} user=\"ann\"", link.id());
    assert!(seen.spans.iter().any(|span| span.trim() == connection), "{:?}", seen.spans);
    let event = format!("event={}", receipt.id);
    let applied = seen.events.iter().find(|(fields, _)| fields.contains("applied") && fields.contains(&event));
    assert!(applied.is_some_and(|(fields, _)| fields.contains("position=1")), "{:?}", seen.events);
    let panicked = seen.events.iter().find(|(fields, _)| fields.contains("a handler panicked"));
    assert!(panicked.is_some_and(|(_, span)| span.trim() == connection), "{:?}", seen.events);
    assert!(!seen.events.iter().any(|(fields, _)| fields.contains("secret payload")), "a payload in the log");
}
