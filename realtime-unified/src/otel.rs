//! Traces of OpenTelemetry, with the feature `otel`: the spans of a service follow those of its
//! clients, of other nodes and of the application.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState};
use realtime_core::{Propagator, TraceContext};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

/// The propagator for OpenTelemetry: give it to
/// [`propagator(…)`](crate::NotificationServiceBuilder::propagator), and the subscriber a layer of
/// the crate `tracing-opentelemetry`.
///
/// The spans, their fields, and what a layer sees of them at which level are in `docs/tracing.md`,
/// and the example `otlp` sends them to a collector.
#[derive(Clone, Copy, Debug)]
pub struct OtelPropagator {
    follows_clients: bool,
}

impl Default for OtelPropagator {
    fn default() -> Self {
        Self { follows_clients: true }
    }
}

impl OtelPropagator {
    /// Sets whether the traces that clients name are followed, in the header `traceparent` of a
    /// handshake and in messages; default `true`.
    ///
    /// A stranger then chooses the ids, and with a sampler that goes by the parent's flag whether a
    /// trace is recorded. Set `false` where clients are not one's own, or have the sampler ignore
    /// remote parents.
    #[must_use]
    pub fn with_client_traces(mut self, followed: bool) -> Self {
        self.follows_clients = followed;
        self
    }
}

impl Propagator for OtelPropagator {
    fn current(&self) -> Option<TraceContext> {
        let spanned = context_of(&Span::current().context());
        // A span that was started without `tracing`.
        spanned.or_else(|| context_of(&Context::current()))
    }

    fn follow(&self, span: &Span, parent: &TraceContext) {
        let flags = if parent.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let state = parent.state().and_then(|state| state.parse().ok()).unwrap_or(TraceState::NONE);
        let (trace_id, span_id) = (TraceId::from_bytes(parent.trace_id()), SpanId::from_bytes(parent.span_id()));
        let parent = SpanContext::new(trace_id, span_id, flags, true, state);
        // An error says that no layer of OpenTelemetry sees the span.
        let _ = span.set_parent(Context::new().with_remote_span_context(parent));
    }

    fn follows_clients(&self) -> bool {
        self.follows_clients
    }

    fn begin(&self, span: &Span) {
        let _ = span.set_parent(Context::new());
    }
}

/// Returns the trace context of the span in a context.
fn context_of(context: &Context) -> Option<TraceContext> {
    let span = context.span();
    let span = span.span_context();
    let context = TraceContext::new(span.trace_id().to_bytes(), span.span_id().to_bytes(), span.is_sampled())?;
    Some(context.with_state(&span.trace_state().header()))
}
