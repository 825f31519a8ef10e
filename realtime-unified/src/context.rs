use std::sync::{Arc, OnceLock, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use realtime_core::spi::{Log, Sends};
use realtime_core::{Context, Error, Event, Receipt, Result, Target};

use crate::service::{NotificationService, Parts};

/// The methods of a [`Context`] that need a [`NotificationService`].
pub trait ContextExt: Sized {
    /// Returns the service that the handler, hook or policy runs for.
    ///
    /// The service runs on until the returned value is dropped; a context does not keep it running.
    ///
    /// # Errors
    /// [`Error::Closed`] when nothing is left of the service but this connection, which is about to
    /// be closed; [`Error::NotAttached`] when the connection's provider belongs to no service.
    fn service(&self) -> Result<NotificationService>;

    /// Puts the context into this service, without keeping it running: for tests, with
    /// [`Context::detached`].
    #[must_use]
    fn with_service(self, service: &NotificationService) -> Self;
}

impl ContextExt for Context {
    fn service(&self) -> Result<NotificationService> {
        let slot =
            self.state::<Slot>().map_err(|_| Error::NotAttached { provider: Some(self.provider().to_owned()) })?;
        slot.service().ok_or_else(|| Error::Closed { provider: Some(self.provider().to_owned()) })
    }

    fn with_service(self, service: &NotificationService) -> Self {
        let slot = Slot::default();
        slot.fill(service);
        self.with_state(slot)
    }
}

/// The slot in which contexts find the service: one of the states that providers are given before
/// the service exists.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<OnceLock<Weak<Parts>>>);

impl Slot {
    /// Fills the slot, once.
    pub(crate) fn fill(&self, service: &NotificationService) {
        let _ = self.0.set(service.downgrade());
    }

    fn service(&self) -> Option<NotificationService> {
        self.0.get()?.upgrade().map(NotificationService::from)
    }
}

/// The sends of handlers over all providers of a service, custom ones included.
pub(crate) struct Everywhere {
    pub(crate) slot: Slot,
    /// The log, for sends after the service was dropped and before its connections are closed.
    pub(crate) log: Log,
}

impl Sends for Everywhere {
    fn send(&self, over: Option<String>, target: Target, event: Event) -> BoxFuture<'static, Result<Receipt>> {
        let (service, log) = (self.slot.service(), self.log.clone());
        async move {
            let over = over.as_deref().map(|name| [name]);
            let over = over.as_ref().map(|names| &names[..]);
            match service {
                Some(service) => service.send_over(over, target, event).await,
                None => log.send(over, target, event).await,
            }
        }
        .boxed()
    }
}
