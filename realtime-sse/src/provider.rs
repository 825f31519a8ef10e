use std::sync::Arc;

use bytes::Bytes;
use futures_util::Sink;
use realtime_core::spi::{Admitted, Dispatched, Dispatcher, Link, random_between};
use realtime_core::{Capabilities, Identity, Result, Router};
use realtime_http::spi::ProviderOrigins;

use crate::codec::{self, SseCodec};
use crate::config::SseConfig;
use crate::heartbeat::Heartbeat;
use crate::outlet::Transport;
use crate::session::Session;

/// The Server-Sent Events provider: `"sse"`, unless another name is given with
/// [`named`](Self::named).
///
/// Rooms have members in any case, and a room send of the service or of a handler reaches only
/// those. With [`RoomDelivery::Everyone`](realtime_core::RoomDelivery::Everyone), the default, this
/// provider's own `to_room` reaches everyone.
#[derive(Debug)]
pub struct SseProvider {
    config: SseConfig,
    origins: ProviderOrigins,
    dispatcher: Arc<Dispatcher<SseCodec>>,
}

impl SseProvider {
    /// Creates a provider that is not attached yet.
    #[must_use]
    pub fn new(config: SseConfig) -> Self {
        let codec = SseCodec { traceparent: config.traceparent };
        let dispatcher = Dispatcher::new(config.dispatcher(), codec, Router::new());
        Self { origins: ProviderOrigins::new(config.origins.clone()), config, dispatcher }
    }

    /// Creates a provider with another name than `"sse"`, under which a service finds it and
    /// records address it: for a second one in a service, which then needs a path of its own.
    #[must_use]
    pub fn named(name: &'static str, config: SseConfig) -> Self {
        Self::new(SseConfig { name, ..config })
    }

    /// Returns the pages that may connect.
    pub(crate) fn origins(&self) -> &ProviderOrigins {
        &self.origins
    }

    /// Returns the configuration.
    pub fn config(&self) -> &SseConfig {
        &self.config
    }

    /// Connects without a network: `sink` gets what a client of this identity would get, a block at
    /// a time (without `retry:` and heartbeat).
    ///
    /// Must be called within a tokio runtime.
    ///
    /// # Errors
    /// [`realtime_core::Error::Refused`] when a limit is reached, the identity is not valid, or the
    /// provider is not attached or shutting down.
    pub fn connect<S>(&self, identity: Identity, sink: S) -> Result<Link>
    where
        S: Sink<Bytes> + Send + 'static,
    {
        let admitted = self.dispatcher.admit_as(identity, &[], None, None)?;
        Ok(self.dispatcher.connect_sink(admitted, sink, Bytes::clone))
    }

    pub(crate) fn session(&self, admitted: Admitted, transport: Option<Transport>) -> Session {
        let heartbeat = self.config.heartbeat.map(Heartbeat::new);
        let (least, most) = (*self.config.retry.start(), *self.config.retry.end());
        let prelude = codec::retry(random_between(least, most));
        Session::open(&self.dispatcher, admitted, prelude, heartbeat, transport)
    }
}

impl Default for SseProvider {
    /// Creates a provider with the default configuration.
    fn default() -> Self {
        Self::new(SseConfig::default())
    }
}

impl Dispatched for SseProvider {
    type Codec = SseCodec;

    fn name(&self) -> &'static str {
        self.config.name
    }

    fn capabilities(&self) -> Capabilities {
        self.config.capabilities()
    }

    fn dispatcher(&self) -> &Arc<Dispatcher<SseCodec>> {
        &self.dispatcher
    }

    fn check(&self) -> Result<()> {
        self.config.check()
    }
}
