//! Names that are taken once.

use std::time::Duration;

use crate::log::handle::Log;
use crate::log::record::{Body, Providers, Record};
use crate::log::repeat::RepeatKey;
use crate::values::cursor::Epoch;
use crate::values::error::Result;
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::target::Target;

impl Log {
    /// Returns the epoch of the log as this node knows it; `None` before it has read the log.
    #[must_use]
    pub fn epoch(&self) -> Option<Epoch> {
        self.0.state().epoch
    }

    /// Takes a name in this epoch of the log, and returns whether it was free: of all calls on all
    /// nodes one gets it. The log decides, which remembers the name for this long, or for as long
    /// as it has room for it. It costs a record, which no client gets.
    ///
    /// # Errors
    /// [`Error::Backplane`](crate::Error::Backplane), also when the log has another epoch, and
    /// [`Error::OutcomeUnknown`](crate::Error::OutcomeUnknown): the name may be taken then.
    pub async fn take_once(&self, epoch: Epoch, name: &[u8], keep: Duration) -> Result<bool> {
        let event = Event::json("once", &())?;
        let body = Body::Event { target: Target::all(), event, widen: false };
        let id = EventId::random();
        let record = Record::new(id, self.0.node.id, Providers::named([]), body);
        let receipt = self.append_in(epoch, Some(RepeatKey::of_name(name, keep)), record, None).await?;
        // A backplane that repeats an append by itself finds its own record.
        Ok(receipt.id == id)
    }
}
