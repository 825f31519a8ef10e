use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Sink;
use realtime_core::spi::{Dispatched, Dispatcher, Link};
use realtime_core::{Capabilities, Drain, Handlers, Identity, Result, Router};
use realtime_http::spi::ProviderOrigins;
use socketioxide::SocketIo;

use crate::codec::SocketIoCodec;
use crate::config::SocketIoConfig;
use crate::engine::adapter::DirectAdapter;
use crate::engine::service::EngineService;
use crate::gate::Gate;
use crate::server::Server;

/// The time for closing all sessions; one whose client takes nothing needs a second.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(2);

/// Socket.IO: the provider `"socket"`, unless it is [`named`](Self::named) otherwise, on
/// socketioxide.
///
/// The main namespace is the provider's. Its clients may send `join` and `leave`, or `subscribe`
/// and `unsubscribe`, with a room's name: the room policy decides; a handler of the application's
/// for one of these names replaces the ready-made one.
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
    /// Creates a provider without handlers. They are added before the provider is given to a
    /// service or used in any way, [`SocketIoProvider::io`] included: with a handler that is added
    /// later, attaching the provider fails.
    #[must_use]
    pub fn new(config: SocketIoConfig) -> Self {
        let origins = ProviderOrigins::new(config.origins.clone());
        Self { config, running: std::sync::OnceLock::new(), router: Router::new(), origins }
    }

    /// Creates a provider with another name than `"socket"`, under which a service finds it and
    /// records address it: for a second one in a service, which then needs a path of its own.
    #[must_use]
    pub fn named(name: &'static str, config: SocketIoConfig) -> Self {
        Self::new(SocketIoConfig { name, ..config })
    }

    /// Returns the configuration.
    pub fn config(&self) -> &SocketIoConfig {
        &self.config
    }

    /// Returns socketioxide itself, for namespaces of the application's own. The main one (`/`) is
    /// the provider's and must not be changed.
    ///
    /// A middleware of such a namespace keeps running when its client has disconnected, so it needs
    /// a time limit: a session has at most four running, but a client that disconnects can open
    /// another session.
    pub fn io(&self) -> &SocketIo<DirectAdapter> {
        self.running().server.io()
    }

    /// Connects without a network: `sink` gets what a client of this identity would get; each item
    /// is the JSON array of one packet, `["event", data, cursor]`, with placeholders for
    /// attachments, which are not included.
    ///
    /// # Errors
    /// [`realtime_core::Error::Refused`] when a limit is reached, the identity is not valid, or the
    /// provider is not attached or is shutting down.
    pub fn connect<S>(&self, identity: Identity, sink: S) -> Result<Link>
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

    /// Returns the HTTP service, without the checks before it.
    pub(crate) fn service(&self) -> EngineService {
        self.running().server.service()
    }

    fn running(&self) -> &Running {
        self.running.get_or_init(|| {
            let codec = SocketIoCodec { cursor_argument: self.config.cursor_argument };
            let router = self.router.clone().with_room_events().with_refresh_event();
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

impl Default for SocketIoProvider {
    /// Creates a provider with the default configuration.
    fn default() -> Self {
        Self::new(SocketIoConfig::default())
    }
}

#[async_trait]
impl Dispatched for SocketIoProvider {
    type Codec = SocketIoCodec;

    fn name(&self) -> &'static str {
        self.config.name
    }

    fn capabilities(&self) -> Capabilities {
        self.config.capabilities()
    }

    fn dispatcher(&self) -> &Arc<Dispatcher<SocketIoCodec>> {
        &self.running().dispatcher
    }

    fn check(&self) -> Result<()> {
        self.config.check()?;
        self.router.check()
    }

    fn attached(&self) {
        let Running { dispatcher, server } = self.running();
        let (dispatcher, server) = (dispatcher.unowned(), server.clone());
        tokio::spawn(async move {
            dispatcher.stopped().await;
            // When the provider is dropped, sessions without a connection are not closed by the
            // dispatcher.
            server.shut();
        });
    }

    async fn finish(&self) {
        // Sessions that did not close by themselves, never connected to the main namespace, or are
        // connected to others only.
        if tokio::time::timeout(CLOSE_TIMEOUT, self.running().server.close()).await.is_err() {
            tracing::warn!("shut down with sessions that could not be closed");
        }
        // The hooks of connections that had to be reset.
        self.dispatcher().drain(Drain::now()).await;
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
