//! What tests of the log share.
#![allow(clippy::unwrap_used, dead_code, unreachable_pub, reason = "test code, of which each file uses a part")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Metadata, Subscriber};

/// Writes down the fields of spans and events, with the span that each event stands in.
#[derive(Clone, Default)]
pub struct Collector(Arc<Mutex<Seen>>);

#[derive(Default)]
struct Seen {
    spans: Vec<String>,
    entered: Vec<u64>,
    events: Vec<Line>,
}

#[derive(Default)]
struct Fields(String);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0 += &format!("{}={value:?} ", field.name());
    }
}

/// One event of the log.
#[derive(Clone, Debug)]
pub struct Line {
    pub level: Level,
    /// `name=value ` for each field.
    pub fields: String,
    /// The same of the span around it, behind the span's name.
    pub span: String,
}

impl Collector {
    /// The spans there have been.
    pub fn spans(&self) -> Vec<String> {
        self.0.lock().unwrap().spans.clone()
    }

    /// The lines whose fields have all of these texts in them.
    pub fn lines(&self, texts: &[&str]) -> Vec<Line> {
        let seen = self.0.lock().unwrap();
        let has_all = |line: &&Line| texts.iter().all(|text| line.fields.contains(text));
        seen.events.iter().filter(has_all).cloned().collect()
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
        seen.events.push(Line { level: *event.metadata().level(), fields: fields.0, span });
    }

    fn enter(&self, span: &Id) {
        self.0.lock().unwrap().entered.push(span.into_u64());
    }

    fn exit(&self, _: &Id) {
        self.0.lock().unwrap().entered.pop();
    }
}
