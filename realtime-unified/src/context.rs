use std::sync::{Arc, OnceLock, Weak};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use realtime_core::spi::{Log, Sends};
use realtime_core::{Context, Error, Event, Receipt, Result, Target};

use crate::service::{NotificationService, Parts};

/// What a [`Context`] can do within a [`NotificationService`].
pub trait ContextExt: Sized {
    /// The service that the handler, hook or policy runs for.
    ///
    /// It keeps the service running until it is dropped; the context does not.
    ///
    /// # Errors
    /// [`Error::Closed`] when nothing is left of the service but this connection, so that it is about to end;
    /// [`Error::NotAttached`] when the connection's provider belongs to no service.
    fn service(&self) -> Result<NotificationService>;

    /// The same context within this service, which it does not keep: for tests, with [`Context::detached`].
    #[must_use]
    fn with_service(self, service: &NotificationService) -> Self;
}

impl ContextExt for Context {
    fn service(&self) -> Result<NotificationService> {
        let slot = self.state::<Slot>().map_err(|_| Error::NotAttached { provider: self.provider().to_owned() })?;
        slot.service().ok_or_else(|| Error::Closed { provider: self.provider().to_owned() })
    }

    fn with_service(self, service: &NotificationService) -> Self {
        let slot = Slot::default();
        slot.fill(service);
        self.with_state(slot)
    }
}

/// Where contexts find the service: among the states that it gives its providers before it exists itself.
#[derive(Clone, Default)]
pub(crate) struct Slot(Arc<OnceLock<Weak<Parts>>>);

impl Slot {
    /// Puts the service in, once.
    pub(crate) fn fill(&self, service: &NotificationService) {
        let _ = self.0.set(service.downgrade());
    }

    fn service(&self) -> Option<NotificationService> {
        self.0.get()?.upgrade().map(NotificationService::from)
    }
}

/// Sends of handlers over all providers of a service, those that are not attached to the log among them.
pub(crate) struct Everywhere {
    pub(crate) slot: Slot,
    /// What is left when the service has been dropped, until its connections have ended.
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
