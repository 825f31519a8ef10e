//! What a log hands its records to.

use std::cell::OnceCell;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use crate::log::backplane::LogState;
use crate::log::record::Record;
use crate::values::ack::Ask;
use crate::values::close::CloseReason;
use crate::values::connection::ConnectionInfo;
use crate::values::cursor::{Cursor, Mark};
use crate::values::error::Result;
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::identity::Identity;
use crate::values::member::Member;
use crate::values::position::Position;
use crate::values::receipt::{Delivered, Receipt};
use crate::values::target::Target;

/// One provider's side of the log: what it does with each record. What changes with the log (from [`Feed::applied`] to
/// [`Feed::beat`], and [`Feed::send_back`]) is called under the lock of what is applied, one call after the other.
pub(crate) trait Feed: Send + Sync + 'static {
    /// The provider's name, by which records mean it.
    fn provider(&self) -> &'static str;

    /// How often [`Feed::beat`] is to be called.
    fn beats_every(&self) -> Duration;

    /// For how long the repeat of an event that it was given is known.
    fn knows_repeats_for(&self) -> Duration;

    /// The place of the last record that was applied or passed.
    fn applied(&self) -> Position;

    /// The place after which it would read a log in this state.
    fn start_in(&self, state: &LogState) -> Position;

    /// Begins, or begins anew, with a log in this state after its start in it; `before` is the id of the record there, if it
    /// can still be read.
    fn take_up(&self, state: &LogState, before: Option<EventId>);

    /// Goes on after this place, before which records are missing.
    fn jump(&self, place: Position);

    /// Applies a record that is for it. Connections that have something to take now are added to those to wake.
    fn apply(&self, record: &Placed<'_>, wakes: &mut Wakes) -> Receipt;

    /// Passes over a record that is not for it, or that nobody can read.
    fn pass(&self, position: Position, mark: Mark, seen: Instant);

    /// Counts a record that nobody can read.
    fn count_skipped(&self);

    /// Nobody waits for the answers to this ask any more.
    fn end_ask(&self, position: Position, ask: &Arc<Ask>);

    /// Between two records: looks after connections.
    fn beat(&self);

    /// Whether the log is being read, and this provider has all that was in it when the reading began.
    fn set_ready(&self, ready: bool);

    /// What was set last; not ready at first.
    fn is_ready(&self) -> bool;

    /// Sends every connection back to begin anew.
    fn send_back(&self);

    /// The asks under way have lost their numbers.
    fn end_asks(&self);

    /// Whether it can carry this event.
    ///
    /// # Errors
    /// Those of [`crate::RealtimeBroadcast::send`] that are certain before the event is in the log.
    fn check(&self, target: &Target, event: &Event) -> Result<()>;

    /// Whether its clients can be asked this.
    ///
    /// # Errors
    /// Those of [`Feed::check`], and those of [`Log::ask`](crate::log::handle::Log::ask) for a provider.
    fn check_ask(&self, target: &Target, event: &Event) -> Result<()>;

    /// Delivers what goes past the log; `widen` lets it show a room's event to everyone, if that is its setting.
    fn hear(&self, target: &Target, event: &Event, widen: bool) -> Delivered;

    /// Calls this with each of its connections.
    fn each_online(&self, call: &mut dyn FnMut(&ConnectionInfo));

    /// Asks the connections of this user, of this tenant, for a sign of life.
    fn probe(&self, identity: &Identity);

    /// The rooms of a user, as far as this provider knows them.
    fn user_rooms(&self, member: &Member) -> Vec<String>;

    /// Closes the connections of a target that are here now; answers how many were told.
    fn close(&self, target: &Target, reason: &CloseReason) -> usize;
}

/// A record as it is applied.
pub(crate) struct Placed<'a> {
    pub(crate) position: Position,
    pub(crate) mark: Mark,
    pub(crate) record: &'a Record,
    /// Whether this node made it.
    pub(crate) ours: bool,
    /// The ask of this node that it is, if somebody waits for the answers.
    pub(crate) ask: Option<&'a Arc<Ask>>,
    /// When it came.
    pub(crate) seen: Instant,
    /// The cursor for its place, made by the first provider that needs it.
    pub(crate) cursor: OnceCell<Cursor>,
}

/// Something that waits for records.
pub(crate) trait Wake: Send + Sync {
    /// There is something for it.
    fn wake(&self);
}

/// Who is to be woken when a record has been applied and the lock is free again. In a large fan-out some are woken before,
/// so that their sessions write while the others still get theirs.
#[derive(Default)]
pub(crate) struct Wakes(Vec<Arc<dyn Wake>>);

impl Wakes {
    /// How many are kept.
    const MOST: usize = 256;

    /// Adds one.
    pub(crate) fn add(&mut self, one: Arc<dyn Wake>) {
        if self.0.len() == Self::MOST {
            self.wake();
        }
        self.0.push(one);
    }

    /// Wakes all that were added.
    pub(crate) fn wake(&mut self) {
        self.0.drain(..).for_each(|one| one.wake());
    }
}
