//! The span of a handshake, and the traces of a connection and of what its client sends.

use tracing::field::{Empty, display};
use tracing::{Instrument, Span};

use crate::delivery::dispatcher::{Admitted, Dispatcher};
use crate::log::propagator::Propagator;
use crate::log::spans::trace_within;
use crate::traits::auth::ConnectRequest;
use crate::traits::codec::Codec;
use crate::values::connection::ConnectionInfo;
use crate::values::inbound::Inbound;
use crate::values::refusal::Refusal;
use crate::values::trace_context::TraceContext;

impl<C: Codec> Dispatcher<C> {
    /// Returns the propagator, if there is one.
    pub(super) fn propagator(&self) -> Option<&dyn Propagator> {
        self.runtime.get()?.log.propagator().map(|propagator| &**propagator)
    }

    /// Decides on a request in the span of its handshake, a child of the span that the client's
    /// headers name; the connection goes on with its trace.
    pub(super) async fn in_handshake(
        &self,
        request: &ConnectRequest,
        decide: impl Future<Output = Result<Admitted, Refusal>>,
    ) -> Result<Admitted, Refusal> {
        let span = tracing::info_span!(
            target: "realtime_core",
            "handshake",
            provider = self.config.provider,
            address = request.address().map(display),
            user = Empty,
            connection = Empty,
            outcome = Empty,
        );
        let trace = self.propagator().and_then(|propagator| {
            let named = if propagator.follows_clients() { request.trace() } else { None };
            named.iter().for_each(|trace| propagator.follow(&span, trace));
            trace_within(propagator, &span).or(named).or_else(|| propagator.current())
        });
        let decided = decide.instrument(span.clone()).await;
        match &decided {
            Ok(admitted) => {
                span.record("outcome", "accepted").record("connection", display(admitted.id));
                admitted.identity.user_name().iter().for_each(|user| {
                    span.record("user", user);
                });
            }
            Err(refusal) => {
                span.record("outcome", refusal.code());
            }
        }
        decided.map(|admitted| Admitted { trace, ..admitted })
    }

    /// Creates the span of a connection, which goes on with the trace of its handshake. It is no
    /// child among the spans of this process: the handshake's would last as long.
    pub(super) fn connection_span(&self, info: &ConnectionInfo, trace: Option<&TraceContext>) -> Span {
        let span = tracing::info_span!(
            target: "realtime_core",
            parent: None,
            "connection",
            provider = info.provider,
            connection = %info.id,
            user = info.identity.user_name(),
            address = info.address.map(display),
        );
        if let (Some(propagator), Some(trace)) = (self.propagator(), trace) {
            propagator.follow(&span, trace);
        }
        span
    }

    /// Creates the span of what a client sent: the first of a trace, or a child of the span that
    /// the client names.
    pub(super) fn inbound_span(&self, info: &ConnectionInfo, inbound: &Inbound) -> Span {
        let span = tracing::debug_span!(
            target: "realtime_core",
            "inbound",
            provider = info.provider,
            connection = %info.id,
            name = &*inbound.name,
            bytes = inbound.size() as i64,
            outcome = Empty,
        );
        if let Some(propagator) = self.propagator().filter(|_| !span.is_disabled()) {
            match inbound.trace().filter(|_| propagator.follows_clients()) {
                Some(trace) => propagator.follow(&span, trace),
                None => propagator.begin(&span),
            }
        }
        span
    }
}
