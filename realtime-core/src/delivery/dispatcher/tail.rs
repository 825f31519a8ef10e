//! The tail loop: every record of the log, in order, into the window and the hub.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

use super::follow::Progress;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::hub::Outcome;
use crate::delivery::outbox::Pushed;
use crate::delivery::window::{Content, Kind, Record, Series};
use crate::log::backplane::Entry;
use crate::log::envelope::{Body, Envelope};
use crate::traits::codec::Codec;
use crate::traits::runtime::Runtime;
use crate::values::ack::AckStatus;
use crate::values::close::CloseReason;
use crate::values::cursor::Mark;
use crate::values::drain::Drain;
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::position::Position;
use crate::values::receipt::Receipt;
use crate::values::stats::add;
use crate::values::target::Target;

/// How long an attach waits for the window to be filled.
const FILL: Duration = Duration::from_secs(10);

impl<C: Codec> Dispatcher<C> {
    /// Attaches it: reads the log's newest part into the window, then follows it.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the log cannot be read, [`Error::Config`] when attached already.
    pub async fn attach(self: &Arc<Self>, runtime: Runtime) -> Result<()> {
        self.config.check()?;
        self.router.check()?;
        let provider = self.config.provider;
        if self.runtime.set(runtime.clone()).is_err() {
            return Err(Error::Config(format!("the provider \"{provider}\" is attached already")));
        }
        // Subscribed before anything can be published for us.
        let pipe = runtime.backplane.subscribe(provider).await?;
        let state = runtime.backplane.state(provider).await?;
        let tip = self.take_up(&state, self.before_start(&runtime, &state).await?);
        let progress = Progress::new(tip, state.last);
        let filled = Arc::new(tokio::sync::Notify::new());
        tokio::spawn(self.unowned().await_abandonment());
        tokio::spawn(self.stop.clone().run_until_cancelled_owned({
            let (dispatcher, filled) = (self.unowned(), Arc::clone(&filled));
            async move { dispatcher.follow(progress, &filled).await }
        }));
        tokio::spawn(self.stop.clone().run_until_cancelled_owned({
            let dispatcher = self.unowned();
            async move { dispatcher.follow_pipe(pipe).await }
        }));
        tokio::spawn({
            let dispatcher = self.unowned();
            async move {
                dispatcher.follow_directory().await;
                dispatcher.directory_told.cancel();
            }
        });
        tokio::time::timeout(FILL, filled.notified())
            .await
            .map_err(|_| Error::Backplane("the log could not be read in time".into()))
    }

    /// Applies one record. Only the tail loop calls this, so records are applied one after the other.
    pub(super) fn apply(&self, entry: Entry, runtime: &Runtime) {
        let position = entry.position;
        if position <= self.hub.applied() {
            return;
        }
        if position > self.hub.applied().next() {
            tracing::warn!(provider = self.config.provider, %position, "the log has a gap");
            self.hub.jump(position.previous(), || self.window.restart(position.previous(), Mark::NONE));
            self.restart_all();
        }
        let seen = Instant::now();
        let mark = Mark::of(entry.id);
        let append = |content| self.window.append(Record { position, mark, content, seen });
        let envelope = match Envelope::decode(&entry.record) {
            Ok(envelope) => envelope,
            Err(error) => {
                add(&self.counters.skipped_records, 1);
                tracing::warn!(provider = self.config.provider, %position, %error, "a record was skipped");
                append(Content::Nothing);
                self.hub.skip(position);
                return;
            }
        };
        let waiter = if envelope.node == runtime.node { self.waiters().remove(&envelope.id) } else { None };
        let mut receipt = Receipt::new(envelope.id, Some(position), Some(crate::values::receipt::Delivered::default()));
        let ask = waiter.as_ref().and_then(|waiter| waiter.ask.clone());
        match envelope.body {
            Body::Event { target, event } => {
                let first = event.key().and_then(|key| self.window.receipt(key));
                if let Some(first) = first {
                    append(Content::Nothing);
                    self.hub.skip(position);
                    tracing::debug!(
                        provider = self.config.provider,
                        event = %envelope.id,
                        first = %first.id,
                        "not delivered: the idempotency key is known"
                    );
                    receipt = first.as_repeated();
                } else {
                    let frame = self.codec.event(&event, Some(self.cursor_of(position, mark)));
                    let series = |key: &Arc<str>| Series { target: target.clone(), key: Arc::clone(key) };
                    let kind = event.latest().map_or(Kind::Event, |key| Kind::Latest(Arc::new(series(key))));
                    append(Content::Event { target: target.clone(), frame: frame.clone(), kind });
                    let outcome = self.hub.deliver(position, &target, &frame, true, seen, |_, _| {});
                    self.count_outcome(outcome);
                    receipt.delivered = Some(outcome.delivered);
                    if let Some(key) = event.key() {
                        self.window.remember(key.into(), receipt.clone(), seen);
                    }
                }
            }
            Body::Ask { target, event, deadline } => {
                let outcome = self.apply_ask(position, target, &event, deadline, ask, seen, &append);
                receipt.delivered = Some(outcome.delivered);
            }
            Body::Join { member, room } => {
                append(Content::Nothing);
                self.hub.join_user(position, &member, &room, envelope.node == runtime.node, seen);
            }
            Body::Leave { member, room } => {
                append(Content::Nothing);
                self.hub.leave_user(position, &member, &room);
            }
            Body::Absent { member, seen: until } => {
                append(Content::Nothing);
                // They came back while it was said: they are told that their rooms have ended.
                for connection in self.hub.end_absent(position, &member, until, seen) {
                    self.restart(&connection, Drain::now());
                }
            }
            Body::Close { target, reason } => {
                append(Content::Nothing);
                self.hub.skip(position);
                self.apply_close(position, &target, &reason);
            }
        }
        tracing::debug!(
            provider = self.config.provider,
            event = %envelope.id,
            %position,
            delivered = ?receipt.delivered,
            "applied"
        );
        if let Some(waiter) = waiter
            && waiter.done.send(receipt).is_err()
        {
            // The sender has given up meanwhile; if it asked, nobody waits for the answers.
            if let Some(ask) = &waiter.ask {
                self.asks().end(position.get(), ask);
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of one record")]
    fn apply_ask(
        &self,
        position: Position,
        target: Target,
        event: &Event,
        deadline: SystemTime,
        ask: Option<Arc<crate::values::ack::Ask>>,
        seen: Instant,
        append: &dyn Fn(Content<C::Frame>),
    ) -> Outcome {
        let frame = self.codec.ask(event, position.get());
        if let Some(ask) = &ask {
            ask.set_number(position.get());
            self.asks().begin(position.get(), Arc::clone(ask));
        }
        append(Content::Event { target: target.clone(), frame: frame.clone(), kind: Kind::Ask(deadline) });
        let outcome = self.hub.deliver(position, &target, &frame, false, seen, |connection, pushed| {
            let Some(ask) = &ask else { return };
            match pushed {
                None => {
                    ask.expect(connection.info.id, seen);
                    let given_up = self.asks().expect(position.get(), connection.info.id);
                    if let Some(oldest) = given_up {
                        oldest.settle(connection.info.id, AckStatus::GivenUp, None);
                    }
                }
                // It left after it was looked up: its end may have been told before it was expected to answer.
                Some(Pushed::Closed) => {
                    self.asks().settle(position.get(), connection.info.id);
                    ask.settle(connection.info.id, AckStatus::Gone, None);
                }
                Some(_) => {}
            }
        });
        self.count_outcome(outcome);
        outcome
    }

    /// Closes whom a target means of those that came before this place; none while the window is filled, since whoever is
    /// here came later than all that is read into it.
    fn apply_close(&self, position: Position, target: &Target, reason: &CloseReason) {
        if position.get() <= self.filled.load(Ordering::Acquire) {
            return;
        }
        for connection in self.hub.matching(target).iter().filter(|connection| connection.born < position) {
            connection.close(reason.clone());
        }
    }

    fn count_outcome(&self, outcome: Outcome) {
        add(&self.counters.dropped, outcome.delivered.dropped);
        add(&self.counters.overflows, outcome.overflows);
    }

    /// Between two records: looks after connections, and tells quiet ones their place.
    pub(super) fn beat(&self) {
        let now = Instant::now();
        self.end_absent(self.sweep(now));
        let applied = self.hub.applied();
        let quarter = (self.config.window.records as u64 / 4).max(1);
        // By age too, so that the place of a quiet client outlives a window that turns over by time.
        let told = Position::new(applied.get().saturating_sub(quarter)).max(self.window.quarter(now));
        if told > Position::START && told <= applied {
            self.hub.push_cursors(told, &self.codec.cursor(self.cursor(applied)), now);
        }
    }
}
