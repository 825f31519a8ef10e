//! The worker of one connection: runs its handlers, in order, apart from its reading and its
//! heartbeat.

use std::sync::Arc;
use std::time::Instant;

use tracing::field::Empty;
use tracing::{Instrument, Span};

use crate::delivery::connection::Connection;
use crate::delivery::dispatcher::Dispatcher;
use crate::inbound::inbox::{Inbox, Item};
use crate::traits::codec::Codec;
use crate::traits::context::Context;
use crate::values::event::Payload;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::Inbound;
use crate::values::stamp::ENABLED;
use crate::values::stats::add;
use crate::values::timings::Outcome;

impl<C: Codec> Dispatcher<C> {
    /// Starts the worker of a connection; it ends when the inbox is closed and empty.
    pub(crate) fn start_worker(self: &Arc<Self>, connection: &Arc<Connection<C::Frame>>) -> Arc<Inbox> {
        let inbox = Arc::new(Inbox::new(connection.work()));
        let worker = Worker { dispatcher: Arc::clone(self), connection: Arc::clone(connection) };
        self.running.tasks.spawn(worker.run(Arc::clone(&inbox)).instrument(connection.span.clone()));
        inbox
    }
}

struct Worker<C: Codec> {
    dispatcher: Arc<Dispatcher<C>>,
    connection: Arc<Connection<C::Frame>>,
}

impl<C: Codec> Worker<C> {
    async fn run(self, inbox: Arc<Inbox>) {
        let mut cx = self.dispatcher.context(&self.connection);
        let mut version = self.connection.identity_version();
        while let Some(item) = inbox.pop().await {
            if self.connection.identity_version() != version {
                // Refreshed meanwhile.
                version = self.connection.identity_version();
                cx = self.dispatcher.context(&self.connection);
            }
            match item {
                Item::Event(inbound) => self.handle(&cx, inbound).await,
                Item::Rejected(error, ack) => self.reject(&error, ack).await,
            }
        }
        let counters = &self.dispatcher.counters;
        add(&counters.unhandled, inbox.take_dropped());
        inbox.finish(&counters.lingering);
    }

    async fn handle(&self, cx: &Context, inbound: Inbound) {
        let span = self.dispatcher.inbound_span(&self.connection.info, &inbound);
        let handled = async {
            if inbound.is_raw() {
                self.handle_raw(cx, inbound, &span).await
            } else {
                self.handle_event(cx, inbound, &span).await
            }
        };
        handled.instrument(span.clone()).await;
    }

    async fn handle_event(&self, cx: &Context, inbound: Inbound, span: &Span) {
        let ack = inbound.ack;
        let name = Arc::clone(&inbound.name);
        let run = self.dispatcher.router.handle_over(self.dispatcher.common_router(), cx.clone(), inbound);
        match (self.guarded(&name, span, run).await, ack) {
            (Ok(reply), Some(ack)) => {
                let payload = reply.unwrap_or(Payload::Json(bytes::Bytes::from_static(b"null")));
                self.push(self.dispatcher.codec.ack(ack, &payload)).await;
            }
            (Ok(_), None) => {}
            (Err(error), ack) => {
                self.reject(&error, ack).await;
            }
        }
    }

    async fn handle_raw(&self, cx: &Context, inbound: Inbound, span: &Span) {
        let run = self.dispatcher.router.handle_raw(self.dispatcher.common_router(), cx.clone(), inbound);
        match self.guarded("raw message", span, run).await {
            Ok(reply) => self.push(self.dispatcher.codec.raw_reply(reply)).await,
            Err(error) => self.reject(&error, None).await,
        }
    }

    /// Runs a handler; a panic is the error `internal`. Notes the outcome in the handler's span,
    /// and in that of the event.
    async fn guarded<T>(
        &self,
        name: &str,
        of_event: &Span,
        run: impl Future<Output = Result<T, HandlerError>>,
    ) -> Result<T, HandlerError> {
        let begun = ENABLED.then(Instant::now);
        let span = tracing::debug_span!(target: "realtime_core", "handler", name, outcome = Empty);
        let handled = self.dispatcher.guard("handler", name, run).instrument(span.clone()).await;
        let outcome = match &handled {
            None => Outcome::Panic,
            Some(Err(_)) => Outcome::Error,
            Some(Ok(_)) => Outcome::Ok,
        };
        begun.into_iter().for_each(|begun| self.dispatcher.counters.timers.handled(outcome, begun.elapsed()));
        span.record("outcome", outcome.name());
        let handled = handled.unwrap_or_else(|| Err(HandlerError::new("internal", "internal error")));
        of_event.record("outcome", handled.as_ref().err().map_or("ok", HandlerError::code));
        handled
    }

    async fn reject(&self, error: &HandlerError, ack: Option<u64>) {
        self.dispatcher.count_rejected(error);
        self.push(self.dispatcher.codec.error(error, ack)).await;
    }

    /// Sends a frame once there is room, so that a client that sends faster than it reads its
    /// answers is read slowly.
    async fn push(&self, frame: Option<C::Frame>) {
        if let Some(frame) = frame {
            self.dispatcher.hub.push_side_in_turn(&self.connection, frame).await;
        }
    }
}
