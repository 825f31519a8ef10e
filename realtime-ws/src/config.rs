use std::time::Duration;

use realtime_core::spi::{DEFAULT_MAX_DEPTH, DispatcherConfig, MAX_SUBPROTOCOLS};
use realtime_core::{Capabilities, DeliveryConfig, Result, delivery_setters, setters};
use realtime_http::spi::check_paths;
use realtime_http::{Origins, TrustedProxies};

/// The provider's name, unless it is [`named`](crate::WsProvider::named) otherwise.
const NAME: &str = "ws";

/// The path, limits and times of a [`WsProvider`](crate::WsProvider). What cannot work, as a zero
/// without a meaning of its own, is rejected when the provider is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WsConfig {
    pub(crate) name: &'static str,
    pub(crate) path: String,
    pub(crate) origins: Option<Origins>,
    pub(crate) delivery: DeliveryConfig,
    pub(crate) heartbeat: Option<Duration>,
    pub(crate) pong_timeout: Duration,
    pub(crate) max_message_bytes: usize,
    pub(crate) max_depth: usize,
    pub(crate) read_buffer_bytes: usize,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) subprotocols: Vec<String>,
    pub(crate) max_subprotocols: usize,
    pub(crate) close_timeout: Duration,
    pub(crate) traceparent: bool,
}

impl Default for WsConfig {
    fn default() -> Self {
        Self {
            name: NAME,
            path: "/ws".to_owned(),
            origins: None,
            delivery: DeliveryConfig::default(),
            heartbeat: Some(Duration::from_secs(30)),
            pong_timeout: Duration::from_secs(20),
            max_message_bytes: 1024 * 1024,
            max_depth: DEFAULT_MAX_DEPTH,
            read_buffer_bytes: 4 * 1024,
            trusted_proxies: TrustedProxies::none(),
            subprotocols: Vec::new(),
            max_subprotocols: MAX_SUBPROTOCOLS,
            close_timeout: Duration::from_secs(5),
            traceparent: false,
        }
    }
}

delivery_setters! {
    impl WsConfig {
        /// Sets the capacity; default 100,000 connections in all and 10 of one user. An idle
        /// connection costs about 3 KiB.
        ///
        /// At its user's limit a handshake is answered with 429 and `Retry-After`, and the user's
        /// existing connections are pinged: one that sends nothing for 2 s, and takes nothing of
        /// what waits for it, is closed. A client that was sent much has one second more for each
        /// 4 KiB, as for the answer to a heartbeat.
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
    impl WsConfig {
        /// Sets where [`router`](realtime_http::HttpProvider::router) puts the WebSocket, in axum's
        /// syntax with its first slash; default `/ws`.
        with_path(path: impl Into<String>);
        /// Sets which web pages may connect; default: what the service says, or those of the same
        /// host. Others get 403.
        with_origins(origins: Origins);
        /// Sets how often a ping is sent, so that proxies keep the connection open and a client
        /// that has vanished is noticed; default 30 s, `None` for never, zero is rejected.
        ///
        /// While a connection's handlers have enough to do nothing is read from it. Where the
        /// listener is `realtime-http`'s (`serve()`, `GuardedListener` with `WireInfo`) a reset is
        /// noticed then too, at the cost of a second file descriptor for as long; under another
        /// server, and where the client only closed its sending side, a vanished client is noticed
        /// by the next thing that is written to it: an event, or this ping.
        ///
        /// Costs one timer for each connection, two bytes for each ping and six for its answer.
        with_heartbeat(heartbeat: impl Into<Option<Duration>>);
        /// Sets how long after a ping anything at all must have arrived from the client; default
        /// 20 s, then it is closed (4002).
        ///
        /// A ping is read after all that was sent before it, so a client has one second more for
        /// each 4 KiB that it may not have read yet. While reading is paused, because handlers have
        /// enough to do, no connection is closed.
        with_pong_timeout(pong_timeout: Duration);
        /// Sets the largest message from a client in bytes, whole or in fragments; default 1 MiB. A
        /// larger one closes the connection (1009).
        ///
        /// One connection holds that much while it sends such a message. The headers of its
        /// fragments may take as much again and 64 KiB.
        with_max_message_bytes(max_message_bytes: usize);
        /// Sets how deep arrays and objects in an envelope may be nested, itself included; default
        /// 64. Deeper ones are an error.
        with_max_depth(max_depth: usize);
        /// Sets how many subprotocols a client may offer, `bearer` and its token among them;
        /// default 32. With more the handshake is answered with 400.
        with_max_subprotocols(max_subprotocols: usize);
        /// Sets how many bytes one read asks for; default 4 KiB, from 256 bytes to 16 KiB.
        ///
        /// A connection holds them only while a part of a message has arrived: an idle one has no
        /// read buffer.
        with_read_buffer_bytes(read_buffer_bytes: usize);
        /// Sets the reverse proxies that are trusted to report a client's address, in the log and
        /// by the authenticator; default none.
        with_trusted_proxies(trusted_proxies: TrustedProxies);
        /// Sets how long the closing handshake may take, from our close frame to the client's EOF;
        /// default 5 s.
        with_close_timeout(close_timeout: Duration);
        /// Sets whether an event has its trace in the field `traceparent`, for clients whose own
        /// spans are to be its children; default `false`. Costs 72 bytes for each event that is
        /// sent in a trace, and shows clients the trace's id.
        with_traceparent(traceparent: bool);
    }
}

impl WsConfig {
    /// Sets the subprotocols that are spoken (RFC 6455 §1.9); default none. The first one that the
    /// client offers is answered; if it offers none of them, no subprotocol is, after which a
    /// browser closes a connection for which it offered any.
    ///
    /// `bearer` is always understood: a browser's `new WebSocket(url, ['bearer', token])` is
    /// answered with `bearer`, or with one of these that it offers too, and the token is what
    /// [`ConnectRequest::token`](realtime_core::ConnectRequest::token) returns. Other offers are
    /// answered as these say, an offer that is malformed with 400.
    #[must_use]
    pub fn with_subprotocols<I: IntoIterator<Item = N>, N: Into<String>>(mut self, names: I) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Returns the path.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    pub(crate) fn capabilities() -> Capabilities {
        Capabilities::none().with_acks(true).with_bidirectional(true).with_resume(true).with_rooms(true)
    }

    /// Rejects what cannot work.
    ///
    /// # Errors
    /// [`Error::Config`](realtime_core::Error::Config) that names the field.
    pub fn check(&self) -> Result<()> {
        check_paths([(self.name, self.path.as_str())])?;
        self.origins.as_ref().map_or(Ok(()), Origins::verify)?;
        let dispatcher = self.dispatcher();
        dispatcher.check()?;
        dispatcher.check_field("heartbeat", self.heartbeat != Some(Duration::ZERO))?;
        dispatcher.check_field("pong_timeout", !self.pong_timeout.is_zero())?;
        dispatcher.check_field("close_timeout", !self.close_timeout.is_zero())?;
        dispatcher.check_field("max_message_bytes", self.max_message_bytes > 0)?;
        dispatcher.check_field("max_subprotocols", self.max_subprotocols > 0)?;
        dispatcher.check_field("max_depth", self.max_depth > 0)
    }

    pub(crate) fn dispatcher(&self) -> DispatcherConfig {
        DispatcherConfig::new(self.name, Self::capabilities(), self.delivery)
            .with_max_message_bytes(self.max_message_bytes)
    }
}
