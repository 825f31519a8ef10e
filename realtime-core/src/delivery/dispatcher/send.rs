//! Sends: through the log, or past it for events that are not durable.

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use tokio::time::Instant;

use async_trait::async_trait;
use tracing::Instrument;

use crate::delivery::dispatcher::Dispatcher;
use crate::delivery::hub::Outcome;
use crate::log::handle::Log;
use crate::log::record::Body;
use crate::traits::broadcast::RealtimeBroadcast;
use crate::traits::codec::Codec;
use crate::values::config::RoomDelivery;
use crate::values::error::{Error, Result};
use crate::values::event::Event;
use crate::values::event_id::EventId;
use crate::values::receipt::Receipt;
use crate::values::target::{Scope, Target};

#[async_trait]
impl<C: Codec> RealtimeBroadcast for Arc<Dispatcher<C>> {
    async fn send(&self, target: Target, mut event: Event) -> Result<Receipt> {
        self.check_event(&target, &event)?;
        let id = EventId::random();
        let span = self.open_log()?.publish_span(id, &target, &mut event);
        let sent = async {
            if event.is_volatile() || matches!(target.scope(), Scope::Connection(_)) {
                return self.send_now(id, target, event).await;
            }
            self.append(id, Body::Event { target, event, widen: true }).await
        };
        let receipt = sent.instrument(span.clone()).await?;
        receipt.record_in(&span);
        Ok(receipt)
    }
}

impl<C: Codec> Dispatcher<C> {
    /// Rejects an event that could never be delivered, before anything is appended.
    pub(crate) fn check_event(&self, target: &Target, event: &Event) -> Result<()> {
        event.check()?;
        let config = self.config();
        if event.is_volatile() {
            self.check_keys(event, "idempotency keys of volatile events", "latest keys of volatile events")?;
        } else if matches!(target.scope(), Scope::Connection(_)) {
            let (idempotency, latest) =
                ("idempotency keys of events for one connection", "latest keys of events for one connection");
            self.check_keys(event, idempotency, latest)?;
        }
        if self.is_closing() {
            return Err(Error::Closed { provider: Some(config.provider.to_owned()) });
        }
        target.check()?;
        if event.payload().is_binary() && !config.capabilities.binary {
            return Err(self.unsupported("binary events"));
        }
        let size = event.payload().size();
        let of_service = self.runtime.get().map_or(usize::MAX, |runtime| runtime.max_event_bytes);
        let limit = config.delivery.max_event_bytes.min(of_service);
        if size > limit {
            return Err(Error::TooLarge { size, limit });
        }
        Ok(())
    }

    /// Rejects the keys of an event that is in no log, or that no connection catches up on: they
    /// would have no effect.
    pub(crate) fn check_keys(&self, event: &Event, idempotency: &'static str, latest: &'static str) -> Result<()> {
        if event.idempotency_key().is_some() {
            return Err(self.unsupported(idempotency));
        }
        if event.latest_key().is_some() {
            return Err(self.unsupported(latest));
        }
        Ok(())
    }

    pub(crate) fn unsupported(&self, what: &'static str) -> Error {
        Error::Unsupported { provider: Some(self.config().provider.to_owned()), what }
    }

    /// Appends a record for this provider alone, and waits until this node has applied it.
    pub(crate) async fn append(&self, id: EventId, body: Body) -> Result<Receipt> {
        let receipt = self.open_log()?.append(self.only.clone(), id, body, None).await?;
        tracing::trace!(provider = self.config().provider, event = %id, position = ?receipt.position, "sent");
        Ok(receipt)
    }

    /// Returns the log that the provider is attached to, while sends are accepted.
    pub(crate) fn open_log(&self) -> Result<&Log> {
        if self.is_closing() {
            return Err(Error::Closed { provider: Some(self.config().provider.to_owned()) });
        }
        Ok(&self.runtime()?.log)
    }

    /// Delivers to this node's connections, and publishes to the other nodes, without the log.
    async fn send_now(&self, id: EventId, target: Target, event: Event) -> Result<Receipt> {
        let log = &self.runtime()?.log;
        let alone = matches!(target.scope(), Scope::Connection(_)) && !event.is_volatile();
        let span = log.deliver_span(id, &event);
        let delivered = if alone {
            self.deliver_in_turn(&target, &event).instrument(span.clone()).await.delivered
        } else {
            span.in_scope(|| self.deliver_now(&target, &event, true)).delivered
        };
        delivered.record_in(&span);
        drop(span);
        if !alone || delivered.matched == 0 {
            self.publish_to_others(id, Body::Event { target, event, widen: true }).await?;
        } else {
            log.count_published(&target);
        }
        Ok(Receipt::new(id, None, Some(delivered)))
    }

    /// Delivers to one connection once its lane has room: a sender that is faster than the client's
    /// reads waits.
    async fn deliver_in_turn(&self, target: &Target, event: &Event) -> Outcome {
        let mut outcome = Outcome::default();
        for connection in self.hub().matching(target) {
            let frame = self.codec().event(event, None);
            outcome.count(connection.info.id, self.hub().push_side_in_turn(&connection, frame).await);
        }
        self.count_outcome(outcome);
        outcome
    }

    /// Delivers to this node's connections; `widen` lets a room's event be shown to everyone, if
    /// that is the setting.
    pub(crate) fn deliver_now(&self, target: &Target, event: &Event, widen: bool) -> Outcome {
        let target = &*self.audience_of(target, widen);
        let frame = self.codec().event(event, None);
        let outcome = self.hub().deliver_now(target, &frame, event.is_volatile(), Instant::now());
        self.count_outcome(outcome);
        outcome
    }

    pub(crate) async fn publish_to_others(&self, id: EventId, body: Body) -> Result<()> {
        self.runtime()?.log.publish(self.only.clone(), id, body).await
    }

    /// Returns the target on this node: an event that the provider's own broadcast sent to a room
    /// may be shown to everyone.
    pub(crate) fn audience_of<'a>(&self, target: &'a Target, widen: bool) -> Cow<'a, Target> {
        let is_for_members = self.config().room_delivery == RoomDelivery::Members;
        if !widen || is_for_members || !matches!(target.scope(), Scope::Room { .. }) {
            return Cow::Borrowed(target);
        }
        if !self.widened.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                provider = self.config().provider,
                "an event for a room is shown to every connection (room_delivery)"
            );
        }
        Cow::Owned(target.clone().widen_room())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;

    use super::*;
    use crate::traits::router::Router;
    use crate::traits::runtime::Runtime;
    use crate::values::capabilities::Capabilities;
    use crate::values::config::{DeliveryConfig, DispatcherConfig};
    use crate::values::cursor::Cursor;
    use crate::values::event::Payload;
    use crate::values::handler_error::HandlerError;

    /// A codec whose frames are all empty.
    struct Empty;

    impl Codec for Empty {
        type Frame = Bytes;

        fn event(&self, _: &Event, _: Option<Cursor>) -> Bytes {
            Bytes::new()
        }

        fn ask(&self, _: &Event, _: u64) -> Bytes {
            Bytes::new()
        }

        fn ack(&self, _: u64, _: &Payload) -> Option<Bytes> {
            None
        }

        fn error(&self, _: &HandlerError, _: Option<u64>) -> Option<Bytes> {
            None
        }

        fn cursor(&self, _: Cursor) -> Bytes {
            Bytes::new()
        }
    }

    #[tokio::test]
    async fn dropped_send_leaves_no_waiter() {
        let dispatcher = Dispatcher::new(
            DispatcherConfig::new("core", Capabilities::none(), DeliveryConfig::default()),
            Empty,
            Router::new(),
        );
        dispatcher.attach(Runtime::in_memory()).await.unwrap();
        let log = &dispatcher.runtime().unwrap().log;
        let mut send = dispatcher.to_all(Event::json("note", "dropped").unwrap());
        let applying = log.hold();
        assert!((&mut send).now_or_never().is_none(), "the record is not applied yet");
        drop(applying);
        assert_eq!(log.waiting(), 1);
        drop(send);
        assert_eq!(log.waiting(), 0);
    }
}
