use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use bytes::Bytes;
use futures_util::Sink;
use realtime_core::{
    Admitted, Capabilities, CloseReason, ConnectionStats, Dispatcher, Drain, Identity, Link, RealtimeBroadcast,
    RealtimeProvider, RoomMembership, Router, Runtime, Stats, Target, random_between,
};
use realtime_http::{HttpProvider, Origins, ProviderOrigins};

use crate::SseConfig;
use crate::body::SseBody;
use crate::codec::{self, SseCodec};
use crate::heartbeat::Heartbeat;
use crate::http;
use crate::outlet::Under;

/// The provider's name.
pub(crate) const NAME: &str = "sse";

/// Server-Sent Events: the provider `"sse"`.
///
/// Users can be joined to rooms in any case; with [`RoomDelivery::Everyone`](realtime_core::RoomDelivery::Everyone),
/// the default, that changes nothing about who gets what.
#[derive(Debug)]
pub struct SseProvider {
    config: SseConfig,
    origins: ProviderOrigins,
    dispatcher: Arc<Dispatcher<SseCodec>>,
}

impl SseProvider {
    /// A provider that is not attached yet.
    pub fn new(config: SseConfig) -> Self {
        let dispatcher = Dispatcher::new(config.dispatcher(), SseCodec, Router::new());
        Self { origins: ProviderOrigins::new(config.origins.clone()), config, dispatcher }
    }

    /// Which pages may connect.
    pub(crate) fn allowed(&self) -> &Origins {
        self.origins.get()
    }

    /// What it was made with.
    pub fn config(&self) -> &SseConfig {
        &self.config
    }

    /// The event stream for a route of the application's own, which knows who is asking and which rooms that is in.
    ///
    /// The origin, the limits and `Last-Event-ID` (or `?lastEventId=`) count as on the ready route; the authenticator, the
    /// room policy and `?channel=` do not. A refusal is answered with its status, see
    /// [`refusal_response`](realtime_http::refusal_response).
    pub async fn open(
        &self,
        request: Request,
        identity: Identity,
        rooms: impl IntoIterator<Item = impl Into<String>>,
    ) -> Response {
        let rooms: Vec<String> = rooms.into_iter().map(Into::into).collect();
        http::open(self, &request.into_parts().0, identity, &rooms)
    }

    /// Delivers into any sink what a client of this identity would get, a block at a time (without `retry:` and heartbeat).
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`realtime_core::Error::Refused`] when a limit is reached, the identity is not valid, or the provider is not
    /// attached or going down.
    pub fn connect<S>(&self, identity: Identity, sink: S) -> realtime_core::Result<Link>
    where
        S: Sink<Bytes> + Send + 'static,
    {
        let admitted = self.dispatcher.admit_as(identity, &[], None, None)?;
        Ok(self.dispatcher.connect_sink(admitted, sink, Bytes::clone))
    }

    pub(crate) fn dispatcher(&self) -> &Arc<Dispatcher<SseCodec>> {
        &self.dispatcher
    }

    pub(crate) fn body(&self, admitted: Admitted, under: Option<Under>) -> SseBody {
        let heartbeat = self.config.heartbeat.map(Heartbeat::new);
        let (least, most) = (*self.config.retry.start(), *self.config.retry.end());
        let prelude = codec::retry(random_between(least, most));
        SseBody::open(&self.dispatcher, admitted, prelude, heartbeat, under)
    }
}

#[async_trait]
impl RealtimeProvider for SseProvider {
    fn name(&self) -> &'static str {
        NAME
    }

    fn capabilities(&self) -> Capabilities {
        self.config.capabilities()
    }

    fn check(&self) -> realtime_core::Result<()> {
        self.config.check()
    }

    async fn attach(&self, runtime: Runtime) -> realtime_core::Result<()> {
        self.check()?;
        self.dispatcher.attach(runtime).await
    }

    fn broadcast(&self) -> Arc<dyn RealtimeBroadcast> {
        Arc::new(Arc::clone(&self.dispatcher))
    }

    fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        Some(Arc::new(Arc::clone(&self.dispatcher)))
    }

    async fn close(&self, target: Target, reason: CloseReason) -> realtime_core::Result<usize> {
        self.dispatcher.close(target, reason).await
    }

    async fn drain(&self, drain: Drain) {
        self.dispatcher.drain(drain).await;
    }

    async fn shutdown(&self, drain: Drain) {
        self.dispatcher.shutdown(drain).await;
    }

    fn stats(&self) -> Stats {
        self.dispatcher.stats()
    }

    fn connections(&self, target: &Target) -> Vec<ConnectionStats> {
        self.dispatcher.connections(target)
    }
}

impl HttpProvider for SseProvider {
    fn router(self: Arc<Self>) -> axum::Router {
        let path = self.config.path.clone();
        let methods = get(http::stream).head(http::head).options(http::preflight).fallback(http::wrong_method);
        axum::Router::new().route(&path, methods).with_state(self)
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
        self.dispatcher.is_ready()
    }
}
