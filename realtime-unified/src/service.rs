use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Weak};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::future::join_all;
use realtime_core::spi::{Log, Runtime};
use realtime_core::{
    Capabilities, ConnectionStats, Drain, Error, Event, Presence, RealtimeProvider, Receipt, Result, SocketIoBroadcast,
    Stats, Target,
};
use realtime_http::{HttpProvider, Origins};
use serde::Serialize;

use crate::fakes::Fakes;
use crate::registry::{Entry, Registry};

/// One application's providers, picked by name. Cheap to clone; fits into axum's state.
///
/// It runs until [`NotificationService::shutdown`], or until nothing is left of it: its clones, its routes (a server's open
/// HTTP connections hold them too), its providers and their sending sides. What is dropped so closes its connections as with
/// [`Drain::now`]. A hook or a handler that holds the service keeps it; a [`Context`](realtime_core::Context) does not.
#[derive(Clone)]
pub struct NotificationService(Arc<Parts>);

pub(crate) struct Parts {
    registry: Registry,
    /// `None` for mocks.
    runtime: Option<Runtime>,
    /// Which pages may ask for what the providers' own configurations do not guard.
    origins: Origins,
}

impl NotificationService {
    /// Creates a service over fakes, for the tests of an application: nothing is attached, nothing
    /// runs. Fakes of several kinds stand in a tuple.
    ///
    /// A call that names one provider calls the method of its [`RealtimeProvider::broadcast`] that it
    /// is named after: `broadcast_to_user("ws", …)` and `to_user(…)` call `to_user`,
    /// `broadcast(&["ws"], target, event)` and `send(target, event)` call `send`.
    ///
    /// # Panics
    /// When two mocks have the same name.
    pub fn mocked(providers: impl Fakes) -> Self {
        let entries = providers.into_providers().into_iter().map(Entry::custom).collect();
        match Registry::new(entries) {
            Ok(registry) => Self::new(registry, None, Origins::default()),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn new(registry: Registry, runtime: Option<Runtime>, origins: Origins) -> Self {
        Self(Arc::new(Parts { registry, runtime, origins }))
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.0.origins
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// What its providers were attached with; none for mocks.
    pub(crate) fn runtime(&self) -> Option<&Runtime> {
        self.0.runtime.as_ref()
    }

    /// The log; none for mocks.
    pub(crate) fn log(&self) -> Option<&Log> {
        self.runtime().map(|runtime| &runtime.log)
    }

    /// A handle that does not keep it.
    pub(crate) fn downgrade(&self) -> Weak<Parts> {
        Arc::downgrade(&self.0)
    }

    /// The provider of this name.
    ///
    /// # Errors
    /// [`Error::UnknownProvider`] with the names there are; [`Error::FeatureOff`] when this build lacks it.
    pub fn provider(&self, name: &str) -> Result<Arc<dyn RealtimeProvider>> {
        self.registry().find(name).cloned()
    }

    /// The provider of this name in its own type, for routes of the application's own: `service.provider_as::<WsProvider>("admin")`
    /// for one that was given another name.
    ///
    /// # Errors
    /// Those of [`NotificationService::provider`]; [`Error::UnknownProvider`] also when it is of another type.
    pub fn provider_as<P: HttpProvider>(&self, name: &str) -> Result<Arc<P>> {
        self.registry().find_as(name)
    }

    /// The acks and rooms of the provider of this name.
    ///
    /// # Errors
    /// Those of [`NotificationService::provider`]; [`Error::Unsupported`] when the provider has none.
    pub fn socket_io(&self, name: &str) -> Result<Arc<dyn SocketIoBroadcast>> {
        let provider = self.provider(name)?;
        provider.socket_io().ok_or_else(|| Error::Unsupported { provider: name.to_owned(), what: "acks and rooms" })
    }

    /// The providers' names with what each can do, in the order they were added.
    pub fn providers(&self) -> Vec<(&'static str, Capabilities)> {
        self.registry().iter().map(|entry| (entry.name(), entry.provider.capabilities())).collect()
    }

    /// The SSE provider `"sse"`, for routes of the application's own.
    ///
    /// # Errors
    /// [`Error::UnknownProvider`] when none of its name was added.
    #[cfg(feature = "sse")]
    pub fn sse(&self) -> Result<Arc<crate::SseProvider>> {
        self.registry().find_as("sse")
    }

    /// The WebSocket provider `"ws"`, for routes of the application's own.
    ///
    /// # Errors
    /// [`Error::UnknownProvider`] when none of its name was added.
    #[cfg(feature = "ws")]
    pub fn ws(&self) -> Result<Arc<crate::WsProvider>> {
        self.registry().find_as("ws")
    }

    /// The Socket.IO provider `"socket"`, for namespaces of the application's own.
    ///
    /// # Errors
    /// [`Error::UnknownProvider`] when none of its name was added.
    #[cfg(feature = "socketio")]
    pub fn socket(&self) -> Result<Arc<crate::SocketIoProvider>> {
        self.registry().find_as("socket")
    }

    /// Sends a value to every connection that a user has with one provider, whatever the tenant.
    ///
    /// # Errors
    /// Those of [`NotificationService::provider`], [`Event::json`] and [`realtime_core::RealtimeBroadcast::send`].
    pub fn broadcast_to_user<T: Serialize + ?Sized>(
        &self,
        provider: &str,
        user: &str,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        let prepared = self.prepare(provider, event, data);
        let user = user.to_owned();
        async move {
            let (provider, event) = prepared?;
            provider.broadcast().to_user(&user, event).await
        }
    }

    /// Sends a value to every connection that the user of one tenant has with one provider.
    ///
    /// # Errors
    /// Those of [`NotificationService::provider`], [`Event::json`] and [`realtime_core::RealtimeBroadcast::send`].
    pub fn broadcast_to_user_in<T: Serialize + ?Sized>(
        &self,
        provider: &str,
        tenant: &str,
        user: &str,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        let prepared = self.prepare(provider, event, data);
        let (tenant, user) = (tenant.to_owned(), user.to_owned());
        async move {
            let (provider, event) = prepared?;
            provider.broadcast().to_user_in(&tenant, &user, event).await
        }
    }

    /// Sends a value to every connection that a tenant has with one provider.
    ///
    /// # Errors
    /// Those of [`NotificationService::provider`], [`Event::json`] and [`realtime_core::RealtimeBroadcast::send`].
    pub fn broadcast_to_tenant<T: Serialize + ?Sized>(
        &self,
        provider: &str,
        tenant: &str,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        let prepared = self.prepare(provider, event, data);
        let tenant = tenant.to_owned();
        async move {
            let (provider, event) = prepared?;
            provider.broadcast().to_tenant(&tenant, event).await
        }
    }

    /// Sends a value to every connection of one provider.
    ///
    /// # Errors
    /// Those of [`NotificationService::provider`], [`Event::json`] and [`realtime_core::RealtimeBroadcast::send`].
    pub fn broadcast_to_all<T: Serialize + ?Sized>(
        &self,
        provider: &str,
        event: &str,
        data: &T,
    ) -> impl Future<Output = Result<Receipt>> + Send + use<T> {
        let prepared = self.prepare(provider, event, data);
        async move {
            let (provider, event) = prepared?;
            provider.broadcast().to_all(event).await
        }
    }

    /// Where a user is online, in whatever tenant, on all nodes.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the directory does not answer.
    pub async fn online(&self, user: &str) -> Result<Vec<Presence>> {
        match self.runtime() {
            Some(runtime) => runtime.tracker.directory().of_user(user).await,
            None => Ok(Vec::new()),
        }
    }

    /// Where the user of one tenant is online, on all nodes.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the directory does not answer.
    pub async fn online_in(&self, tenant: &str, user: &str) -> Result<Vec<Presence>> {
        let mut online = self.online(user).await?;
        online.retain(|presence| presence.tenant.as_deref() == Some(tenant));
        Ok(online)
    }

    /// What each provider has done on this node.
    pub fn stats(&self) -> BTreeMap<&'static str, Stats> {
        self.registry().iter().map(|entry| (entry.name(), entry.provider.stats())).collect()
    }

    /// How the connections of a target stand, by provider, those of this node: who is behind, by how much, what waits.
    pub fn connections(&self, target: &Target) -> BTreeMap<&'static str, Vec<ConnectionStats>> {
        self.registry().iter().map(|entry| (entry.name(), entry.provider.connections(target))).collect()
    }

    /// Whether every provider with routes takes connections; for a readiness probe.
    pub fn is_ready(&self) -> bool {
        self.registry().iter().filter_map(|entry| entry.http.as_ref()).all(|provider| provider.is_ready())
    }

    /// The routes of all providers: `GET /sse`, `GET /ws`, `/socket.io/`, unless configured otherwise. They keep the service.
    ///
    /// They need no state, so they merge into a router of any.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> axum::Router<S> {
        let routers = self.registry().iter().filter_map(|entry| entry.http.clone()).map(HttpProvider::router);
        let router = routers.fold(axum::Router::new(), axum::Router::merge);
        // Not in the requests, which sessions may keep.
        router.layer(axum::middleware::from_fn_with_state(self.clone(), keep)).with_state(())
    }

    /// Takes no more connections and closes those there are evenly over the drain's time, with every provider side by side;
    /// sends go on until all of them are done.
    pub async fn shutdown(&self, drain: Drain) {
        join_all(self.registry().iter().map(|entry| entry.provider.drain(drain))).await;
        join_all(self.registry().iter().map(|entry| entry.provider.shutdown(Drain::now()))).await;
    }

    fn prepare<T: Serialize + ?Sized>(
        &self,
        provider: &str,
        event: &str,
        data: &T,
    ) -> Result<(Arc<dyn RealtimeProvider>, Event)> {
        Ok((self.provider(provider)?, Event::json(event, data)?))
    }
}

/// Passes a request on, for routes that hold the service.
async fn keep(State(_): State<NotificationService>, request: Request, next: Next) -> Response {
    next.run(request).await
}

impl From<Arc<Parts>> for NotificationService {
    fn from(parts: Arc<Parts>) -> Self {
        Self(parts)
    }
}

impl std::fmt::Debug for NotificationService {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.registry().iter().map(Entry::name).collect();
        f.debug_struct("NotificationService").field("providers", &names).finish()
    }
}
