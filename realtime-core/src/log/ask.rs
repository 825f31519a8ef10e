//! Asks over several providers: one record for all of them.

use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tracing::Instrument;

use crate::log::handle::Log;
use crate::log::record::{Body, MAX_TIMEOUT, Providers};
use crate::values::ack::{Acks, Ask};
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::position::Position;
use crate::values::target::Target;

/// The feature named in the error of a provider whose clients cannot answer.
pub(crate) const ACKS: &str = "acks";

impl Log {
    /// Asks the connections of a target with these of the attached providers, or without names with
    /// each provider whose clients can answer: one record, and one deadline for all of them, at
    /// most a day away. The answers arrive as a stream.
    ///
    /// # Errors
    /// Those of [`Log::send`]; [`Error::Unsupported`] when a named provider's clients cannot
    /// answer, when no provider's clients can, and for a volatile event or one with a key.
    pub async fn ask(
        &self,
        names: Option<&[&str]>,
        target: Target,
        mut event: Event,
        timeout: Duration,
    ) -> Result<Acks> {
        target.check()?;
        let (asked, unsupported) = self.partition_feeds(names, |feed| feed.check_ask(&target, &event))?;
        if asked.is_empty() {
            // A missing ack capability is the error only if there is no more specific one.
            let more_specific = |first, next| if is_without_acks(&first) { next } else { first };
            let error = unsupported.into_iter().map(|(_, error)| error).reduce(more_specific);
            return Err(error.unwrap_or_else(|| self.missing_provider(None)));
        }
        let providers = Providers::named(asked.iter().map(|feed| feed.provider()));
        let timeout = timeout.min(MAX_TIMEOUT);
        let deadline = Instant::now() + timeout;
        let id = EventId::random();
        let span = self.ask_span(id, &target, &mut event, timeout);
        let ask = Arc::new(Ask::counted(Arc::clone(&self.0.counters.acks)).with_span(span.clone()));
        let body = Body::Ask { target, event, timeout };
        let collecting = self.collect(id, Some(Arc::clone(&ask))).instrument(span.clone()).await;
        // Created before the append, so that a caller that drops the future in between leaves
        // nothing behind.
        let acks = Acks::new(Arc::clone(&ask), deadline, {
            let ask = Arc::clone(&ask);
            move || {
                let position = Position::new(ask.number());
                asked.iter().for_each(|feed| feed.cancel_ask(position, &ask));
                drop(collecting);
            }
        });
        self.append(providers, id, body, Some(ask)).instrument(span).await?;
        Ok(acks.with_id(id))
    }
}

fn is_without_acks(error: &Error) -> bool {
    matches!(error, Error::Unsupported { what: ACKS, .. })
}
