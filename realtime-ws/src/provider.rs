use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::Sink;
use realtime_core::spi::{Dispatched, Dispatcher, Link};
use realtime_core::{Capabilities, Context, Handlers, Identity, IntoRawReply, Result, Router};
use realtime_http::spi::ProviderOrigins;
use tokio_util::task::TaskTracker;

use crate::codec::{WsCodec, WsFrame};
use crate::config::WsConfig;
use crate::settings::Settings;

/// The time that the last close handshakes may take when a drain is done.
const GRACE: Duration = Duration::from_secs(1);

/// The raw WebSocket provider: `"ws"`, unless another name is given with [`named`](Self::named).
///
/// ```
/// use realtime_core::{Context, Handlers};
/// use realtime_ws::{WsConfig, WsProvider};
///
/// let provider = WsProvider::new(WsConfig::default())
///     .on("typing", async |cx: Context, room: String| {
///         let user = cx.identity().user_name();
///         cx.to_room(&room).except_self().as_volatile().send("typing", &user).await
///     })
///     .on_text(async |_cx, text: String| text.to_uppercase());
/// ```
pub struct WsProvider {
    config: WsConfig,
    router: Router,
    /// Created on first use, when all handlers are known.
    shared: OnceLock<Shared>,
    origins: ProviderOrigins,
}

/// The parts that all connections of a provider share.
#[derive(Clone)]
pub(crate) struct Shared {
    pub(crate) dispatcher: Arc<Dispatcher<WsCodec>>,
    pub(crate) settings: Arc<Settings>,
    /// The connections' tasks; a shutdown waits for their close handshakes.
    pub(crate) sessions: TaskTracker,
}

impl WsProvider {
    /// Creates a provider without handlers. They are added before the provider is given to a
    /// service or used in any way: with a handler that is added later, attaching the provider
    /// fails.
    #[must_use]
    pub fn new(config: WsConfig) -> Self {
        let origins = ProviderOrigins::new(config.origins.clone());
        Self { config, router: Router::new(), shared: OnceLock::new(), origins }
    }

    /// Creates a provider with another name than `"ws"`, under which a service finds it and records
    /// address it: for a second one in a service, which then needs a path of its own.
    #[must_use]
    pub fn named(name: &'static str, config: WsConfig) -> Self {
        Self::new(WsConfig { name, ..config })
    }

    /// Handles texts that are no envelope (no JSON object with a string `type`), in order with the
    /// other events; without such a handler they are answered with an error. With a second one,
    /// attaching the provider fails.
    ///
    /// The return value is sent back as it is: text, bytes, or nothing.
    #[must_use]
    pub fn on_text<F, Fut, R>(self, handler: F) -> Self
    where
        F: Fn(Context, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoRawReply + Send + 'static,
    {
        self.map_router(|router| router.on_text(handler))
    }

    /// Handles binary messages, in order with the other events; without such a handler they are
    /// answered with an error. With a second one, attaching the provider fails.
    ///
    /// The return value is sent back as it is: text, bytes, or nothing.
    #[must_use]
    pub fn on_binary<F, Fut, R>(self, handler: F) -> Self
    where
        F: Fn(Context, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoRawReply + Send + 'static,
    {
        self.map_router(|router| router.on_binary(handler))
    }

    /// Returns the configuration.
    pub fn config(&self) -> &WsConfig {
        &self.config
    }

    /// Connects without a network: `sink` gets the payloads of the messages that a client would
    /// get.
    ///
    /// # Errors
    /// [`realtime_core::Error::Refused`].
    pub fn connect<S>(&self, identity: Identity, sink: S) -> Result<Link>
    where
        S: Sink<Bytes> + Send + 'static,
    {
        let dispatcher = &self.shared().dispatcher;
        let admitted = dispatcher.admit_as(identity, &[], None, None)?;
        Ok(dispatcher.connect_sink(admitted, sink, WsFrame::payload))
    }

    /// Returns the pages that may connect.
    pub(crate) fn origins(&self) -> &ProviderOrigins {
        &self.origins
    }

    pub(crate) fn shared(&self) -> &Shared {
        self.shared.get_or_init(|| {
            let settings = Arc::new(Settings::new(&self.config, &self.router));
            let router = self.router.clone().with_room_events().with_refresh_event();
            let codec = WsCodec { traceparent: self.config.traceparent };
            let dispatcher = Dispatcher::new(self.config.dispatcher(), codec, router);
            Shared { dispatcher, settings, sessions: TaskTracker::new() }
        })
    }
}

impl Handlers for WsProvider {
    fn map_router(mut self, change: impl FnOnce(Router) -> Router) -> Self {
        self.router = change(self.router);
        if self.shared.take().is_some() {
            let name = self.config.name;
            self.router.refuse(format!("a handler of the provider \"{name}\" was added after the provider was used"));
        }
        self
    }
}

impl Default for WsProvider {
    /// Creates a provider with the default configuration.
    fn default() -> Self {
        Self::new(WsConfig::default())
    }
}

#[async_trait]
impl Dispatched for WsProvider {
    type Codec = WsCodec;

    fn name(&self) -> &'static str {
        self.config.name
    }

    fn capabilities(&self) -> Capabilities {
        WsConfig::capabilities()
    }

    fn dispatcher(&self) -> &Arc<Dispatcher<WsCodec>> {
        &self.shared().dispatcher
    }

    fn check(&self) -> Result<()> {
        self.config.check()?;
        self.router.check()
    }

    async fn finish(&self) {
        let sessions = &self.shared().sessions;
        sessions.close();
        if tokio::time::timeout(GRACE, sessions.wait()).await.is_err() {
            tracing::warn!(connections = sessions.len(), "shut down before all close handshakes were done");
        }
    }
}

impl std::fmt::Debug for WsProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WsProvider").field("config", &self.config).field("router", &self.router).finish_non_exhaustive()
    }
}
