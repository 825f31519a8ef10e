use std::collections::HashMap;

use ::metrics::{Key, Label, counter, describe_counter, describe_gauge, describe_histogram, gauge, histogram};
use realtime_core::Distribution;

use crate::metrics::seconds::in_seconds;

/// Writes metrics, each with its description, to the recorder that is installed.
pub(super) struct Writer<'a> {
    /// The labels of all that is written.
    labels: Vec<Label>,
    /// The values that the recorder has of each histogram.
    exported: &'a mut HashMap<Key, Distribution>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(exported: &'a mut HashMap<Key, Distribution>) -> Self {
        Self { labels: Vec::new(), exported }
    }

    /// Returns the writer of a provider's metrics.
    pub(super) fn of_provider(&mut self, provider: &'static str) -> Writer<'_> {
        self.labelled("provider", provider)
    }

    /// Returns a writer that adds this label.
    pub(super) fn labelled(&mut self, label: &'static str, value: &'static str) -> Writer<'_> {
        let labels = self.labels.iter().cloned().chain([Label::new(label, value)]).collect();
        Writer { labels, exported: self.exported }
    }

    /// Sets a value.
    pub(super) fn gauge(&mut self, name: &'static str, help: &'static str, value: f64) {
        describe_gauge!(name, help);
        gauge!(name, self.labels(None)).set(value);
    }

    /// Sets a counter to what was counted since the start.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str, count: u64) {
        describe_counter!(name, help);
        counter!(name, self.labels(None)).absolute(count);
    }

    /// Sets a counter for each value of a label.
    pub(super) fn counters<V: Into<String>>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        counts: impl IntoIterator<Item = (V, u64)>,
    ) {
        describe_counter!(name, help);
        for (value, count) in counts {
            counter!(name, self.labels(Some(Label::new(label, value.into())))).absolute(count);
        }
    }

    /// Adds to a histogram what was counted since the last time.
    pub(super) fn histogram(&mut self, name: &'static str, help: &'static str, times: &Distribution) {
        describe_histogram!(name, help);
        self.add(name, None, times);
    }

    /// Adds to a histogram for each value of a label.
    pub(super) fn histograms<'d>(
        &mut self,
        name: &'static str,
        help: &'static str,
        label: &'static str,
        times: impl IntoIterator<Item = (&'static str, &'d Distribution)>,
    ) {
        describe_histogram!(name, help);
        for (value, times) in times {
            self.add(name, Some(Label::new(label, value)), times);
        }
    }

    fn add(&mut self, name: &'static str, label: Option<Label>, times: &Distribution) {
        let labels = self.labels(label);
        // Known to the recorder, with nothing in it, from the start.
        let histogram = histogram!(name, labels.clone());
        let earlier = self.exported.entry(Key::from_parts(name, labels)).or_default();
        for (mean, count) in times.since(earlier) {
            histogram.record_many(in_seconds(mean), usize::try_from(count).unwrap_or(usize::MAX));
        }
        earlier.clone_from(times);
    }

    fn labels(&self, label: Option<Label>) -> Vec<Label> {
        self.labels.iter().cloned().chain(label).collect()
    }
}
