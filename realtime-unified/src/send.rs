//! Sends over several providers, by name or over all.

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use realtime_core::{Error, Event, RealtimeBroadcast, Receipt, Result, Scope, Target};
use serde::Serialize;

use crate::registry::Entry;
use crate::service::NotificationService;

/// The feature that a provider without members does not support.
pub(crate) const ROOMS: &str = "rooms";

/// The same send as a call of a custom provider.
type Call = Box<dyn Fn(Arc<dyn RealtimeBroadcast>, Event) -> BoxFuture<'static, Result<Receipt>> + Send + Sync>;

impl NotificationService {
    /// Sends a value to every connection of a user, whatever the tenant, over all transports: one
    /// record in the log, which each connection gets once. A user with a tab on SSE and a phone on
    /// Socket.IO gets it on both.
    ///
    /// # Errors
    /// Those of [`NotificationService::send`] and [`Event::json`].
    pub fn to_user<T: Serialize + ?Sized>(
        &self,
        user: &str,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        let user = user.to_owned();
        self.over_all(Target::user(user.as_str()), Event::json(event, data), move |broadcast, event| {
            let user = user.clone();
            Box::pin(async move { broadcast.to_user(&user, event).await })
        })
    }

    /// Sends a value to every connection of one tenant's user, over all transports.
    ///
    /// # Errors
    /// Those of [`NotificationService::send`] and [`Event::json`].
    pub fn to_user_in<T: Serialize + ?Sized>(
        &self,
        tenant: &str,
        user: &str,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        let (tenant, user) = (tenant.to_owned(), user.to_owned());
        let target = Target::user_in(tenant.as_str(), user.as_str());
        self.over_all(target, Event::json(event, data), move |broadcast, event| {
            let (tenant, user) = (tenant.clone(), user.clone());
            Box::pin(async move { broadcast.to_user_in(&tenant, &user, event).await })
        })
    }

    /// Sends a value to every connection of a tenant, over all transports.
    ///
    /// # Errors
    /// Those of [`NotificationService::send`] and [`Event::json`].
    pub fn to_tenant<T: Serialize + ?Sized>(
        &self,
        tenant: &str,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        let tenant = tenant.to_owned();
        self.over_all(Target::tenant(tenant.as_str()), Event::json(event, data), move |broadcast, event| {
            let tenant = tenant.clone();
            Box::pin(async move { broadcast.to_tenant(&tenant, event).await })
        })
    }

    /// Sends a value to the members of a room, over all transports; over SSE to members only too,
    /// whatever its `room_delivery` is.
    ///
    /// # Errors
    /// Those of [`NotificationService::send`] and [`Event::json`].
    pub fn to_room<T: Serialize + ?Sized>(
        &self,
        room: &str,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        let room = room.to_owned();
        self.over_all(Target::room(room.as_str()), Event::json(event, data), move |broadcast, event| {
            let room = room.clone();
            Box::pin(async move { broadcast.to_room(&room, event).await })
        })
    }

    /// Sends a value to everyone, over all transports.
    ///
    /// # Errors
    /// Those of [`NotificationService::send`] and [`Event::json`].
    pub fn to_all<T: Serialize + ?Sized>(
        &self,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        self.over_all(Target::all(), Event::json(event, data), |broadcast, event| {
            Box::pin(async move { broadcast.to_all(event).await })
        })
    }

    /// Sends a value to a room's members over every provider that has rooms:
    /// [`NotificationService::to_room`] under the name that the other `broadcast_to_*` methods
    /// suggest.
    ///
    /// # Errors
    /// Those of [`NotificationService::send`] and [`Event::json`].
    pub fn broadcast_to_room<T: Serialize + ?Sized>(
        &self,
        room: &str,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        self.to_room(room, event, data)
    }

    /// Sends an event to any target over every provider that can carry it: one record in the log,
    /// so all or nothing. Providers that cannot are in the receipt's `skipped`, and the counts of
    /// the others in its `by_provider`.
    ///
    /// A custom provider (a mock, one that was added with `custom`) is called with the same send
    /// afterwards, unless the event is a repeat.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`] when no provider can carry the event, or the append
    /// fails; the first error of a custom provider, after those before it have the event.
    pub async fn send(&self, target: Target, event: Event) -> Result<Receipt> {
        self.send_over(None, target, event).await
    }

    /// Sends one event over these providers, as [`NotificationService::send`] does: one record in
    /// the log, so all or nothing.
    ///
    /// # Errors
    /// [`Error::UnknownProvider`], also when none is named, and whatever makes one of them unable
    /// to carry the event, before anything is in the log; those of [`NotificationService::send`].
    pub async fn broadcast(&self, providers: &[&str], target: Target, event: Event) -> Result<Receipt> {
        // An empty list, of a user who wants no notifications for instance, does not mean all
        // providers.
        for name in if providers.is_empty() { &[""] } else { providers } {
            self.registry().find(name)?;
        }
        self.send_over(Some(providers), target, event).await
    }

    pub(crate) async fn send_over(&self, names: Option<&[&str]>, target: Target, event: Event) -> Result<Receipt> {
        event.check()?;
        let names: Option<Vec<_>> = names.map(|names| names.iter().map(|name| self.registry().resolve(name)).collect());
        let names = names.as_deref();
        if let Scope::Connection(_) = target.scope() {
            return self.to_connection(names, target, event).await;
        }
        let to = target.clone();
        let call = move |broadcast: Arc<dyn RealtimeBroadcast>, event| {
            let target = to.clone();
            async move { broadcast.send(target, event).await }.boxed()
        };
        self.send_everywhere(names, target, event, Box::new(call)).await
    }

    fn over_all(
        &self,
        target: Target,
        event: Result<Event>,
        call: impl Fn(Arc<dyn RealtimeBroadcast>, Event) -> BoxFuture<'static, Result<Receipt>> + Send + Sync + 'static,
    ) -> BoxFuture<'static, Result<Receipt>> {
        let service = self.clone();
        let call: Call = Box::new(call);
        async move { service.send_everywhere(None, target, event?, call).await }.boxed()
    }

    async fn send_everywhere(
        &self,
        names: Option<&[&str]>,
        target: Target,
        event: Event,
        call: Call,
    ) -> Result<Receipt> {
        let (ours, others) = self.named(names);
        let mut unable = Vec::new();
        let mut able = Vec::new();
        for entry in others {
            match inability(entry, &target, &event) {
                None => able.push(entry),
                Some(error) if names.is_none() => unable.push((entry.name(), error)),
                // A provider without members decides itself what a room is, when it is named.
                Some(Error::Unsupported { what: ROOMS, .. }) => able.push(entry),
                Some(error) => return Err(error),
            }
        }
        let mut receipt = None;
        if let Some(log) = self.log().filter(|_| !ours.is_empty()) {
            let named: Vec<_> = ours.iter().map(|entry| entry.name()).collect();
            match log.send(names.map(|_| &*named), target, event.clone()).await {
                Ok(sent) => receipt = Some(sent),
                // No attached provider can carry the event, but a custom one may.
                Err(error @ (Error::Unsupported { .. } | Error::TooLarge { .. })) if names.is_none() => {
                    let first = std::iter::once((named[0], error));
                    unable.splice(0..0, first);
                }
                Err(error) => return Err(error),
            }
        }
        // A repeat is not delivered.
        let is_repeat = receipt.as_ref().is_some_and(Receipt::repeated);
        for entry in able.into_iter().filter(|_| !is_repeat) {
            let part = call(entry.provider.broadcast(), event.clone()).await?;
            receipt.get_or_insert_with(|| Receipt::new(part.id, part.position, None)).add(entry.name(), part);
        }
        match receipt {
            Some(mut receipt) => {
                receipt.skipped.extend(unable.into_iter().map(|(name, _)| name.to_owned()));
                Ok(receipt)
            }
            None => {
                let first = unable.into_iter().next().map(|(_, error)| error);
                let nobody = || Error::NotAttached { provider: names.map(|names| names.join(", ")) };
                Err(first.unwrap_or_else(nobody))
            }
        }
    }

    /// Sends to one connection: the provider that has it delivers; if none has, all of them publish
    /// it to the other nodes.
    async fn to_connection(&self, names: Option<&[&str]>, target: Target, event: Event) -> Result<Receipt> {
        let mut last = Err(Error::NotAttached { provider: None });
        for entry in self.registry().iter().filter(|entry| is_named(names, entry)) {
            last = entry.provider.broadcast().send(target.clone(), event.clone()).await;
            if last.as_ref().is_ok_and(|receipt| receipt.delivered.is_some_and(|delivered| delivered.matched > 0)) {
                break;
            }
        }
        last
    }

    /// Splits these providers, or all, into those that are attached to the log and custom ones.
    pub(crate) fn named(&self, names: Option<&[&str]>) -> (Vec<&Entry>, Vec<&Entry>) {
        let entries = self.registry().iter().filter(|entry| is_named(names, entry));
        entries.partition(|entry| self.log().is_some_and(|log| log.knows(entry.name())))
    }
}

fn is_named(names: Option<&[&str]>, entry: &Entry) -> bool {
    names.is_none_or(|names| names.contains(&entry.name()))
}

/// Returns why a custom provider cannot carry this event, as far as its capabilities say.
fn inability(entry: &Entry, target: &Target, event: &Event) -> Option<Error> {
    let capabilities = entry.provider.capabilities();
    let unsupported = |what| Some(Error::Unsupported { provider: Some(entry.name().to_owned()), what });
    if event.payload().is_binary() && !capabilities.binary {
        return unsupported("binary events");
    }
    if matches!(target.scope(), Scope::Room { .. }) && !capabilities.rooms {
        return unsupported(ROOMS);
    }
    None
}
