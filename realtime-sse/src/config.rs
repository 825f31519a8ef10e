use std::ops::RangeInclusive;
use std::time::Duration;

use realtime_core::spi::DispatcherConfig;
use realtime_core::{Capabilities, Error, Limits, OutboxConfig, Result, RoomDelivery, WindowConfig};
use realtime_http::{Origins, TrustedProxies, check_paths};

/// The provider's name, unless it is given another.
const NAME: &str = "sse";

/// Path, limits and times of an [`SseProvider`](crate::SseProvider). What cannot work, as zero where nothing says what it means,
/// is refused when the provider is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SseConfig {
    /// The provider's name, set by `named`.
    pub(crate) name: &'static str,
    /// Where [`router`](realtime_http::HttpProvider::router) puts the stream, in axum's syntax with its first slash; default `/sse`.
    pub path: String,
    /// Which web pages may connect; default: what the service says, or those of the same host. Others get 403.
    pub origins: Option<Origins>,
    /// How many connections are taken; default 100,000 in all and 10 of one user.
    ///
    /// At its user's limit a browser's `EventSource` is answered with an `error` event and told to come back in 5 to 10 s, others
    /// get 429. The connections that the user has are asked for a sign of life meanwhile: on Linux, behind
    /// [`serve`](realtime_http::serve()) or [`GuardedListener`](realtime_http::GuardedListener), one whose host is gone makes room
    /// within about 3 s, and so does one that took nothing for 2 s of what waited for it. Elsewhere, and behind a proxy, it keeps
    /// its place until a write to it fails: [`heartbeat`](Self::heartbeat) and what the kernel or the proxy waits after it.
    ///
    /// An idle connection costs about 13 KiB. Browsers open at most six connections to a host over HTTP/1.1, over all tabs.
    pub limits: Limits,
    /// How much may wait for one connection before it reads the window instead; default 256 KiB or 256 frames.
    pub outbox: OutboxConfig,
    /// How much of the log stays in memory for those who come back or are slow; default 10,000 records, 64 MiB, 5 minutes.
    pub window: WindowConfig,
    /// After how long without anything else a comment (`:`) is sent, so that proxies keep the stream open and a client
    /// that is gone is noticed; default 30 s, `None` for never, less than 1 ms counts as 1 ms, zero is refused.
    ///
    /// Costs one timer and, per beat, one write for each quiet connection.
    pub heartbeat: Option<Duration>,
    /// Reverse proxies: their hosts are not asked for signs of life, which they would give in the clients' place; default none.
    pub trusted_proxies: TrustedProxies,
    /// Between which two times a client is told to wait before it comes back (`retry:`, in whole milliseconds), another one
    /// for each connection; default 2 to 4 s.
    ///
    /// After a crash all clients come back within the difference of the two: the more there are, the larger it should be.
    pub retry: RangeInclusive<Duration>,
    /// Who sees what this provider's own `to_room` sends; default [`RoomDelivery::Everyone`]. Room sends of the service and of
    /// handlers reach members only.
    ///
    /// **`Everyone` shows what is sent so to every SSE client, of whatever user and tenant, member or not**: `to_room` is
    /// `to_all` then (`room_in(tenant, …)` reaches that tenant). Set [`RoomDelivery::Members`] where rooms hold anything
    /// that is not for all.
    pub room_delivery: RoomDelivery,
    /// How long a client may take nothing while something waits for it before the connection is given up; default 30 s.
    pub write_stall: Duration,
    /// The largest payload of an event, in bytes of JSON; default 16 MiB. Larger ones are refused when sent, and so
    /// are those that are larger than the service's limit (1 MiB by default).
    ///
    /// One such event stays in memory once, however many clients get it, for as long as it is in the window.
    pub max_event_bytes: usize,
}

impl Default for SseConfig {
    fn default() -> Self {
        Self {
            name: NAME,
            path: "/sse".to_owned(),
            origins: None,
            limits: Limits::default(),
            outbox: OutboxConfig::default(),
            window: WindowConfig::default(),
            heartbeat: Some(Duration::from_secs(30)),
            trusted_proxies: TrustedProxies::none(),
            retry: Duration::from_secs(2)..=Duration::from_secs(4),
            room_delivery: RoomDelivery::Everyone,
            write_stall: Duration::from_secs(30),
            max_event_bytes: 16 * 1024 * 1024,
        }
    }
}

impl SseConfig {
    /// Sets [`path`](Self::path).
    #[must_use]
    pub fn with_path(mut self, path: impl Into<String>) -> Self {
        self.path = path.into();
        self
    }

    /// Sets [`origins`](Self::origins).
    #[must_use]
    pub fn with_origins(mut self, origins: Origins) -> Self {
        self.origins = Some(origins);
        self
    }

    /// Sets [`limits`](Self::limits).
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Sets [`outbox`](Self::outbox).
    #[must_use]
    pub fn with_outbox(mut self, outbox: OutboxConfig) -> Self {
        self.outbox = outbox;
        self
    }

    /// Sets [`window`](Self::window).
    #[must_use]
    pub fn with_window(mut self, window: WindowConfig) -> Self {
        self.window = window;
        self
    }

    /// Sets [`heartbeat`](Self::heartbeat).
    #[must_use]
    pub fn with_heartbeat(mut self, every: impl Into<Option<Duration>>) -> Self {
        self.heartbeat = every.into();
        self
    }

    /// Sets [`trusted_proxies`](Self::trusted_proxies).
    #[must_use]
    pub fn with_trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.trusted_proxies = proxies;
        self
    }

    /// Sets [`retry`](Self::retry).
    #[must_use]
    pub fn with_retry(mut self, after: RangeInclusive<Duration>) -> Self {
        self.retry = after;
        self
    }

    /// Sets [`room_delivery`](Self::room_delivery).
    #[must_use]
    pub fn with_room_delivery(mut self, delivery: RoomDelivery) -> Self {
        self.room_delivery = delivery;
        self
    }

    /// Sets [`write_stall`](Self::write_stall).
    #[must_use]
    pub fn with_write_stall(mut self, limit: Duration) -> Self {
        self.write_stall = limit;
        self
    }

    /// Sets [`max_event_bytes`](Self::max_event_bytes).
    #[must_use]
    pub fn with_max_event_bytes(mut self, bytes: usize) -> Self {
        self.max_event_bytes = bytes;
        self
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities::none().with_resume(true).with_rooms(self.room_delivery == RoomDelivery::Members)
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Config`](realtime_core::Error::Config) that names the field.
    pub fn check(&self) -> Result<()> {
        check_paths([(self.name, self.path.clone())])?;
        self.origins.as_ref().map_or(Ok(()), Origins::verify)?;
        let dispatcher = self.dispatcher();
        dispatcher.check()?;
        dispatcher.check_field("heartbeat", self.heartbeat != Some(Duration::ZERO))?;
        // Clients would come back without a pause.
        dispatcher.check_field("retry", *self.retry.start() >= Duration::from_millis(1))?;
        if self.retry.is_empty() {
            return Err(Error::Config(format!("retry of the provider \"{}\" ends before it begins", self.name)));
        }
        Ok(())
    }

    pub(crate) fn dispatcher(&self) -> DispatcherConfig {
        DispatcherConfig {
            limits: self.limits,
            max_event_bytes: self.max_event_bytes,
            outbox: self.outbox,
            room_delivery: self.room_delivery,
            window: self.window,
            write_stall: self.write_stall,
            ..DispatcherConfig::new(self.name, self.capabilities())
        }
    }
}
