use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Weak};

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;
use futures_util::future::join_all;
use realtime_core::spi::{Log, OfflineWorker, Runtime};
use realtime_core::{
    Capabilities, ConnectionStats, Drain, Error, Event, Health, NodeInfo, OnlineCount, OnlineIn, OnlineUser, Presence,
    RealtimeProvider, Receipt, Result, SocketIoBroadcast, Stats, Target,
};
use realtime_http::{HttpProvider, Origins, Serve, serve, shutdown_signal};
use serde::Serialize;
use tokio::net::TcpListener;

use crate::fakes::Fakes;
use crate::listeners::guards::Guards;
use crate::registry::{Entry, Registry};
use crate::ticket::{self, TicketIssuer};

/// The providers of one application, chosen by name. Cheap to clone; made for axum's state.
///
/// A service runs until [`NotificationService::shutdown`], or until all of it is dropped: its
/// clones, its routes (a server's open HTTP connections hold them too), its providers and their
/// broadcasts. Dropping it closes its connections as [`Drain::now`] does. A hook, a
/// handler or an offline sink that holds the service keeps it running; a
/// [`Context`](realtime_core::Context) does not.
#[derive(Clone)]
pub struct NotificationService(Arc<Parts>);

pub(crate) struct Parts {
    registry: Registry,
    /// `None` for mocks.
    runtime: Option<Runtime>,
    /// The pages that may connect where a provider's own configuration names none.
    origins: Origins,
    tickets: Option<TicketIssuer>,
    /// Ends with the service.
    offline: Option<OfflineWorker>,
    listeners: Guards,
    #[cfg(feature = "metrics")]
    exported: crate::metrics::exported::Exported,
}

impl NotificationService {
    /// Creates a service over fakes, for the tests of an application: nothing is attached, nothing
    /// runs. Several kinds of fakes form a tuple.
    ///
    /// A call that names one provider calls the method of its [`RealtimeProvider::broadcast`] that
    /// it is named after: `broadcast_to_user("ws", …)` and `to_user(…)` call `to_user`,
    /// `broadcast(&["ws"], target, event)` and `send(target, event)` call `send`.
    ///
    /// # Panics
    /// When two fakes have the same name.
    pub fn mocked(providers: impl Fakes) -> Self {
        let entries = providers.into_providers().into_iter().map(Entry::custom).collect();
        match Registry::new(entries) {
            Ok(registry) => Self::new(registry, None, Origins::default(), None, None),
            Err(error) => panic!("{error}"),
        }
    }

    pub(crate) fn new(
        registry: Registry,
        runtime: Option<Runtime>,
        origins: Origins,
        tickets: Option<TicketIssuer>,
        offline: Option<OfflineWorker>,
    ) -> Self {
        Self(Arc::new(Parts {
            registry,
            runtime,
            origins,
            tickets,
            offline,
            listeners: Guards::default(),
            #[cfg(feature = "metrics")]
            exported: crate::metrics::exported::Exported::default(),
        }))
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn exported(&self) -> &crate::metrics::exported::Exported {
        &self.0.exported
    }

    pub(crate) fn listeners(&self) -> &Guards {
        &self.0.listeners
    }

    pub(crate) fn origins(&self) -> &Origins {
        &self.0.origins
    }

    pub(crate) fn registry(&self) -> &Registry {
        &self.0.registry
    }

    /// Returns the runtime that the providers are attached with; none for fakes.
    pub(crate) fn runtime(&self) -> Option<&Runtime> {
        self.0.runtime.as_ref()
    }

    /// Returns the log; none for fakes.
    pub(crate) fn log(&self) -> Option<&Log> {
        self.runtime().map(|runtime| &runtime.log)
    }

    /// Waits until the offline sink, if there is one, misses nothing that is sent from then on.
    pub(crate) async fn begin_offline(&self) {
        if let Some(offline) = &self.0.offline {
            offline.begin().await;
        }
    }

    /// Returns a handle that does not keep the service running.
    pub(crate) fn downgrade(&self) -> Weak<Parts> {
        Arc::downgrade(&self.0)
    }

    /// Returns the provider of this name; `"socketio"` is an alias of `"socket"`.
    ///
    /// # Errors
    /// [`Error::UnknownProvider`] with the names that are registered; [`Error::FeatureOff`] when
    /// the provider's cargo feature is off.
    pub fn provider(&self, name: &str) -> Result<Arc<dyn RealtimeProvider>> {
        self.registry().find(name).cloned()
    }

    /// Returns the provider of this name in its own type, for routes of the application's own:
    /// `service.provider_as::<WsProvider>("admin")` for one with another name.
    ///
    /// # Errors
    /// Those of [`NotificationService::provider`]; [`Error::UnknownProvider`] also when the
    /// provider is of another type.
    pub fn provider_as<P: HttpProvider>(&self, name: &str) -> Result<Arc<P>> {
        self.registry().find_as(name)
    }

    /// Returns the acks and rooms of the provider of this name.
    ///
    /// # Errors
    /// Those of [`NotificationService::provider`]; [`Error::Unsupported`] when the provider has
    /// none.
    pub fn socket_io(&self, name: &str) -> Result<Arc<dyn SocketIoBroadcast>> {
        let provider = self.provider(name)?;
        provider
            .socket_io()
            .ok_or_else(|| Error::Unsupported { provider: Some(name.to_owned()), what: "acks and rooms" })
    }

    /// Returns the providers' names with their capabilities, in the order they were added.
    #[must_use]
    pub fn providers(&self) -> Vec<(&'static str, Capabilities)> {
        self.registry().iter().map(|entry| (entry.name(), entry.provider.capabilities())).collect()
    }

    /// Returns the SSE provider `"sse"`, for routes of the application's own.
    ///
    /// # Errors
    /// [`Error::UnknownProvider`] when no provider of this name and type was added.
    #[cfg(feature = "sse")]
    pub fn sse(&self) -> Result<Arc<crate::SseProvider>> {
        self.registry().find_as("sse")
    }

    /// Returns the WebSocket provider `"ws"`, for routes of the application's own.
    ///
    /// # Errors
    /// [`Error::UnknownProvider`] when no provider of this name and type was added.
    #[cfg(feature = "ws")]
    pub fn ws(&self) -> Result<Arc<crate::WsProvider>> {
        self.registry().find_as("ws")
    }

    /// Returns the Socket.IO provider `"socket"`, for namespaces of the application's own.
    ///
    /// # Errors
    /// [`Error::UnknownProvider`] when no provider of this name and type was added.
    #[cfg(feature = "socketio")]
    pub fn socket(&self) -> Result<Arc<crate::SocketIoProvider>> {
        self.registry().find_as("socket")
    }

    /// Sends a value to every connection that a user has with one provider, whatever the tenant.
    ///
    /// # Errors
    /// Those of [`NotificationService::provider`], [`Event::json`] and
    /// [`realtime_core::RealtimeBroadcast::send`].
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
    /// Those of [`NotificationService::provider`], [`Event::json`] and
    /// [`realtime_core::RealtimeBroadcast::send`].
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
    /// Those of [`NotificationService::provider`], [`Event::json`] and
    /// [`realtime_core::RealtimeBroadcast::send`].
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
    /// Those of [`NotificationService::provider`], [`Event::json`] and
    /// [`realtime_core::RealtimeBroadcast::send`].
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

    /// Returns where a user is online, in any tenant, on all nodes.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the directory does not answer.
    pub async fn online(&self, user: &str) -> Result<Vec<Presence>> {
        match self.runtime() {
            Some(runtime) => runtime.tracker.directory().of_user(user).await,
            None => Ok(Vec::new()),
        }
    }

    /// Returns where the user of one tenant is online, on all nodes.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the directory does not answer.
    pub async fn online_in(&self, tenant: &str, user: &str) -> Result<Vec<Presence>> {
        let mut online = self.online(user).await?;
        online.retain(|presence| presence.tenant.as_deref() == Some(tenant));
        Ok(online)
    }

    /// Returns up to `most` users who are online on any node, at most 500, in their order: after
    /// this one or from the first one on. An empty page is the end.
    ///
    /// ```no_run
    /// # async fn pages(
    /// #     service: realtime_unified::NotificationService,
    /// # ) -> realtime_unified::Result<()> {
    /// use realtime_unified::stats::OnlineIn;
    ///
    /// let room = OnlineIn::Room("lobby".to_owned());
    /// let mut page = service.online_users(&room, None, 100).await?;
    /// while let Some(last) = page.last().cloned() {
    ///     page.iter().for_each(|user| println!("{}", user.user));
    ///     page = service.online_users(&room, Some(last), 100).await?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// In a room are the users who were joined to it, and those with a connection that entered it.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the directory does not answer.
    pub async fn online_users(
        &self,
        online: &OnlineIn,
        after: Option<OnlineUser>,
        most: usize,
    ) -> Result<Vec<OnlineUser>> {
        match self.log() {
            Some(log) => log.online_users(online, after, most).await,
            None => Ok(Vec::new()),
        }
    }

    /// Returns how many users and connections are online on all nodes. The cost grows with the
    /// number of users online. The connections of a room are those that entered it; its users
    /// include those who were joined to it.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the directory does not answer.
    pub async fn online_count(&self, online: &OnlineIn) -> Result<OnlineCount> {
        match self.log() {
            Some(log) => log.online_count(online).await,
            None => Ok(OnlineCount::default()),
        }
    }

    /// Returns the nodes of this service, by the directory that they share.
    ///
    /// # Errors
    /// [`Error::Backplane`] when the directory does not answer.
    pub async fn nodes(&self) -> Result<Vec<NodeInfo>> {
        match self.log() {
            Some(log) => log.directory().nodes().await,
            None => Ok(Vec::new()),
        }
    }

    /// Returns the health of this node: whether it is ready, and how long the last probe of the log
    /// took, a write that is read back each second. `None` for fakes.
    #[must_use]
    pub fn health(&self) -> Option<Health> {
        let mut health = self.log()?.health();
        health.ready &= self.is_ready();
        Some(health)
    }

    /// Returns the statistics of each provider on this node.
    #[must_use]
    pub fn stats(&self) -> BTreeMap<&'static str, Stats> {
        self.registry().iter().map(|entry| (entry.name(), entry.provider.stats())).collect()
    }

    /// Returns the statistics of this node's connections of a target, by provider: which are
    /// behind, by how much, and what waits for each.
    #[must_use]
    pub fn connections(&self, target: &Target) -> BTreeMap<&'static str, Vec<ConnectionStats>> {
        self.registry().iter().map(|entry| (entry.name(), entry.provider.connections(target))).collect()
    }

    /// Returns whether every provider with routes accepts connections, and the log can be written;
    /// for a readiness probe. It is not for a liveness probe: while the log is away no node is
    /// ready, and each keeps its connections.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.registry().iter().filter_map(|entry| entry.http.as_ref()).all(|provider| provider.is_ready())
    }

    /// Returns the routes of all providers: `GET /sse`, `GET /ws`, `/socket.io/`, unless configured
    /// otherwise, and that of the tickets if there are any. The routes keep the service running.
    ///
    /// They need no state, so they merge into a router of any state.
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> axum::Router<S> {
        let routers = self.registry().iter().filter_map(|entry| entry.http.clone()).map(HttpProvider::router);
        let tickets = self.0.tickets.clone().map(|issuer| ticket::route(self.clone(), issuer));
        let router = routers.chain(tickets).fold(axum::Router::new(), axum::Router::merge);
        // In a layer, not in the requests, which sessions may keep.
        router.layer(axum::middleware::from_fn_with_state(self.clone(), keep)).with_state(())
    }

    /// Stops accepting connections and closes the existing ones evenly over the drain's time, with
    /// all providers in parallel; sends work until all of them are done.
    pub async fn shutdown(&self, drain: Drain) {
        join_all(self.registry().iter().map(|entry| entry.provider.drain(drain))).await;
        if let Some(offline) = &self.0.offline {
            // While the log is still read.
            offline.stop().await;
        }
        join_all(self.registry().iter().map(|entry| entry.provider.shutdown(Drain::now()))).await;
    }

    /// Serves the routes of all providers and those of `app` on `listener`, until the process is
    /// asked to end ([`shutdown_signal`]); then it shuts the service down with this drain, lets
    /// open requests finish, and ends. The limits of [`serve`](realtime_http::serve()) apply, and
    /// the returned server has its settings.
    ///
    /// An application with other reasons to stop calls [`serve`](realtime_http::serve()) with
    /// [`NotificationService::router`] and [`NotificationService::shutdown`] itself.
    ///
    /// # Panics
    /// When `app` has a route of a provider's already, such as those of
    /// [`NotificationService::router`].
    pub fn serve(&self, listener: TcpListener, app: axum::Router, drain: Drain) -> Serve {
        let (service, observed) = (self.clone(), self.clone());
        let server = serve(listener, app.merge(self.router()));
        server.with_observer(move |guard| observed.observe_listener(guard)).with_graceful_shutdown(async move {
            shutdown_signal().await;
            service.shutdown(drain).await;
        })
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

/// Passes a request on; its state holds the service.
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
