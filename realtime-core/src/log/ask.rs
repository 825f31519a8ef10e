//! Asks over several providers: one record for all of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

use crate::log::handle::Log;
use crate::log::record::{Body, Providers};
use crate::log::send::ANY;
use crate::values::ack::{Acks, Ask};
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::position::Position;
use crate::values::target::Target;

/// What a provider whose clients cannot answer does not support.
pub(crate) const ACKS: &str = "acks";

/// The longest an ask waits; more counts as this.
const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);

impl Log {
    /// Asks the connections of a target with these of the attached providers, or without names with each whose clients can
    /// answer: one record, and one deadline for all of them, which is a day away at most. The answers come as they arrive.
    ///
    /// # Errors
    /// Those of [`Log::send`]; [`Error::Unsupported`] when a named provider's clients cannot answer, or nobody's can, and for a
    /// volatile event or one with a key.
    pub async fn ask(&self, names: Option<&[&str]>, target: Target, event: Event, timeout: Duration) -> Result<Acks> {
        target.check()?;
        let (asked, unable) = self.able(names, |feed| feed.check_ask(&target, &event))?;
        if asked.is_empty() {
            // That nobody can answer is said only if there is nothing else to say.
            let says_more = |first, next| if is_without_acks(&first) { next } else { first };
            let error = unable.into_iter().map(|(_, error)| error).reduce(says_more);
            return Err(error.unwrap_or_else(|| self.nobody(ANY)));
        }
        let providers = Providers::these(asked.iter().map(|feed| feed.provider()));
        let timeout = timeout.min(MAX_TIMEOUT);
        let deadline = Instant::now() + timeout;
        let ask = Arc::new(Ask::new());
        let body = Body::Ask { target, event, deadline: SystemTime::now() + timeout };
        // Made before the append, so that whoever gives up in between leaves nothing behind.
        let acks = Acks::new(Arc::clone(&ask), deadline, {
            let ask = Arc::clone(&ask);
            move || {
                let position = Position::new(ask.number());
                asked.iter().for_each(|feed| feed.end_ask(position, &ask));
            }
        });
        self.append(providers, EventId::random(), body, Some(ask)).await?;
        Ok(acks)
    }
}

fn is_without_acks(error: &Error) -> bool {
    matches!(error, Error::Unsupported { what: ACKS, .. })
}
