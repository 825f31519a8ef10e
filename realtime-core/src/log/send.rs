//! Sends over several providers: one record for all of them.

use std::sync::Arc;

use tracing::Instrument;

use crate::log::feed::Feed;
use crate::log::handle::Log;
use crate::log::record::{Body, Providers};
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::receipt::Receipt;
use crate::values::target::Target;

/// The providers that support an operation.
type Supported = Vec<Arc<dyn Feed>>;
/// The names of the providers that do not, each with the reason.
type Unsupported = Vec<(&'static str, Error)>;

impl Log {
    /// Sends an event over these of the attached providers, all or nothing: one record. An event
    /// for a room reaches its members, over SSE too. Without names the event is sent over all
    /// providers that can carry it, on every node; the others are in the receipt's `skipped`.
    ///
    /// # Errors
    /// Those of [`crate::RealtimeBroadcast::send`], before anything is in the log, from a named
    /// provider that cannot carry the event, or from the first one when none can;
    /// [`Error::NotAttached`] for a provider that was never attached, [`Error::Closed`] for one
    /// that was shut down, and without names when there is no provider.
    pub async fn send(&self, names: Option<&[&str]>, target: Target, mut event: Event) -> Result<Receipt> {
        target.check()?;
        let (feeds, unsupported) = self.partition_feeds(names, |feed| feed.check(&target, &event))?;
        if feeds.is_empty() {
            return Err(unsupported.into_iter().next().map_or_else(|| self.missing_provider(None), |(_, error)| error));
        }
        let supported = || Providers::named(feeds.iter().map(|feed| feed.provider()));
        let named = if names.is_some() { supported() } else { Providers::ALL };
        let providers = if unsupported.is_empty() { named.clone() } else { supported() };
        let id = EventId::random();
        let span = self.publish_span(id, &target, &mut event);
        let sent = async {
            if event.is_volatile() {
                return self.send_volatile(&feeds, providers, id, target, event).await;
            }
            self.append_event(&named, providers, id, Body::Event { target, event, widen: false }).await
        };
        let mut receipt = sent.instrument(span.clone()).await?;
        receipt.record_in(&span);
        match (&*feeds, receipt.delivered) {
            ([feed], Some(delivered)) => {
                receipt.by_provider.entry(feed.provider().to_owned()).or_insert(delivered);
            }
            (feeds, Some(nothing)) if receipt.repeated() => {
                receipt.by_provider = feeds.iter().map(|feed| (feed.provider().to_owned(), nothing)).collect();
            }
            _ => {}
        }
        receipt.skipped = unsupported.into_iter().map(|(name, _)| name.to_owned()).collect();
        Ok(receipt)
    }

    /// Delivers with these providers on this node, and publishes to the others.
    async fn send_volatile(
        &self,
        feeds: &Supported,
        providers: Providers,
        id: EventId,
        target: Target,
        event: Event,
    ) -> Result<Receipt> {
        let mut receipt = Receipt::new(id, None, None);
        let span = self.deliver_span(id, &event);
        span.in_scope(|| {
            for feed in feeds {
                let part = feed.deliver_volatile(&target, &event, false);
                receipt.add(feed.provider(), Receipt::new(id, None, Some(part)));
            }
        });
        receipt.delivered.iter().for_each(|delivered| delivered.record_in(&span));
        drop(span);
        self.publish(providers, id, Body::Event { target, event, widen: false }).await?;
        Ok(receipt)
    }

    /// Returns whether a provider of this name is attached, or was and has been shut down.
    #[must_use]
    pub fn knows(&self, name: &str) -> bool {
        self.0.state().known.contains(&name)
    }

    /// Splits these of the attached providers, or all of them, into those that pass the check and
    /// those that do not, with their errors. Fails if a named provider is not attached or does not
    /// pass the check.
    pub(crate) fn partition_feeds(
        &self,
        names: Option<&[&str]>,
        check: impl Fn(&dyn Feed) -> Result<()>,
    ) -> Result<(Supported, Unsupported)> {
        let feeds = self.feeds();
        let is_detached = |name: &&&str| feeds.iter().all(|feed| feed.provider() != **name);
        if let Some(detached) = names.and_then(|names| names.iter().find(is_detached)) {
            return Err(self.missing_provider(Some(detached)));
        }
        let (mut supported, mut unsupported) = (Vec::with_capacity(feeds.len()), Vec::new());
        for feed in feeds.into_iter().filter(|feed| names.is_none_or(|names| names.contains(&feed.provider()))) {
            match check(&*feed) {
                Ok(()) => supported.push(feed),
                Err(error) if names.is_some() => return Err(error),
                Err(error) => unsupported.push((feed.provider(), error)),
            }
        }
        Ok((supported, unsupported))
    }

    /// Returns the error for a provider that is not attached, or without a name for all of them.
    pub(crate) fn missing_provider(&self, provider: Option<&str>) -> Error {
        let was_attached = provider.map_or_else(|| self.had_providers(), |provider| self.knows(provider));
        let provider = provider.map(str::to_owned);
        if was_attached { Error::Closed { provider } } else { Error::NotAttached { provider } }
    }
}
