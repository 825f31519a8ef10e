//! The spans of sends and deliveries, and the traces that they belong to.

use std::sync::Arc;
use std::time::Duration;

use tracing::Span;
use tracing::field::Empty;

use crate::log::counters::kind_name;
use crate::log::handle::Log;
use crate::log::propagator::Propagator;
use crate::log::shared::Shared;
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::position::Position;
use crate::values::target::Target;
use crate::values::trace_context::TraceContext;

impl Log {
    /// Sets the propagator, unless there is one.
    #[must_use]
    pub fn with_propagator(self, propagator: Arc<dyn Propagator>) -> Self {
        // The first one stays: spans may follow it already.
        let _ = self.0.propagator.set(propagator);
        self
    }

    /// Returns the propagator, if there is one.
    #[must_use]
    pub fn propagator(&self) -> Option<&Arc<dyn Propagator>> {
        self.0.propagator.get()
    }

    /// Creates the span of an event that is being sent, whose trace becomes the event's.
    pub(crate) fn publish_span(&self, id: EventId, target: &Target, event: &mut Event) -> Span {
        let span = tracing::debug_span!(
            target: "realtime_core",
            "publish",
            event = %id,
            name = event.name(),
            to = kind_name(target),
            volatile = event.is_volatile(),
            position = Empty,
        );
        self.trace_in(&span, event);
        span
    }

    /// Creates the span of an ask, which lasts until its answers are no longer awaited.
    pub(super) fn ask_span(&self, id: EventId, target: &Target, event: &mut Event, timeout: Duration) -> Span {
        let span = tracing::debug_span!(
            target: "realtime_core",
            "ask",
            event = %id,
            name = event.name(),
            to = kind_name(target),
            timeout_ms = timeout.as_millis() as i64,
        );
        self.trace_in(&span, event);
        span
    }

    /// Creates the span of this node's delivery of an event that skips the log.
    pub(crate) fn deliver_span(&self, id: EventId, event: &Event) -> Span {
        self.0.deliver_span(id, None, event)
    }

    /// Makes the span that of the event's trace, and its trace context that of the event.
    fn trace_in(&self, span: &Span, event: &mut Event) {
        let Some(propagator) = self.propagator() else { return };
        let given = event.trace().inspect(|trace| propagator.follow(span, trace)).cloned();
        let around = given.or_else(|| propagator.current());
        if let Some(trace) = trace_within(&**propagator, span).or(around) {
            event.set_trace(trace);
        }
    }
}

impl Shared {
    /// Creates the span of this node's delivery of an event, as a child of the span that sent it.
    pub(super) fn deliver_span(&self, id: EventId, position: Option<Position>, event: &Event) -> Span {
        let span = tracing::debug_span!(
            target: "realtime_core",
            "deliver",
            event = %id,
            name = event.name(),
            position = position.map(|position| position.get() as i64),
            matched = Empty,
            queued = Empty,
            dropped = Empty,
        );
        if let (Some(propagator), Some(trace)) = (self.propagator.get(), event.trace())
            && !span.is_disabled()
            // Otherwise its sender delivers it, in the span of the send.
            && Span::current().is_none()
        {
            propagator.follow(&span, trace);
        }
        span
    }
}

/// Returns the trace context of a span, unless the span is disabled or the tracing system does not
/// see it.
pub(crate) fn trace_within(propagator: &dyn Propagator, span: &Span) -> Option<TraceContext> {
    if span.is_disabled() { None } else { span.in_scope(|| propagator.current()) }
}
