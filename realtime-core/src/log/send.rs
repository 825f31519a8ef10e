//! Sends over several providers: one record for all of them.

use std::sync::Arc;

use crate::log::feed::Feed;
use crate::log::handle::Log;
use crate::log::record::{Body, Providers};
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::receipt::Receipt;
use crate::values::target::Target;

/// What an error calls a provider when any would do.
pub(crate) const ANY: &str = "any";

/// Providers that can carry an event, and the names of those that cannot.
type Carriers = (Vec<Arc<dyn Feed>>, Vec<String>);

impl Log {
    /// Sends an event over these of the attached providers, all or nothing: one record. An event for a room reaches its members,
    /// over SSE too. Without names it goes over all that can carry it, on every node; the others are in the receipt's `skipped`.
    ///
    /// # Errors
    /// Those of [`crate::RealtimeBroadcast::send`], before anything is in the log, from a named provider that cannot carry the
    /// event, or from the first one when none can; [`Error::NotAttached`] for one that was never attached, [`Error::Closed`] for one that has ended, and
    /// without names when there is none.
    pub async fn send(&self, names: Option<&[&str]>, target: Target, event: Event) -> Result<Receipt> {
        target.check()?;
        let (feeds, skipped) = self.carriers(names, &target, &event)?;
        let able = || Providers::these(feeds.iter().map(|feed| feed.provider()));
        let named = if names.is_some() { able() } else { Providers::ALL };
        let providers = if skipped.is_empty() { named.clone() } else { able() };
        let id = EventId::random();
        let mut receipt = if event.is_volatile() {
            let mut receipt = Receipt::new(id, None, None);
            for feed in &feeds {
                receipt.add(feed.provider(), Receipt::new(id, None, Some(feed.hear(&target, &event, false))));
            }
            self.publish(providers, id, Body::Event { target, event, widen: false }).await?;
            receipt
        } else {
            self.append_event(&named, providers, id, Body::Event { target, event, widen: false }).await?
        };
        match (&*feeds, receipt.delivered) {
            ([feed], Some(delivered)) => {
                receipt.by_provider.entry(feed.provider().to_owned()).or_insert(delivered);
            }
            (feeds, Some(nothing)) if receipt.repeated() => {
                receipt.by_provider = feeds.iter().map(|feed| (feed.provider().to_owned(), nothing)).collect();
            }
            _ => {}
        }
        receipt.skipped = skipped;
        Ok(receipt)
    }

    /// Whether a provider of this name is attached, or was and has ended.
    pub fn knows(&self, name: &str) -> bool {
        self.0.state().known.contains(&name)
    }

    fn carriers(&self, names: Option<&[&str]>, target: &Target, event: &Event) -> Result<Carriers> {
        let (mut carriers, mut skipped, mut first) = (Vec::new(), Vec::new(), None);
        let feeds = self.feeds();
        let is_gone = |name: &&&str| feeds.iter().all(|feed| feed.provider() != **name);
        if let Some(gone) = names.and_then(|names| names.iter().find(is_gone)) {
            return Err(self.nobody(gone));
        }
        for feed in feeds {
            if names.is_some_and(|names| !names.contains(&feed.provider())) {
                continue;
            }
            match feed.check(target, event) {
                Ok(()) => carriers.push(feed),
                Err(error) if names.is_some() => return Err(error),
                Err(error) => {
                    skipped.push(feed.provider().to_owned());
                    first.get_or_insert(error);
                }
            }
        }
        if carriers.is_empty() {
            return Err(first.unwrap_or_else(|| self.nobody(ANY)));
        }
        Ok((carriers, skipped))
    }

    /// Why there is no provider of this name.
    pub(crate) fn nobody(&self, provider: &str) -> Error {
        let was_there = if provider == ANY { self.had_providers() } else { self.knows(provider) };
        let provider = provider.to_owned();
        if was_there { Error::Closed { provider } } else { Error::NotAttached { provider } }
    }
}
