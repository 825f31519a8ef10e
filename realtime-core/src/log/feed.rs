//! The interface through which a log passes its records to a provider.

use std::cell::OnceCell;
use std::ops::Bound;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::log::backplane::LogState;
use crate::log::life::ConnectionLife;
use crate::log::presence::Presence;
use crate::log::record::Record;
use crate::log::refresh::RefreshOutcome;
use crate::log::room_table::RoomTable;
use crate::values::ack::Ask;
use crate::values::close::CloseReason;
use crate::values::connection::ConnectionId;
use crate::values::cursor::{Cursor, Mark};
use crate::values::error::Result;
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::receipt::{Delivered, Receipt};
use crate::values::stamp::Stamp;
use crate::values::target::Target;
use crate::values::token::Token;

/// One provider's side of the log: applies or skips each record. The methods from [`Feed::applied`]
/// to [`Feed::tick`], and [`Feed::disconnect_all`], change with the log and are called under the
/// lock of [`Applied`](crate::log::shared::Applied), one call after the other.
pub(crate) trait Feed: Send + Sync + 'static {
    /// Returns the provider's name, by which records address it.
    fn provider(&self) -> &'static str;

    /// Returns the interval between calls of [`Feed::tick`].
    fn tick_interval(&self) -> Duration;

    /// Returns how long the provider recognizes the repeat of an event that it was given.
    fn repeat_window(&self) -> Duration;

    /// Returns the position of the last record that was applied or passed.
    fn applied(&self) -> Position;

    /// Returns the position after which the provider would read a log in this state.
    fn start_in(&self, state: &LogState) -> Position;

    /// Starts, or starts again, with a log in this state after the start position in it.
    fn reset(&self, state: &LogState, beginning: &Beginning);

    /// Continues after this position, before which records are missing.
    fn jump(&self, position: Position);

    /// Applies a record that is for this provider. Connections that have something to take are
    /// added to `wakes`.
    fn apply(&self, record: &Placed<'_>, wakes: &mut Wakes) -> Receipt;

    /// Skips a record that is for other providers, or that cannot be read.
    fn pass(&self, position: Position, mark: Mark, seen: Instant);

    /// Counts a record that cannot be read.
    fn count_skipped(&self);

    /// Cancels an ask whose answers are no longer awaited.
    fn cancel_ask(&self, position: Position, ask: &Arc<Ask>);

    /// Maintains the provider's connections; called between two records.
    fn tick(&self);

    /// Sets whether the log is being read, and this provider has all records that were in it when
    /// the reading began.
    fn set_ready(&self, ready: bool);

    /// Returns the value that was set last; not ready at first.
    fn is_ready(&self) -> bool;

    /// Drains the provider of a node that cannot read the log any further, so that its clients
    /// reconnect to a newer one.
    fn drain_outdated(&self);

    /// Disconnects every connection, so that each client reconnects and starts again.
    fn disconnect_all(&self);

    /// Cancels the pending asks, whose numbers are lost.
    fn cancel_asks(&self);

    /// Returns whether the provider can carry this event, which another node may have sent to all
    /// providers, or this ask.
    fn carries(&self, event: &Event, is_ask: bool) -> bool;

    /// Checks whether the provider can carry this event.
    ///
    /// # Errors
    /// Those of [`crate::RealtimeBroadcast::send`] that are certain before the event is in the log.
    fn check(&self, target: &Target, event: &Event) -> Result<()>;

    /// Checks whether the provider's clients can be asked this.
    ///
    /// # Errors
    /// Those of [`Feed::check`], and those of [`Log::ask`](crate::log::handle::Log::ask) for a
    /// provider.
    fn check_ask(&self, target: &Target, event: &Event) -> Result<()>;

    /// Delivers an event that skips the log; `widen` lets the provider show a room's event to
    /// everyone, if it is configured to.
    fn deliver_volatile(&self, target: &Target, event: &Event, widen: bool) -> Delivered;

    /// Returns the directory's entry of a connection, registered now; `None` if there is no such
    /// connection.
    fn presence(&self, connection: ConnectionId) -> Option<Presence>;

    /// Returns the directory's entries of the provider's connections, registered now.
    fn presences(&self) -> Vec<Presence>;

    /// Probes the connections of this user, of this tenant or without a tenant, for a sign of life.
    fn probe(&self, member: &Member);

    /// Returns up to `most` of the users who are joined to a room, in their order, from this one
    /// on; a user who is joined by the bare name has no tenant.
    fn members(&self, room: &str, from: Bound<&Member>, most: usize) -> Vec<Member>;

    /// Returns whether a user of a tenant, or without a tenant, is joined to a room.
    fn is_joined(&self, member: &Member, room: &str) -> bool;

    /// Returns the rooms of a user, as far as this provider knows them.
    fn user_rooms(&self, member: &Member) -> Vec<String>;

    /// Closes the current connections of a target; returns how many were notified.
    fn close(&self, target: &Target, reason: &CloseReason) -> usize;

    /// Closes the current connections with this token; returns how many were notified.
    fn revoke(&self, token: &str) -> usize;

    /// Returns the positions of the records with this mark in the provider's window, and what the
    /// window covers.
    fn marked(&self, mark: Mark) -> Marked;

    /// Returns the open connections of a user, in any tenant or in one, with their stays in this
    /// room.
    fn lives(&self, member: &Member, room: Option<&str>) -> Vec<ConnectionLife>;

    /// Returns whether the server had joined a user of a tenant, or without a tenant, to a room at
    /// this position; `None` if that is no longer known.
    fn was_joined(&self, member: &Member, room: &str, position: Position) -> Option<bool>;

    /// Returns whether an answer of a connection to the ask at this position is awaited.
    fn awaits(&self, position: Position, connection: ConnectionId) -> bool;

    /// Returns whether the provider shows to everyone what its own broadcast sends to a room.
    fn widens(&self) -> bool;

    /// Refreshes the credentials of a connection; `None` if the provider has no such connection.
    fn refresh(&self, connection: ConnectionId, token: Token) -> Option<BoxFuture<'static, RefreshOutcome>>;
}

/// The part of a log before the position after which a provider reads it.
#[derive(Debug, Default)]
pub(crate) struct Beginning {
    /// The id of the record at that position, if it can still be read.
    pub(crate) before: Option<EventId>,
    /// The rooms that users were joined to at that position.
    pub(crate) rooms: RoomTable,
}

/// The records of a window that have a mark.
#[derive(Debug, Default)]
pub(crate) struct Marked {
    pub(crate) positions: Vec<Position>,
    /// The position before the oldest record of the window, and that of its newest.
    pub(crate) start: Position,
    pub(crate) end: Position,
}

/// A record and its context while it is applied.
pub(crate) struct Placed<'a> {
    pub(crate) position: Position,
    pub(crate) mark: Mark,
    pub(crate) record: &'a Record,
    /// `true` if this node created the record.
    pub(crate) ours: bool,
    /// The pending ask of this node that the record belongs to, if there is one.
    pub(crate) ask: Option<&'a Arc<Ask>>,
    /// The time at which the record arrived.
    pub(crate) seen: Instant,
    /// The moment of the send, or of the arrival from another node, if the record is timed.
    pub(crate) sent: Stamp,
    /// The cursor for the position, created by the first provider that needs it.
    pub(crate) cursor: OnceCell<Cursor>,
}

/// A task that waits for records.
pub(crate) trait Wake: Send + Sync {
    /// Notifies the task that there is something to take.
    fn wake(&self);
}

/// The tasks to wake when a record has been applied and the lock is free again. In a large fan-out
/// some are woken earlier, so that their sessions write while the record is delivered to the rest.
#[derive(Default)]
pub(crate) struct Wakes(Vec<Arc<dyn Wake>>);

impl Wakes {
    /// The number of tasks after which the collected ones are woken.
    const MOST: usize = 256;

    /// Adds a task.
    pub(crate) fn add(&mut self, task: Arc<dyn Wake>) {
        if self.0.len() == Self::MOST {
            self.wake();
        }
        self.0.push(task);
    }

    /// Wakes all collected tasks.
    pub(crate) fn wake(&mut self) {
        self.0.drain(..).for_each(|task| task.wake());
    }
}
