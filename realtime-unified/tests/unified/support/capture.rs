//! A layer that keeps the spans and events of this workspace's crates, with all of their fields.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::layer::Context;
use tracing_subscriber::prelude::*;
use tracing_subscriber::registry::LookupSpan;

use super::Collector;

/// The recorded spans and events, in order.
#[derive(Clone, Default)]
pub struct Capture(Arc<Mutex<Vec<Captured>>>);

/// A span or an event.
#[derive(Clone, Debug)]
pub struct Captured {
    id: Option<u64>,
    pub name: String,
    pub level: Level,
    pub target: String,
    /// The names of all fields that it may have.
    pub declared: BTreeSet<&'static str>,
    /// The values of those that were set.
    pub values: BTreeMap<&'static str, String>,
    /// The name of the span that it is in.
    pub parent: Option<String>,
}

struct Values<'a>(&'a mut BTreeMap<&'static str, String>);

impl Visit for Values<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

impl Capture {
    /// Captures on this thread until the guard is dropped.
    pub fn install() -> (Self, DefaultGuard) {
        Collector::install_second();
        let capture = Self::default();
        let guard = tracing_subscriber::registry().with(capture.clone()).set_default();
        (capture, guard)
    }

    /// Returns everything so far.
    pub fn all(&self) -> Vec<Captured> {
        self.0.lock().unwrap().clone()
    }

    /// Returns the spans, or the events, of this name.
    pub fn named(&self, name: &str) -> Vec<Captured> {
        self.all().into_iter().filter(|captured| captured.name == name).collect()
    }

    fn push(&self, id: Option<u64>, metadata: &'static Metadata<'static>, parent: Option<String>) -> usize {
        let mut all = self.0.lock().unwrap();
        all.push(Captured {
            id,
            name: metadata.name().to_owned(),
            level: *metadata.level(),
            target: metadata.target().to_owned(),
            declared: metadata.fields().iter().map(|field| field.name()).collect(),
            values: BTreeMap::new(),
            parent,
        });
        all.len() - 1
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> tracing_subscriber::Layer<S> for Capture {
    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        metadata.target().starts_with("realtime")
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, cx: Context<'_, S>) {
        let parent = cx.span(id).and_then(|span| Some(span.parent()?.name().to_owned()));
        let at = self.push(Some(id.into_u64()), attributes.metadata(), parent);
        attributes.record(&mut Values(&mut self.0.lock().unwrap()[at].values));
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut all = self.0.lock().unwrap();
        // Ids are used again: the newest one is meant.
        if let Some(span) = all.iter_mut().rev().find(|span| span.id == Some(id.into_u64())) {
            values.record(&mut Values(&mut span.values));
        }
    }

    fn on_event(&self, event: &Event<'_>, cx: Context<'_, S>) {
        let parent = cx.event_span(event).map(|span| span.name().to_owned());
        let at = self.push(None, event.metadata(), parent);
        let mut all = self.0.lock().unwrap();
        event.record(&mut Values(&mut all[at].values));
        // The message of an event is its name.
        if let Some(message) = all[at].values.remove("message") {
            all[at].name = message;
            all[at].declared.remove("message");
        }
    }
}
