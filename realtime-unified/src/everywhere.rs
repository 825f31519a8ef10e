//! Sends over whatever people are connected with.

use std::future::Future;
use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use realtime_core::{Error, Event, RealtimeBroadcast, Receipt, Result, Scope, Target};
use serde::Serialize;

use crate::service::NotificationService;

/// How a provider that is not attached to the log is asked for the same send.
type Call = Box<dyn Fn(Arc<dyn RealtimeBroadcast>, Event) -> BoxFuture<'static, Result<Receipt>> + Send + Sync>;

impl NotificationService {
    /// Sends a value to every connection of a user, whatever the tenant, over whatever it is connected with: one record in the
    /// log, which each of its connections gets once.
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

    /// Sends a value to every connection of one tenant's user, over whatever it is connected with.
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

    /// Sends a value to every connection of a tenant, over whatever its people are connected with.
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

    /// Sends a value to the members of a room, over whatever they are connected with; over SSE to members only too, whatever
    /// its `room_delivery` is.
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

    /// Sends a value to everyone, over whatever they are connected with.
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

    /// Sends an event to any target over every provider that can carry it: one record in the log, so all or nothing. Providers
    /// that cannot are in the receipt's `skipped`, and what each of the others made of it in its `by_provider`.
    ///
    /// A provider that is none of ours (a mock, one that was added with `custom`) is asked for the same send afterwards.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`] when no provider can carry the event, or the log does not take it; the first error
    /// of a provider that is none of ours.
    pub async fn send(&self, target: Target, event: Event) -> Result<Receipt> {
        if let Scope::Connection(_) = target.scope() {
            return self.to_connection(target, event).await;
        }
        let to = target.clone();
        self.over_all(target, Ok(event), move |broadcast, event| {
            let target = to.clone();
            Box::pin(async move { broadcast.send(target, event).await })
        })
        .await
    }

    fn over_all(
        &self,
        target: Target,
        event: Result<Event>,
        call: impl Fn(Arc<dyn RealtimeBroadcast>, Event) -> BoxFuture<'static, Result<Receipt>> + Send + Sync + 'static,
    ) -> BoxFuture<'static, Result<Receipt>> {
        let service = self.clone();
        let call: Call = Box::new(call);
        async move { service.send_everywhere(target, event?, call).await }.boxed()
    }

    async fn send_everywhere(&self, target: Target, event: Event, call: Call) -> Result<Receipt> {
        let entries = self.registry.iter().map(|entry| (entry.name(), &entry.provider));
        let (ours, others): (Vec<_>, Vec<_>) =
            entries.partition(|(name, _)| self.log.as_ref().is_some_and(|log| log.has(name)));
        let mut receipt = match &self.log {
            Some(log) if !ours.is_empty() => Some(log.send(None, target, event.clone()).await?),
            _ => None,
        };
        for (name, provider) in others {
            let part = call(provider.broadcast(), event.clone()).await?;
            receipt.get_or_insert_with(|| Receipt::new(part.id, part.position, None)).add(name, part);
        }
        receipt.ok_or_else(|| Error::NotAttached { provider: "any".to_owned() })
    }

    /// The provider that has the connection tells its node; where none has, all of them tell the others.
    async fn to_connection(&self, target: Target, event: Event) -> Result<Receipt> {
        let mut last = Err(Error::NotAttached { provider: "any".to_owned() });
        for entry in self.registry.iter() {
            last = entry.provider.broadcast().send(target.clone(), event.clone()).await;
            if last.as_ref().is_ok_and(|receipt| receipt.delivered.is_some_and(|delivered| delivered.matched > 0)) {
                break;
            }
        }
        last
    }
}
