use std::time::Duration;

use realtime_core::spi::{DEFAULT_MAX_DEPTH, DispatcherConfig};
use realtime_core::{Capabilities, Limits, OutboxConfig, Result, WindowConfig};
use realtime_http::{Origins, TrustedProxies, check_paths};

/// The provider's name, unless it is given another.
const NAME: &str = "ws";

/// Path, limits and times of a [`WsProvider`](crate::WsProvider). What cannot work, as zero where nothing says what it means, is
/// refused when the provider is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WsConfig {
    /// The provider's name, set by `named`.
    pub(crate) name: &'static str,
    /// Where [`router`](realtime_http::HttpProvider::router) puts the WebSocket, in axum's syntax with its first slash; default `/ws`.
    pub path: String,
    /// Which web pages may connect; default: what the service says, or those of the same host. Others get 403.
    pub origins: Option<Origins>,
    /// How many connections are taken; default 100,000 in all and 10 of one user. An idle connection costs about 3 KiB.
    ///
    /// At its user's limit a handshake is answered with 429 and `Retry-After`, and the connections that the user has are
    /// pinged: one that says nothing for 2 s, and takes nothing of what waits for it, makes room. A client that was sent much
    /// has a second more for each 4 KiB, as for the answer to a heartbeat.
    pub limits: Limits,
    /// How much may wait for one connection before it reads the window instead; default 256 KiB or 256 frames.
    ///
    /// Replies and answers have a lane of the same size of their own; while a client leaves it full, its messages wait.
    pub outbox: OutboxConfig,
    /// How much of the log stays in memory for those who come back or are slow; default 10,000 records, 64 MiB, 5 minutes.
    pub window: WindowConfig,
    /// How often a ping is sent, so that proxies keep the connection open and a client that is gone is noticed; default
    /// 30 s, `None` for never, zero is refused.
    ///
    /// While a connection's handlers have enough to do nothing is read from it. Where the listener is `realtime-http`'s (`serve()`,
    /// `GuardedListener` with `WireInfo`) a reset is noticed then too, at the cost of a second file descriptor for as long; under
    /// another server, and where the client only shut its side, a client that is gone is noticed by the next thing that is written
    /// to it: an event, or this ping.
    ///
    /// Costs one timer for each connection, two bytes for each ping and six for its answer.
    pub heartbeat: Option<Duration>,
    /// How long after a ping anything at all must have come from the client; default 20 s, then it is closed (4002).
    ///
    /// A ping is read after all that was sent before it, so a client has one second more for each 4 KiB that it may not have
    /// read yet. While reading is paused, because handlers have enough to do, nobody is closed.
    pub pong_timeout: Duration,
    /// The largest message from a client in bytes, whole or in fragments; default 1 MiB. A larger one ends the connection
    /// (1009).
    ///
    /// One connection holds that much while it sends such a message. The headers of its fragments may take as much again
    /// and 64 KiB.
    pub max_message_bytes: usize,
    /// How deep arrays and objects in an envelope may be nested, itself included; default 64. Deeper ones are an error.
    pub max_depth: usize,
    /// How many bytes one read asks for; default 4 KiB, from 256 bytes to 16 KiB.
    ///
    /// A connection holds them only while a part of a message has come: an idle one has no read buffer.
    pub read_buffer_bytes: usize,
    /// The largest payload of an event, in bytes of JSON; default 16 MiB. Larger ones are refused when sent, and so
    /// are those that are larger than the service's limit (1 MiB by default).
    ///
    /// One such event stays in memory once, however many clients get it, for as long as it is in the window.
    pub max_event_bytes: usize,
    /// Reverse proxies: the addresses of clients that they tell are believed, in the log and by the authenticator; default none.
    pub trusted_proxies: TrustedProxies,
    /// The subprotocols that are spoken (RFC 6455 §1.9); default none. The first that the client offers is answered.
    pub subprotocols: Vec<String>,
    /// How long a client may take nothing while something waits for it before the connection is given up; default 30 s.
    pub write_stall: Duration,
    /// How long the goodbye may take, from our close frame to the client's end of the stream; default 5 s.
    pub close_timeout: Duration,
}

impl Default for WsConfig {
    fn default() -> Self {
        Self {
            name: NAME,
            path: "/ws".to_owned(),
            origins: None,
            limits: Limits::default(),
            outbox: OutboxConfig::default(),
            window: WindowConfig::default(),
            heartbeat: Some(Duration::from_secs(30)),
            pong_timeout: Duration::from_secs(20),
            max_message_bytes: 1024 * 1024,
            max_depth: DEFAULT_MAX_DEPTH,
            read_buffer_bytes: 4 * 1024,
            max_event_bytes: 16 * 1024 * 1024,
            trusted_proxies: TrustedProxies::none(),
            subprotocols: Vec::new(),
            write_stall: Duration::from_secs(30),
            close_timeout: Duration::from_secs(5),
        }
    }
}

impl WsConfig {
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

    /// Sets [`pong_timeout`](Self::pong_timeout).
    #[must_use]
    pub fn with_pong_timeout(mut self, limit: Duration) -> Self {
        self.pong_timeout = limit;
        self
    }

    /// Sets [`max_message_bytes`](Self::max_message_bytes).
    #[must_use]
    pub fn with_max_message_bytes(mut self, bytes: usize) -> Self {
        self.max_message_bytes = bytes;
        self
    }

    /// Sets [`max_depth`](Self::max_depth).
    #[must_use]
    pub fn with_max_depth(mut self, levels: usize) -> Self {
        self.max_depth = levels;
        self
    }

    /// Sets [`read_buffer_bytes`](Self::read_buffer_bytes).
    #[must_use]
    pub fn with_read_buffer_bytes(mut self, bytes: usize) -> Self {
        self.read_buffer_bytes = bytes;
        self
    }

    /// Sets [`max_event_bytes`](Self::max_event_bytes).
    #[must_use]
    pub fn with_max_event_bytes(mut self, bytes: usize) -> Self {
        self.max_event_bytes = bytes;
        self
    }

    /// Sets [`trusted_proxies`](Self::trusted_proxies).
    #[must_use]
    pub fn with_trusted_proxies(mut self, proxies: TrustedProxies) -> Self {
        self.trusted_proxies = proxies;
        self
    }

    /// Sets [`subprotocols`](Self::subprotocols).
    #[must_use]
    pub fn with_subprotocols<I: IntoIterator<Item = N>, N: Into<String>>(mut self, names: I) -> Self {
        self.subprotocols = names.into_iter().map(Into::into).collect();
        self
    }

    /// Sets [`write_stall`](Self::write_stall).
    #[must_use]
    pub fn with_write_stall(mut self, limit: Duration) -> Self {
        self.write_stall = limit;
        self
    }

    /// Sets [`close_timeout`](Self::close_timeout).
    #[must_use]
    pub fn with_close_timeout(mut self, limit: Duration) -> Self {
        self.close_timeout = limit;
        self
    }

    pub(crate) fn capabilities() -> Capabilities {
        Capabilities::none().with_acks(true).with_bidirectional(true).with_resume(true).with_rooms(true)
    }

    /// Refuses what cannot work.
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
        dispatcher.check_field("max_depth", self.max_depth > 0)
    }

    pub(crate) fn dispatcher(&self) -> DispatcherConfig {
        DispatcherConfig {
            limits: self.limits,
            max_event_bytes: self.max_event_bytes,
            outbox: self.outbox,
            window: self.window,
            write_stall: self.write_stall,
            ..DispatcherConfig::new(self.name, Self::capabilities())
        }
    }
}
