use std::time::Duration;

use realtime_core::spi::{DEFAULT_MAX_DEPTH, DispatcherConfig};
use realtime_core::{Capabilities, Limits, OutboxConfig, Result, WindowConfig};
use realtime_http::{Origins, TrustedProxies, check_paths};

use crate::engine::settings::Window;
use crate::engine::settings::{Bounds, EngineConfig, Heartbeat};

/// The provider's name, unless it is given another.
pub(crate) const NAME: &str = "socket";

/// How long a client's answer to an ask is remembered.
const MAX_ASK: Duration = Duration::from_secs(300);

/// Path, limits and times of a [`SocketIoProvider`](crate::SocketIoProvider).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SocketIoConfig {
    /// The provider's name, set by `named`.
    pub(crate) name: &'static str,
    /// Where [`router`](realtime_http::HttpProvider::router) puts Socket.IO, with and without the last slash; begins with
    /// one; default `/socket.io`.
    pub path: String,
    /// Which web pages may connect; default: what the service says, or those of the same host. Others get 403.
    pub origins: Option<Origins>,
    /// How many connections are taken; default 100,000 in all and 10 of one user. One more in all gets a `connect_error`.
    ///
    /// One more of a user waits for [`connect_timeout`](Self::connect_timeout) at most, as many as have places at a time,
    /// and gets the next one that is free; connections of this user that give no sign of life within 2 s make room. Who
    /// waits in vain gets an event `error` with the code `user_limit`, and its transport is closed, so that it comes back
    /// by itself. Still more get a `connect_error`.
    ///
    /// Sessions that are connected only to namespaces of the application's own may be 1,000 more; beyond, new sessions
    /// get 503.
    pub limits: Limits,
    /// How much may wait for one connection before it reads the window instead; default 256 KiB or 256 frames.
    pub outbox: OutboxConfig,
    /// How much of the log stays in memory for those who come back or are slow; default 10,000 records, 64 MiB, 5 minutes.
    pub window: WindowConfig,
    /// Whether events carry their cursor as the last argument; default true. Without it clients cannot resume.
    pub cursor_argument: bool,
    /// Between Engine.IO's pings; default 25 s. The first one goes out at once.
    pub ping_interval: Duration,
    /// For a sign of life after a ping; default 60 s. Bytes that come from the client are one, also those of a message that is
    /// not whole yet.
    ///
    /// A ping stands behind what the network already holds for a client, so a slow reader answers late: with less time
    /// it is cut although it reads. Hosts that are gone are noticed sooner by the listener.
    pub ping_timeout: Duration,
    /// How long a client counts as there while nothing is read from it, because its events wait for their handlers (64 of them,
    /// or 256 KiB); default 5 min. Its answers to pings stand behind events that are not read yet. After that
    /// [`ping_timeout`](Self::ping_timeout) counts again, so that a handler that hangs keeps nobody's place for ever.
    pub busy_timeout: Duration,
    /// How long a session may be connected to no namespace, from its begin or its last connection's end on; default 30 s. A
    /// client's `auth` function, which may ask a token service first, has this time, and the authenticator what is left of it.
    /// Who is late is refused with `connect_timeout`: by `connect_error` if its CONNECT is there. As long, but 10 s at most, may a session on long polling take to change over to a websocket; if it does not, it stays
    /// where it was. And so long does a connection wait for a place of its user.
    pub connect_timeout: Duration,
    /// How many sessions may be connected to no namespace; default 1,000, 0 for any number.
    ///
    /// They take no place of a connection. At the bound the oldest of them is ended for a new one, so that a client that
    /// connects at once gets through while somebody opens sessions as fast as he can. Each costs about 10 KiB.
    pub unconnected_sessions: usize,
    /// How many of them may come from one address (of IPv6, from one /64); default 100, 0 for any number. At the bound
    /// the oldest of that address is ended for a new one.
    ///
    /// It does not hold for clients on the same host, and for those of a proxy in
    /// [`trusted_proxies`](Self::trusted_proxies) that names nobody.
    pub unconnected_sessions_per_address: usize,
    /// Which reverse proxies are believed when they name a client's address; default none. Without it all clients of a
    /// proxy on another host count as one address.
    pub trusted_proxies: TrustedProxies,
    /// The largest message from a client, in bytes, on both transports, attachments included; default 1 MiB.
    pub max_message_bytes: usize,
    /// Attachments of one event from a client; default 64, zero for none.
    pub max_attachments: usize,
    /// How deep JSON from clients may be nested; default 64.
    pub max_depth: usize,
    /// The largest payload of an event, in bytes; default 1 MiB. Larger ones are refused when sent.
    ///
    /// While an event is on its way nothing else is, pings included, and the client's own timer ends a connection without
    /// one. So an event is too large for a line on which its size ÷ the line's rate comes near
    /// [`ping_interval`](Self::ping_interval) + [`ping_timeout`](Self::ping_timeout): with the defaults 1 MiB needs 13 kB/s. Its
    /// client comes back and gets it again; the third time that it is cut in an event of more than 64 KiB, that event is passed
    /// over with a `lost`. Over long polling a whole answer counts.
    pub max_event_bytes: usize,
    /// How long a client may take nothing while something waits for it; default 30 s.
    pub write_stall: Duration,
}

impl Default for SocketIoConfig {
    fn default() -> Self {
        Self {
            name: NAME,
            path: "/socket.io".to_owned(),
            origins: None,
            limits: Limits::default(),
            outbox: OutboxConfig::default(),
            window: WindowConfig::default(),
            cursor_argument: true,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(60),
            busy_timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(30),
            unconnected_sessions: 1000,
            unconnected_sessions_per_address: 100,
            trusted_proxies: TrustedProxies::none(),
            max_message_bytes: 1024 * 1024,
            max_attachments: 64,
            max_depth: DEFAULT_MAX_DEPTH,
            max_event_bytes: 1024 * 1024,
            write_stall: Duration::from_secs(30),
        }
    }
}

/// Sessions that are connected to other namespaces than the main one only.
const SPARE_SESSIONS: usize = 1000;

macro_rules! setters {
    ($($setter:ident $field:ident: $kind:ty;)*) => {
        impl SocketIoConfig {
            /// Sets [`origins`](Self::origins).
            #[must_use]
            pub fn with_origins(mut self, origins: Origins) -> Self {
                self.origins = Some(origins);
                self
            }

            /// Sets [`path`](Self::path).
            #[must_use]
            pub fn with_path(mut self, path: impl Into<String>) -> Self {
                self.path = path.into();
                self
            }

            $(
                #[doc = concat!("Sets [`", stringify!($field), "`](Self::", stringify!($field), ").")]
                #[must_use]
                pub fn $setter(mut self, $field: $kind) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }
    };
}

setters! {
    with_limits limits: Limits;
    with_outbox outbox: OutboxConfig;
    with_window window: WindowConfig;
    with_cursor_argument cursor_argument: bool;
    with_ping_interval ping_interval: Duration;
    with_ping_timeout ping_timeout: Duration;
    with_busy_timeout busy_timeout: Duration;
    with_connect_timeout connect_timeout: Duration;
    with_unconnected_sessions unconnected_sessions: usize;
    with_unconnected_sessions_per_address unconnected_sessions_per_address: usize;
    with_trusted_proxies trusted_proxies: TrustedProxies;
    with_max_message_bytes max_message_bytes: usize;
    with_max_attachments max_attachments: usize;
    with_max_depth max_depth: usize;
    with_max_event_bytes max_event_bytes: usize;
    with_write_stall write_stall: Duration;
}

impl SocketIoConfig {
    pub(crate) fn capabilities(&self) -> Capabilities {
        Capabilities::none()
            .with_acks(true)
            .with_bidirectional(true)
            .with_binary(true)
            .with_resume(self.cursor_argument)
            .with_rooms(true)
    }

    pub(crate) fn dispatcher(&self) -> DispatcherConfig {
        DispatcherConfig {
            limits: self.limits,
            max_event_bytes: self.max_event_bytes,
            outbox: self.outbox,
            window: self.window,
            write_stall: self.write_stall,
            ..DispatcherConfig::new(self.name, self.capabilities())
        }
    }

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`Error::Config`](realtime_core::Error::Config) that names the field.
    pub fn check(&self) -> Result<()> {
        check_paths([(self.name, self.path.as_str())])?;
        check_paths(self.paths().into_iter().map(|path| (self.name, path)))?;
        self.origins.as_ref().map_or(Ok(()), Origins::verify)?;
        let dispatcher = self.dispatcher();
        dispatcher.check()?;
        dispatcher.check_field("ping_interval", !self.ping_interval.is_zero())?;
        dispatcher.check_field("ping_timeout", !self.ping_timeout.is_zero())?;
        dispatcher.check_field("connect_timeout", !self.connect_timeout.is_zero())?;
        dispatcher.check_field("max_message_bytes", self.max_message_bytes > 0)?;
        dispatcher.check_field("max_depth", self.max_depth > 0)
    }

    /// The paths as they stand in the router: with and without the last slash.
    pub(crate) fn paths(&self) -> Vec<String> {
        let path = self.mount();
        let with_slash = format!("{path}/");
        if path.is_empty() { vec![with_slash] } else { vec![with_slash, path] }
    }

    /// The path without the last slash; empty for the root.
    pub(crate) fn mount(&self) -> String {
        self.path.trim_end_matches('/').to_owned()
    }

    /// How many sessions are connected at most: some to namespaces of the application's own only.
    pub(crate) fn max_connected_sessions(&self) -> usize {
        self.limits.connections.saturating_add(SPARE_SESSIONS)
    }

    pub(crate) fn engine(&self) -> EngineConfig {
        EngineConfig {
            path: self.mount(),
            heartbeat: Heartbeat { interval: self.ping_interval, timeout: self.ping_timeout, busy: self.busy_timeout },
            bounds: Bounds {
                provider: self.name,
                sessions: self.unconnected_sessions,
                sessions_per_address: self.unconnected_sessions_per_address,
                connect_timeout: self.connect_timeout,
            },
            proxies: self.trusted_proxies.clone(),
            max_message: self.max_message_bytes,
            max_attachments: self.max_attachments,
            max_ask: MAX_ASK,
            write_stall: self.write_stall,
            window: Window::default(),
        }
    }
}
