use std::ops::RangeInclusive;
use std::time::Duration;

use realtime_core::spi::DispatcherConfig;
use realtime_core::{Capabilities, DeliveryConfig, Error, Result, RoomDelivery, delivery_setters, setters};
use realtime_http::spi::check_paths;
use realtime_http::{Origins, TrustedProxies};

/// The provider's name, unless it is [`named`](crate::SseProvider::named) otherwise.
const NAME: &str = "sse";

/// The path, limits and times of an [`SseProvider`](crate::SseProvider). What cannot work, as a
/// zero without a meaning of its own, is rejected when the provider is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SseConfig {
    pub(crate) name: &'static str,
    pub(crate) path: String,
    pub(crate) origins: Option<Origins>,
    pub(crate) delivery: DeliveryConfig,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) retry: RangeInclusive<Duration>,
    pub(crate) room_delivery: RoomDelivery,
    pub(crate) traceparent: bool,
}

impl Default for SseConfig {
    fn default() -> Self {
        Self {
            name: NAME,
            path: "/sse".to_owned(),
            origins: None,
            delivery: DeliveryConfig::default(),
            heartbeat: Some(Duration::from_secs(30)),
            trusted_proxies: TrustedProxies::none(),
            retry: Duration::from_secs(2)..=Duration::from_secs(4),
            room_delivery: RoomDelivery::Everyone,
            traceparent: false,
        }
    }
}

delivery_setters! {
    impl SseConfig {
        /// Sets the capacity; default 100,000 connections in all and 10 of one user.
        ///
        /// At its user's limit a browser's `EventSource` is answered with an `error` event and a
        /// reconnection time of 5 to 10 s, others get 429. The user's existing connections are
        /// probed meanwhile: on Linux, behind [`serve`](realtime_http::serve()) or
        /// [`GuardedListener`](realtime_http::GuardedListener), one whose host is gone is closed
        /// within about 3 s, and so is one that took nothing for 2 s of what waited for it.
        /// Elsewhere, and behind a proxy, it keeps its slot until a write to it fails:
        /// [`heartbeat`](Self::with_heartbeat) and what the kernel or the proxy waits after it.
        ///
        /// An idle connection costs about 13 KiB. Browsers open at most six connections to a host
        /// over HTTP/1.1, over all tabs.
        with_limits;
        /// Sets the largest payload of an event, in bytes of JSON; default 16 MiB. Larger ones are
        /// rejected when sent, and so are those that are larger than the service's limit (1 MiB by
        /// default).
        ///
        /// One such event stays in memory once, however many clients get it, for as long as it is
        /// in the window.
        with_max_event_bytes;
    }
}

setters! {
    impl SseConfig {
        /// Sets where [`router`](realtime_http::HttpProvider::router) puts the stream, in axum's
        /// syntax with its first slash; default `/sse`. Beside it, at `/sse/refresh`, is the route
        /// by which clients refresh their credentials, unless the path captures all the rest
        /// (`{*…}`).
        with_path(path: impl Into<String>);
        /// Sets which web pages may connect; default: what the service says, or those of the same
        /// host. Others get 403.
        with_origins(origins: Origins);
        /// Sets after how long without anything else a comment (`:`) is sent, so that proxies keep
        /// the stream open and a vanished client is noticed; default 30 s, `None` for never, less
        /// than 1 ms counts as 1 ms, zero is rejected.
        ///
        /// Costs one timer and, per beat, one write for each quiet connection.
        with_heartbeat(heartbeat: impl Into<Option<Duration>>);
        /// Sets the reverse proxies that are trusted to report a client's address; default none.
        /// Their hosts are not probed, since they would respond in the clients' stead.
        with_trusted_proxies(trusted_proxies: TrustedProxies);
        /// Sets the least and the greatest time that a client waits before it reconnects (`retry:`,
        /// in whole milliseconds), random for each connection; default 2 to 4 s.
        ///
        /// After a crash all clients reconnect within the difference of the two: the more there
        /// are, the larger it should be.
        with_retry(retry: RangeInclusive<Duration>);
        /// Sets the audience of what this provider's own `to_room` sends; default
        /// [`RoomDelivery::Everyone`]. Room sends of the service and of handlers reach members
        /// only.
        ///
        /// **`Everyone` shows such events to every SSE client, of whatever user and tenant, member
        /// or not**: `to_room` is `to_all` then (`room_in(tenant, …)` reaches that tenant). Set
        /// [`RoomDelivery::Members`] where rooms hold anything that is not for all.
        with_room_delivery(room_delivery: RoomDelivery);
        /// Sets whether an event has its trace in a comment, `: traceparent=…`, which an
        /// `EventSource` ignores and other parsers can show; default `false`. Costs 70 bytes for
        /// each event that is sent in a trace, and shows clients the trace's id.
        with_traceparent(traceparent: bool);
    }
}

impl SseConfig {
    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities::none().with_resume(true).with_rooms(self.room_delivery == RoomDelivery::Members)
    }

    /// Rejects what cannot work.
    ///
    /// # Errors
    /// [`Error::Config`](realtime_core::Error::Config) that names the field.
    pub fn check(&self) -> Result<()> {
        check_paths([(self.name, self.path.clone())])?;
        self.origins.as_ref().map_or(Ok(()), Origins::verify)?;
        let dispatcher = self.dispatcher();
        dispatcher.check()?;
        dispatcher.check_field("heartbeat", self.heartbeat != Some(Duration::ZERO))?;
        // Clients would reconnect without a pause.
        dispatcher.check_field("retry", *self.retry.start() >= Duration::from_millis(1))?;
        if self.retry.is_empty() {
            return Err(Error::Config(format!(
                "retry of the provider \"{}\": the maximum is below the minimum",
                self.name
            )));
        }
        Ok(())
    }

    pub(crate) fn dispatcher(&self) -> DispatcherConfig {
        DispatcherConfig::new(self.name, self.capabilities(), self.delivery).with_room_delivery(self.room_delivery)
    }
}
