use std::future::Future;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use axum::extract::{ConnectInfo, Request, State};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Sink;
use hyper_util::rt::TokioIo;
use realtime_core::spi::{Admitted, Asker, Dispatcher, Link, Runtime, SessionOutlet};
use realtime_core::{
    Capabilities, CloseReason, ConnectionStats, Context, Drain, Handlers, Identity, RealtimeBroadcast,
    RealtimeProvider, Refusal, Result, RoomMembership, Router, SocketIoBroadcast, Stats, Target,
};
use realtime_http::{HttpProvider, Origins, ProviderOrigins, WireInfo, admit, admit_as, refusal_response};
use tokio_util::task::TaskTracker;

use tracing::Instrument;

use crate::codec::{WsCodec, WsFrame};
use crate::config::WsConfig;
use crate::handshake::{Handshake, NoHandshake, route};
use crate::raw::{BINARY, BinaryHandler, IntoRawReply, TEXT, TextHandler};
use crate::session::Session;
use crate::settings::Settings;

/// How long the last goodbyes may take when a drain is over.
const GRACE: Duration = Duration::from_secs(1);

/// The raw WebSocket provider, `"ws"` unless it is [`named`](Self::named) otherwise.
///
/// ```
/// use realtime_core::{Context, Handlers};
/// use realtime_ws::{WsConfig, WsProvider};
///
/// let provider = WsProvider::new(WsConfig::default())
///     .on("typing", async |cx: Context, room: String| {
///         cx.to_room(&room).except_self().volatile().send("typing", &cx.identity().user_name()).await
///     })
///     .on_text(async |_cx, text: String| text.to_uppercase());
/// ```
pub struct WsProvider {
    config: WsConfig,
    router: Router,
    text: bool,
    binary: bool,
    /// Made on first use, when all handlers are known.
    core: OnceLock<Core>,
    origins: ProviderOrigins,
}

/// What its connections share.
#[derive(Clone)]
struct Core {
    dispatcher: Arc<Dispatcher<WsCodec>>,
    settings: Arc<Settings>,
    /// The connections' tasks; a shutdown waits for their goodbyes.
    sessions: TaskTracker,
}

impl WsProvider {
    /// A provider without handlers. They are added before it is given to a service or used in any way: one that is added later is
    /// refused when the provider is attached.
    pub fn new(config: WsConfig) -> Self {
        let origins = ProviderOrigins::new(config.origins.clone());
        Self { config, router: Router::new(), text: false, binary: false, core: OnceLock::new(), origins }
    }

    /// A provider of another name than `"ws"`, by which a service finds it and records mean it: for a second one in a service,
    /// which then needs a path of its own.
    pub fn named(name: &'static str, config: WsConfig) -> Self {
        Self::new(WsConfig { name, ..config })
    }

    /// Handles texts that are no envelope (no JSON object with a string `type`), in order with the other events; without
    /// such a handler they are answered with an error.
    ///
    /// What it returns is sent back as it is: text, bytes, or nothing.
    #[must_use]
    pub fn on_text<F, Fut, R>(mut self, handler: F) -> Self
    where
        F: Fn(Context, String) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoRawReply + Send + 'static,
    {
        self.text = true;
        self.map_router(|router| router.with_transport_handler(TEXT, TextHandler(handler)))
    }

    /// Handles binary messages, in order with the other events; without such a handler they are answered with an error.
    ///
    /// What it returns is sent back as it is: text, bytes, or nothing.
    #[must_use]
    pub fn on_binary<F, Fut, R>(mut self, handler: F) -> Self
    where
        F: Fn(Context, Bytes) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = R> + Send + 'static,
        R: IntoRawReply + Send + 'static,
    {
        self.binary = true;
        self.map_router(|router| router.with_transport_handler(BINARY, BinaryHandler(handler)))
    }

    /// Its configuration.
    pub fn config(&self) -> &WsConfig {
        &self.config
    }

    /// Answers a request on a route of the application's own, which knows who it is and which rooms it enters.
    ///
    /// The origin and the limits are checked as on the provider's own route, and `?lastEventId=` is understood; rooms named
    /// in the URL are not entered.
    pub async fn open<R>(&self, request: Request, identity: Identity, rooms: R) -> Response
    where
        R: IntoIterator<Item: Into<String>>,
    {
        let rooms: Vec<String> = rooms.into_iter().map(Into::into).collect();
        let proxies = &self.config.trusted_proxies;
        self.upgrade(request, |parts| {
            admit_as(&self.core().dispatcher, self.origins.get(), proxies, parts, identity, &rooms, None)
        })
    }

    /// A connection without a network: into `sink` go the payloads of the messages that a client would get.
    ///
    /// # Errors
    /// [`realtime_core::Error::Refused`].
    pub fn connect<S>(&self, identity: Identity, sink: S) -> Result<Link>
    where
        S: Sink<Bytes> + Send + 'static,
    {
        let dispatcher = &self.core().dispatcher;
        let admitted = dispatcher.admit_as(identity, &[], None, None)?;
        Ok(dispatcher.connect_sink(admitted, sink, WsFrame::payload))
    }

    async fn accept(State(provider): State<Arc<Self>>, request: Request) -> Response {
        let handshake = match provider.handshake(request) {
            Ok(handshake) => handshake,
            Err(wrong) => return wrong.response(),
        };
        let (origins, proxies) = (provider.origins.get(), &provider.config.trusted_proxies);
        match admit(&provider.core().dispatcher, origins, proxies, &handshake.parts, None).await {
            Ok(admitted) => provider.start(handshake, admitted),
            Err(refusal) => refusal_response(&refusal),
        }
    }

    fn upgrade(
        &self,
        request: Request,
        admit: impl FnOnce(&http::request::Parts) -> Result<Admitted, Refusal>,
    ) -> Response {
        let handshake = match self.handshake(request) {
            Ok(handshake) => handshake,
            Err(wrong) => return wrong.response(),
        };
        match admit(&handshake.parts) {
            Ok(admitted) => self.start(handshake, admitted),
            Err(refusal) => refusal_response(&refusal),
        }
    }

    fn handshake(&self, request: Request) -> Result<Handshake, NoHandshake> {
        let (parts, body) = request.into_parts();
        let address = self.config.trusted_proxies.client(&parts);
        let handshake = Handshake::of(Request::from_parts(parts, body), &self.config.subprotocols);
        if let Err(wrong) = &handshake {
            self.core().dispatcher.refuse(wrong.refusal(), Asker { address, identity: None });
        }
        handshake
    }

    /// Answers a handshake; the connection exists when the client has the answer, and its place is given back if that never
    /// comes.
    fn start(&self, handshake: Handshake, admitted: Admitted) -> Response {
        let Core { dispatcher, settings, sessions } = self.core().clone();
        let Handshake { parts, stream, response } = handshake;
        let wire = parts.extensions.get::<ConnectInfo<WireInfo>>().map(|ConnectInfo(info)| Arc::clone(info.wire()));
        // A client that dawdles does not keep the provider.
        let dispatcher = dispatcher.unowned();
        sessions.spawn(async move {
            let stream = match tokio::time::timeout(settings.write_stall, stream).await {
                Ok(Ok(stream)) => TokioIo::new(stream),
                Ok(Err(error)) => return tracing::debug!(%error, "the client left before the handshake was over"),
                Err(_) => return tracing::debug!("the handshake was never over"),
            };
            let outlet = Arc::new(SessionOutlet::new());
            let registration = dispatcher.register(admitted, Arc::clone(&outlet) as _);
            drop(dispatcher);
            let span = registration.span().clone();
            Session::new(stream, settings, registration, outlet, wire).instrument(span).await;
        });
        response
    }

    fn core(&self) -> &Core {
        self.core.get_or_init(|| {
            let router = self.router.clone().with_room_events();
            let dispatcher = Dispatcher::new(self.config.dispatcher(), WsCodec, router);
            let settings = Arc::new(Settings::new(&self.config, self.text, self.binary));
            Core { dispatcher, settings, sessions: TaskTracker::new() }
        })
    }
}

impl Handlers for WsProvider {
    fn map_router(mut self, change: impl FnOnce(Router) -> Router) -> Self {
        self.router = change(self.router);
        if self.core.take().is_some() {
            let name = self.config.name;
            self.router.refuse(format!("a handler of the provider \"{name}\" was added after the provider was used"));
        }
        self
    }
}

#[async_trait]
impl RealtimeProvider for WsProvider {
    fn name(&self) -> &'static str {
        self.config.name
    }

    fn capabilities(&self) -> Capabilities {
        WsConfig::capabilities()
    }

    fn check(&self) -> Result<()> {
        self.config.check()?;
        self.router.check()
    }

    async fn attach(&self, runtime: Runtime) -> Result<()> {
        self.check()?;
        self.core().dispatcher.attach(runtime).await
    }

    fn broadcast(&self) -> Arc<dyn RealtimeBroadcast> {
        Arc::new(Arc::clone(&self.core().dispatcher))
    }

    fn socket_io(&self) -> Option<Arc<dyn SocketIoBroadcast>> {
        Some(Arc::new(Arc::clone(&self.core().dispatcher)))
    }

    fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        Some(Arc::new(Arc::clone(&self.core().dispatcher)))
    }

    async fn close(&self, target: Target, reason: CloseReason) -> Result<usize> {
        self.core().dispatcher.close(target, reason).await
    }

    async fn drain(&self, drain: Drain) {
        self.core().dispatcher.drain(drain).await;
    }

    async fn shutdown(&self, drain: Drain) {
        let core = self.core();
        core.dispatcher.shutdown(drain).await;
        core.sessions.close();
        if tokio::time::timeout(GRACE, core.sessions.wait()).await.is_err() {
            tracing::warn!(connections = core.sessions.len(), "shut down without the last goodbyes");
        }
    }

    fn stats(&self) -> Stats {
        self.core().dispatcher.stats()
    }

    fn connections(&self, target: &Target) -> Vec<ConnectionStats> {
        self.core().dispatcher.connections(target)
    }
}

impl HttpProvider for WsProvider {
    fn router(self: Arc<Self>) -> axum::Router {
        let path = self.config.path.clone();
        route(&path, Self::accept, self)
    }

    fn paths(&self) -> Vec<String> {
        vec![self.config.path.clone()]
    }

    fn set_default_origins(&self, origins: &Origins) {
        self.origins.set_default(origins);
    }

    fn origins(&self) -> Option<&Origins> {
        Some(self.origins.get())
    }

    fn is_ready(&self) -> bool {
        self.core().dispatcher.is_ready()
    }
}

impl std::fmt::Debug for WsProvider {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WsProvider").field("config", &self.config).field("router", &self.router).finish_non_exhaustive()
    }
}
