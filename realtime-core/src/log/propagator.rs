//! The link between the spans of this process and those of others.

use tracing::Span;

use crate::values::trace_context::TraceContext;

/// Connects the spans of `tracing` to the traces of a tracing system, across nodes and clients.
///
/// `realtime-unified` has one for OpenTelemetry, with the feature `otel`. Without a propagator
/// records carry no trace, and none is looked up. The calls come from the code that sends and
/// delivers: they must not block.
pub trait Propagator: Send + Sync + 'static {
    /// Returns the trace context of the current span; `None` if the tracing system has none.
    fn current(&self) -> Option<TraceContext>;

    /// Makes this the parent of a span, which has just been created and has no children.
    fn follow(&self, span: &Span, parent: &TraceContext);

    /// Returns whether spans follow the traces that clients name, as by default: a stranger then
    /// chooses the trace, and whether it is sampled where that is decided by the parent.
    fn follows_clients(&self) -> bool {
        true
    }

    /// Makes a span the first one of a trace, whatever the span is that it was created in: that of
    /// an event from a client is no part of the connection's trace, which may last for days. By
    /// default does nothing.
    fn begin(&self, span: &Span) {
        let _ = span;
    }
}
