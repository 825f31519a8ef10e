//! A provider's side of the log: each record goes into the window and the hub.

use futures_util::future::BoxFuture;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::time::Instant;

use crate::delivery::connection::Connection;
use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::hub::Outcome;
use crate::delivery::outbox::Pushed;
use crate::delivery::window::{Content, Kind, Record as Kept, Series};
use crate::log::backplane::LogState;
use crate::log::feed::{Beginning, Feed, Marked, Placed, Wakes};
use crate::log::life::ConnectionLife;
use crate::log::presence::Presence;
use crate::log::record::Body;
use crate::log::refresh::RefreshOutcome;
use crate::traits::codec::Codec;
use crate::traits::runtime::Runtime;
use crate::values::ack::{AckStatus, Ask};
use crate::values::close::CloseReason;
use crate::values::config::RoomDelivery;
use crate::values::connection::ConnectionId;
use crate::values::cursor::Mark;
use crate::values::drain::Drain;
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::receipt::{Delivered, Receipt};
use crate::values::stats::add;
use crate::values::target::Target;
use crate::values::token::Token;

/// The time over which the connections of a node close that cannot read the log any further.
const OUTDATED_DRAIN: Duration = Duration::from_secs(10);
/// The interval at which connections and the window are swept.
const BEAT: Duration = Duration::from_secs(1);

impl<C: Codec> Dispatcher<C> {
    /// Attaches the dispatcher: reads the log's newest part into the window, then follows it.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the log cannot be read, [`Error::Config`] when attached already.
    pub async fn attach(self: &Arc<Self>, runtime: Runtime) -> Result<()> {
        self.config.check()?;
        self.router.check()?;
        let provider = self.config.provider;
        if self.runtime.set(runtime.clone()).is_err() {
            return Err(Error::Config(format!("the provider \"{provider}\" is already attached")));
        }
        let feed = self.unowned();
        tokio::spawn(Arc::clone(&feed).shut_down_without_owner());
        tokio::spawn(Arc::clone(&feed).watch_expiries());
        self.admission.join(&runtime.slots, self.config.delivery.limits.connections_per_user);
        let feed: Arc<dyn Feed> = feed;
        let sit = |seat| {
            let _ = self.running.seat.set(seat);
        };
        let joined = runtime.log.join(&feed, sit).await;
        // Not before: other nodes await reports about all records that are appended while this node
        // has a lease.
        self.running.set_tracked(runtime.tracker.join(&runtime.log));
        runtime.tracker.offered().await;
        if self.is_closing() {
            // The dispatcher was shut down meanwhile.
            self.running.leave(&runtime);
        }
        joined
    }

    fn apply_event(&self, placed: &Placed<'_>, target: &Target, event: &Event, wakes: &mut Wakes) -> Outcome {
        let &Placed { position, mark, seen, sent, .. } = placed;
        let cursor = *placed.cursor.get_or_init(|| self.cursor_of(position, mark));
        let frame = self.codec.event(event, Some(cursor));
        let series = |key: &Arc<str>| Series { target: target.clone(), key: Arc::clone(key) };
        let kind = event.latest_key().map_or(Kind::Event, |key| Kind::Latest(Arc::new(series(key))));
        self.keep((position, mark, seen), Content::Event { target: target.clone(), frame: frame.clone(), kind });
        self.hub.deliver(position, target, &frame, true, seen, sent, |_, _| {}, wakes)
    }

    fn apply_ask(
        &self,
        placed: &Placed<'_>,
        target: &Target,
        event: &Event,
        timeout: Duration,
        wakes: &mut Wakes,
    ) -> Outcome {
        let &Placed { position, mark, seen, sent, ask, .. } = placed;
        let frame = self.codec.ask(event, position.get());
        if let Some(ask) = ask {
            ask.set_number(position.get());
            self.asks().begin(position.get(), Arc::clone(ask));
        }
        let kind = Kind::Ask(seen + timeout);
        self.keep((position, mark, seen), Content::Event { target: target.clone(), frame: frame.clone(), kind });
        let expect = |connection: &Connection<C::Frame>, pushed| {
            if let Some(ask) = ask {
                self.expect_answer(ask, placed, connection.info.id, pushed);
            }
        };
        self.hub.deliver(position, target, &frame, false, seen, sent, expect, wakes)
    }

    /// Notes that a connection is about to get an ask, or that it cannot answer because it was
    /// closed before the push.
    fn expect_answer(&self, ask: &Ask, placed: &Placed<'_>, connection: ConnectionId, pushed: Option<Pushed>) {
        let &Placed { position, seen, .. } = placed;
        match pushed {
            None => {
                ask.expect(connection, self.config.provider, seen);
                let oldest = self.asks().expect(position.get(), connection);
                if let Some(oldest) = oldest {
                    oldest.settle(connection, AckStatus::GivenUp, None);
                }
            }
            // Unregistered after it was looked up: its asks may have been settled before it was
            // expected to answer.
            Some(Pushed::Closed) => {
                self.asks().settle(position.get(), connection);
                ask.settle(connection, AckStatus::Gone, None);
            }
            Some(_) => {}
        }
    }

    /// Applies a record that no connection gets as a frame; the outcome counts the connections that
    /// it closes.
    fn apply_change(&self, placed: &Placed<'_>) -> Outcome {
        let mut closed = 0;
        let &Placed { position, mark, seen, ours, record, .. } = placed;
        self.keep((position, mark, seen), Content::Nothing);
        match &record.body {
            Body::Join { member, room } => self.hub.join_user(position, member, room, ours, seen),
            Body::Leave { member, room } => self.hub.leave_user(position, member, room),
            Body::Absent { member, seen: until } => {
                // Connected while the absence was announced: they have to learn that their rooms
                // have ended.
                for connection in self.hub.end_absent(position, member, *until, seen) {
                    self.restart(&connection, Drain::now());
                }
            }
            Body::Close { target, reason } => {
                self.hub.skip(position);
                closed = self.apply_close(position, target, reason);
            }
            Body::Check { members } => {
                let here = self.hub.check_absence(position, members, self.absence_times().age, seen);
                self.confirm_presence(here);
            }
            Body::Present { member } => {
                self.hub.confirm_presence(position, member, self.absence_times().age, seen);
            }
            Body::Revoke(revocation) => {
                self.hub.skip(position);
                closed = self.end_token(&revocation.token);
            }
            // The first two are not for this function, the others not for a log.
            Body::Ask { .. }
            | Body::Decided(_)
            | Body::Event { .. }
            | Body::Explain(_)
            | Body::Explained(_)
            | Body::Probe { .. }
            | Body::Received(_)
            | Body::Refresh(_)
            | Body::Refreshed { .. }
            | Body::Report(_)
            | Body::Taken(_) => self.hub.skip(position),
        }
        Outcome { delivered: Delivered { matched: closed, ..Delivered::default() }, ..Outcome::default() }
    }

    /// Puts a record into the window. The next step of every caller is the one that makes the hub's
    /// `applied` this position.
    fn keep(&self, (position, mark, seen): (Position, Mark, Instant), content: Content<C::Frame>) {
        self.window.append(Kept { position, mark, content, seen });
    }

    /// Closes the connections of a target that were registered before this position. None while the
    /// window is filled, since all connections were registered after the records that are read into
    /// it. Returns how many were not closed before.
    fn apply_close(&self, position: Position, target: &Target, reason: &CloseReason) -> usize {
        if position.get() <= self.filled.load(Ordering::Acquire) {
            return 0;
        }
        let matching = self.hub.matching(target);
        let meant = matching.iter().filter(|connection| connection.registered_at < position);
        meant.filter(|connection| self.end(connection, reason)).count()
    }

    /// Counts what a delivery dropped, and the connections that it put behind.
    pub(super) fn count_outcome(&self, outcome: Outcome) {
        add(&self.counters.dropped, outcome.delivered.dropped);
        add(&self.counters.dropped_closed, outcome.closed);
        add(&self.counters.overflows, outcome.overflows);
    }

    /// Sweeps the connections, and sends quiet ones a cursor. Only called between two records.
    fn sweep_and_send_cursors(&self) {
        let now = Instant::now();
        let absent = self.sweep(now);
        // After an outage the absences begin anew once the log has been read.
        if self.is_log_read() {
            self.end_absent(absent);
        }
        let applied = self.hub.applied();
        let quarter = (self.config.delivery.window.records as u64 / 4).max(1);
        // By age too, so that the cursor of a quiet client outlives a window that turns over by
        // time.
        let since = Position::new(applied.get().saturating_sub(quarter)).max(self.window.quarter(now));
        if since > Position::START && since <= applied {
            self.hub.push_cursors(since, &self.codec.cursor(self.cursor(applied)), now);
        }
    }
}

impl<C: Codec> Feed for Dispatcher<C> {
    fn provider(&self) -> &'static str {
        self.config.provider
    }

    fn tick_interval(&self) -> Duration {
        BEAT.min(self.config.delivery.write_stall / 4).max(Duration::from_millis(10))
    }

    fn repeat_window(&self) -> Duration {
        self.config.delivery.window.age
    }

    fn applied(&self) -> Position {
        self.hub.applied()
    }

    fn start_in(&self, state: &LogState) -> Position {
        let most = self.config.delivery.window.records as u64;
        state.start.max(Position::new(state.last.get().saturating_sub(most)))
    }

    fn reset(&self, state: &LogState, beginning: &Beginning) {
        self.begin_life(state, self.start_in(state), beginning);
    }

    fn jump(&self, position: Position) {
        self.hub.jump(position, || self.window.restart(position, Mark::NONE));
        self.restart_all();
    }

    fn apply(&self, placed: &Placed<'_>, wakes: &mut Wakes) -> Receipt {
        let &Placed { position, record, .. } = placed;
        let outcome = match &record.body {
            Body::Event { target, event, widen } => {
                self.apply_event(placed, &self.audience_of(target, *widen), event, wakes)
            }
            Body::Ask { target, event, timeout } => self.apply_ask(placed, target, event, *timeout, wakes),
            _ => self.apply_change(placed),
        };
        self.count_outcome(outcome);
        Receipt::new(record.id, Some(position), Some(outcome.delivered))
    }

    fn pass(&self, position: Position, mark: Mark, seen: Instant) {
        self.keep((position, mark, seen), Content::Passed);
        self.hub.skip(position);
    }

    fn count_skipped(&self) {
        add(&self.counters.skipped_records, 1);
    }

    fn cancel_ask(&self, position: Position, ask: &Arc<Ask>) {
        self.asks().end(position.get(), ask);
    }

    fn tick(&self) {
        self.sweep_and_send_cursors();
    }

    fn set_ready(&self, ready: bool) {
        if !self.running.ready.swap(ready, Ordering::AcqRel) && ready {
            self.hub.restart_absences(Instant::now());
        }
    }

    fn is_ready(&self) -> bool {
        self.is_log_read()
    }

    fn drain_outdated(&self) {
        let dispatcher = self.unowned();
        tokio::spawn(async move { dispatcher.drain(Drain::over(OUTDATED_DRAIN)).await });
    }

    fn disconnect_all(&self) {
        self.restart_all();
    }

    fn cancel_asks(&self) {
        let asks = self.asks().begin_anew();
        for (ask, connections) in asks {
            for connection in connections {
                ask.settle(connection, AckStatus::Gone, None);
            }
        }
    }

    fn carries(&self, event: &Event, is_ask: bool) -> bool {
        let capabilities = self.config.capabilities;
        (capabilities.binary || !event.payload().is_binary()) && (capabilities.acks || !is_ask)
    }

    fn check(&self, target: &Target, event: &Event) -> Result<()> {
        self.check_event(target, event)
    }

    fn check_ask(&self, target: &Target, event: &Event) -> Result<()> {
        self.check_question(target, event)
    }

    fn deliver_volatile(&self, target: &Target, event: &Event, widen: bool) -> Delivered {
        self.deliver_now(target, event, widen).delivered
    }

    fn presence(&self, connection: ConnectionId) -> Option<Presence> {
        self.hub.presence(self.node_id()?, connection)
    }

    fn presences(&self) -> Vec<Presence> {
        self.hub.everyone().iter().filter_map(|connection| self.presence(connection.info.id)).collect()
    }

    fn probe(&self, member: &Member) {
        self.probe_user(member);
    }

    fn members(&self, room: &str, from: Bound<&Member>, most: usize) -> Vec<Member> {
        self.hub.members(room, from, most)
    }

    fn is_joined(&self, member: &Member, room: &str) -> bool {
        self.hub.is_joined(member, room)
    }

    fn user_rooms(&self, member: &Member) -> Vec<String> {
        self.hub.user_rooms(member)
    }

    fn close(&self, target: &Target, reason: &CloseReason) -> usize {
        self.close_here(target, reason)
    }

    fn revoke(&self, token: &str) -> usize {
        self.end_token(token)
    }

    fn marked(&self, mark: Mark) -> Marked {
        self.window.marked(mark)
    }

    fn lives(&self, member: &Member, room: Option<&str>) -> Vec<ConnectionLife> {
        self.lives_of(member, room)
    }

    fn was_joined(&self, member: &Member, room: &str, position: Position) -> Option<bool> {
        self.was_joined_at(member, room, position)
    }

    fn awaits(&self, position: Position, connection: ConnectionId) -> bool {
        self.asks().awaits(position.get(), connection)
    }

    fn widens(&self) -> bool {
        self.config.room_delivery == RoomDelivery::Everyone
    }

    fn refresh(&self, connection: ConnectionId, token: Token) -> Option<BoxFuture<'static, RefreshOutcome>> {
        let connection = self.hub.find(connection)?;
        let dispatcher = self.unowned();
        Some(Box::pin(async move { dispatcher.refresh_here(&connection, &token.0).await }))
    }
}
