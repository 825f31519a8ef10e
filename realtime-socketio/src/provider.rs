use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Sink;
use realtime_core::spi::{Dispatcher, Link, Runtime};
use realtime_core::{
    Capabilities, CloseReason, ConnectionStats, Drain, Handlers, Identity, RealtimeBroadcast, RealtimeProvider,
    RoomMembership, Router, SocketIoBroadcast, Stats, Target,
};
use realtime_http::ProviderOrigins;
use socketioxide::SocketIo;

use crate::codec::SocketIoCodec;
use crate::config::SocketIoConfig;
use crate::engine::adapter::DirectAdapter;
use crate::engine::service::EngineService;
use crate::gate::Gate;
use crate::server::Server;

/// Time for ending all sessions; one whose client takes nothing needs a second.
const CUT: Duration = Duration::from_secs(2);

/// Socket.IO: the provider `"socket"`, unless it is [`named`](Self::named) otherwise, on socketioxide.
///
/// The main namespace is the provider's. Its clients may send `join` and `leave`, or `subscribe` and `unsubscribe`, with a room's
/// name: the room policy decides; a handler of one's own for these names takes their place.
pub struct SocketIoProvider {
    config: SocketIoConfig,
    /// Set by the first use, after which handlers cannot be added any more.
    running: std::sync::OnceLock<Running>,
    router: Router,
    origins: ProviderOrigins,
}

struct Running {
    dispatcher: Arc<Dispatcher<SocketIoCodec>>,
    server: Server,
}

impl SocketIoProvider {
    /// Creates a provider without handlers. They are added before it is given to a service or used in any way, [`SocketIoProvider::io`]
    /// included: one that is added later is refused when the provider is attached.
    pub fn new(config: SocketIoConfig) -> Self {
        let origins = ProviderOrigins::new(config.origins.clone());
        Self { config, running: std::sync::OnceLock::new(), router: Router::new(), origins }
    }

    /// Creates a provider of another name than `"socket"`, by which a service and records refer to it: for a second one in a service,
    /// which then needs a path of its own.
    pub fn named(name: &'static str, config: SocketIoConfig) -> Self {
        Self::new(SocketIoConfig { name, ..config })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &SocketIoConfig {
        &self.config
    }

    /// Returns socketioxide itself, for namespaces of the application's own. The main one (`/`) is the provider's and must not be changed.
    ///
    /// A middleware of such a namespace keeps running when its client has gone, so it needs a time limit: a session has at most four
    /// under way, but a client that disconnects can open another session.
    pub fn io(&self) -> &SocketIo<DirectAdapter> {
        self.running().server.io()
    }

    /// Delivers to a sink what a client of this identity would receive: each item is the JSON array of one packet,
    /// `["event", data, cursor]`, with placeholders for attachments, which are not included.
    ///
    /// # Errors
    /// [`realtime_core::Error::Refused`] when a limit is reached, the identity is not valid, or the provider is not
    /// attached or going down.
    pub fn connect<S>(&self, identity: Identity, sink: S) -> realtime_core::Result<Link>
    where
        S: Sink<Bytes> + Send + 'static,
    {
        let dispatcher = self.dispatcher();
        let admitted = dispatcher.admit_as(identity, &[], None, None)?;
        Ok(dispatcher.connect_sink(admitted, sink, |frame| Bytes::copy_from_slice(frame.packet.text().as_bytes())))
    }

    /// Returns the origins that may connect.
    pub(crate) fn origins(&self) -> &ProviderOrigins {
        &self.origins
    }

    /// Returns whether one more session may be opened.
    pub(crate) fn has_room(&self) -> bool {
        self.running().server.connected_sessions() < self.config.max_connected_sessions()
    }

    pub(crate) fn dispatcher(&self) -> &Arc<Dispatcher<SocketIoCodec>> {
        &self.running().dispatcher
    }

    /// Returns the HTTP service, without the checks before it.
    pub(crate) fn service(&self) -> EngineService {
        self.running().server.service()
    }

    fn running(&self) -> &Running {
        self.running.get_or_init(|| {
            let codec = SocketIoCodec { cursor_argument: self.config.cursor_argument };
            let router = self.router.clone().with_room_events();
            let dispatcher = Dispatcher::new(self.config.dispatcher(), codec, router);
            let gate = Gate {
                dispatcher: dispatcher.unowned(),
                max_depth: self.config.max_depth,
                max_wait: self.config.connect_timeout,
                proxies: self.config.trusted_proxies.clone(),
            };
            Running { dispatcher, server: Server::new(&self.config.engine(), Arc::new(gate)) }
        })
    }
}

impl Handlers for SocketIoProvider {
    fn map_router(mut self, change: impl FnOnce(Router) -> Router) -> Self {
        self.router = change(self.router);
        if self.running.take().is_some() {
            let name = self.config.name;
            self.router.refuse(format!("a handler of the provider \"{name}\" was added after the provider was used"));
        }
        self
    }
}

#[async_trait]
impl RealtimeProvider for SocketIoProvider {
    fn name(&self) -> &'static str {
        self.config.name
    }

    fn capabilities(&self) -> Capabilities {
        self.config.capabilities()
    }

    fn check(&self) -> realtime_core::Result<()> {
        self.config.check()?;
        self.router.check()
    }

    async fn attach(&self, runtime: Runtime) -> realtime_core::Result<()> {
        self.check()?;
        let Running { dispatcher, server } = self.running();
        dispatcher.attach(runtime).await?;
        let (dispatcher, server) = (dispatcher.unowned(), server.clone());
        tokio::spawn(async move {
            dispatcher.stopped().await;
            // Sessions that are no connection do not end with the dispatcher's, when the provider is dropped.
            server.shut();
        });
        Ok(())
    }

    fn broadcast(&self) -> Arc<dyn RealtimeBroadcast> {
        Arc::new(Arc::clone(self.dispatcher()))
    }

    fn socket_io(&self) -> Option<Arc<dyn SocketIoBroadcast>> {
        Some(Arc::new(Arc::clone(self.dispatcher())))
    }

    fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        Some(Arc::new(Arc::clone(self.dispatcher())))
    }

    async fn close(&self, target: Target, reason: CloseReason) -> realtime_core::Result<usize> {
        self.dispatcher().close(target, reason).await
    }

    async fn drain(&self, drain: Drain) {
        self.dispatcher().drain(drain).await;
    }

    async fn shutdown(&self, drain: Drain) {
        self.dispatcher().shutdown(drain).await;
        // Those that did not go by themselves, never came to the main namespace, or belong to others only.
        let closed = tokio::time::timeout(CUT, self.running().server.close()).await;
        if closed.is_err() {
            tracing::warn!("shut down with connections that could not be ended");
        }
        // The hooks of those that had to be cut.
        self.dispatcher().drain(Drain::now()).await;
    }

    fn stats(&self) -> Stats {
        self.dispatcher().stats()
    }

    fn connections(&self, target: &Target) -> Vec<ConnectionStats> {
        self.dispatcher().connections(target)
    }
}

impl std::fmt::Debug for SocketIoProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SocketIoProvider")
            .field("config", &self.config)
            .field("router", &self.router)
            .finish_non_exhaustive()
    }
}
