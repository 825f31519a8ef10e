use std::time::Duration;

use realtime_core::spi::{DEFAULT_MAX_DEPTH, DispatcherConfig};
use realtime_core::{Capabilities, DeliveryConfig, Result, delivery_setters, setters};
use realtime_http::spi::check_paths;
use realtime_http::{Origins, TrustedProxies};

use crate::engine::settings::Window;
use crate::engine::settings::{Allowance, Bounds, EngineConfig, Heartbeat};

/// The provider's name, unless it is [`named`](crate::SocketIoProvider::named) otherwise.
pub(crate) const NAME: &str = "socket";

/// The time for which a client's answer to an ask is remembered.
const MAX_ASK: Duration = Duration::from_secs(300);

/// The path, limits and times of a [`SocketIoProvider`](crate::SocketIoProvider). What cannot work,
/// as a zero without a meaning of its own, is rejected when the provider is attached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SocketIoConfig {
    pub(crate) name: &'static str,
    pub(crate) path: String,
    pub(crate) origins: Option<Origins>,
    pub(crate) delivery: DeliveryConfig,
    pub(crate) cursor_argument: bool,
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
    pub(crate) busy_timeout: Duration,
    pub(crate) connect_timeout: Duration,
    pub(crate) unconnected_sessions: usize,
    pub(crate) unconnected_sessions_per_address: usize,
    pub(crate) unconnected_packets: usize,
    pub(crate) unconnected_bytes: usize,
    pub(crate) trusted_proxies: TrustedProxies,
    pub(crate) max_message_bytes: usize,
    pub(crate) max_attachments: usize,
    pub(crate) max_depth: usize,
}

impl Default for SocketIoConfig {
    fn default() -> Self {
        Self {
            name: NAME,
            path: "/socket.io".to_owned(),
            origins: None,
            // The client's own timer closes a connection on which a larger event keeps pings
            // waiting.
            delivery: DeliveryConfig::default().with_max_event_bytes(1024 * 1024),
            cursor_argument: true,
            ping_interval: Duration::from_secs(25),
            ping_timeout: Duration::from_secs(60),
            busy_timeout: Duration::from_secs(300),
            connect_timeout: Duration::from_secs(30),
            unconnected_sessions: 1000,
            unconnected_sessions_per_address: 100,
            unconnected_packets: Allowance::default().packets,
            unconnected_bytes: Allowance::default().bytes,
            trusted_proxies: TrustedProxies::none(),
            max_message_bytes: 1024 * 1024,
            max_attachments: 64,
            max_depth: DEFAULT_MAX_DEPTH,
        }
    }
}

/// The number of sessions that are connected only to other namespaces than the main one.
const SPARE_SESSIONS: usize = 1000;

delivery_setters! {
    impl SocketIoConfig {
        /// Sets the capacity; default 100,000 connections in all and 10 of one user. One more in
        /// all gets a `connect_error`.
        ///
        /// One more of a user waits for [`connect_timeout`](Self::with_connect_timeout) at most, as
        /// many as have slots at a time, and gets the next slot that is free; connections of this
        /// user that do not respond within 2 s are closed. A client that waits in vain gets an
        /// event `error` with the code `user_limit`, and its transport is closed, so that it
        /// reconnects by itself. Still more get a `connect_error`.
        ///
        /// Sessions that are connected only to namespaces of the application's own may be 1,000
        /// more; beyond, new sessions get 503.
        with_limits;
        /// Sets the largest payload of an event, in bytes; default 1 MiB. Larger ones are rejected
        /// when sent.
        ///
        /// While an event is being sent nothing else is, pings included, and the client's own timer
        /// closes a connection without one. So an event is too large for a line on which its size ÷
        /// the line's rate comes near [`ping_interval`](Self::with_ping_interval) +
        /// [`ping_timeout`](Self::with_ping_timeout): with the defaults 1 MiB needs 13 kB/s. Its
        /// client reconnects and gets it again; the third time that it is disconnected in an event
        /// of more than 64 KiB, that event is skipped with a `lost`. Over long polling a whole
        /// answer counts.
        with_max_event_bytes;
    }
}

setters! {
    impl SocketIoConfig {
        /// Sets where [`router`](realtime_http::HttpProvider::router) puts Socket.IO, with and
        /// without the last slash; begins with one; default `/socket.io`.
        with_path(path: impl Into<String>);
        /// Sets which web pages may connect; default: what the service says, or those of the same
        /// host. Others get 403.
        with_origins(origins: Origins);
        /// Sets whether events carry their cursor as the last argument; default `true`. Without it
        /// clients cannot resume.
        with_cursor_argument(cursor_argument: bool);
        /// Sets the time between Engine.IO's pings; default 25 s. The first one is sent
        /// immediately.
        with_ping_interval(ping_interval: Duration);
        /// Sets the time for a sign of life after a ping; default 60 s. Bytes that arrive from the
        /// client are one, also those of a message that is not complete yet.
        ///
        /// A ping stands behind what the network already holds for a client, so a slow reader
        /// answers late: with less time it is disconnected although it reads. Hosts that are gone
        /// are noticed sooner by the listener.
        with_ping_timeout(ping_timeout: Duration);
        /// Sets how long a client counts as alive while nothing is read from it, because its events
        /// wait for their handlers (64 of them, or 256 KiB); default 5 min. Its answers to pings
        /// stand behind events that are not read yet. After that
        /// [`ping_timeout`](Self::with_ping_timeout) counts again, so that a handler that hangs
        /// does not keep a slot for ever.
        with_busy_timeout(busy_timeout: Duration);
        /// Sets how long a session may be connected to no namespace, from its start or the end of
        /// its last connection on; default 30 s.
        ///
        /// A client's `auth` function, which may ask a token service first, has this time, and the
        /// authenticator what is left of it. A client that is late is rejected with
        /// `connect_timeout`: by `connect_error` if its CONNECT has arrived. As long, but 10 s at
        /// most, may a session on long polling take to upgrade to a WebSocket; if it does not, it
        /// stays on polling. And so long does a connection wait for a slot of its user.
        with_connect_timeout(connect_timeout: Duration);
        /// Sets how many sessions may be connected to no namespace; default 1,000, 0 for any
        /// number.
        ///
        /// They take no slot of a connection. At the bound the oldest of them is closed for a new
        /// one, so that a client that connects immediately gets through while another opens
        /// sessions as fast as it can. Each costs about 10 KiB.
        with_unconnected_sessions(unconnected_sessions: usize);
        /// Sets how many such sessions may come from one address (of IPv6, from one /64); default
        /// 100, 0 for any number. At the bound the oldest of that address is closed for a new one.
        ///
        /// It does not hold for clients on the same host, and for those of a proxy in
        /// [`trusted_proxies`](Self::with_trusted_proxies) that names nobody.
        with_unconnected_sessions_per_address(unconnected_sessions_per_address: usize);
        /// Sets how many packets a session may send while it is connected to no namespace; default
        /// 16. With more it is closed (`flood`), since Socket.IO reads them before the client is
        /// authenticated.
        with_unconnected_packets(unconnected_packets: usize);
        /// Sets how many bytes such a session may send; default 16 KiB. Raise it for clients with a
        /// larger `auth`.
        with_unconnected_bytes(unconnected_bytes: usize);
        /// Sets the reverse proxies that are trusted to report a client's address; default none.
        /// Without it all clients of a proxy on another host count as one address.
        with_trusted_proxies(trusted_proxies: TrustedProxies);
        /// Sets the largest message from a client, in bytes, on both transports, attachments
        /// included; default 1 MiB.
        with_max_message_bytes(max_message_bytes: usize);
        /// Sets the number of attachments of one event from a client; default 64, zero for none.
        with_max_attachments(max_attachments: usize);
        /// Sets how deep JSON from clients may be nested; default 64.
        with_max_depth(max_depth: usize);
    }
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
        DispatcherConfig::new(self.name, self.capabilities(), self.delivery)
            .with_max_message_bytes(self.max_message_bytes)
            .with_session_meters()
    }

    /// Rejects what cannot work.
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
        dispatcher.check_field("unconnected_packets", self.unconnected_packets > 0)?;
        dispatcher.check_field("unconnected_bytes", self.unconnected_bytes > 0)?;
        dispatcher.check_field("max_message_bytes", self.max_message_bytes > 0)?;
        dispatcher.check_field("max_depth", self.max_depth > 0)
    }

    /// Returns the paths as the router has them: with and without the last slash.
    pub(crate) fn paths(&self) -> Vec<String> {
        let path = self.mount();
        let with_slash = format!("{path}/");
        if path.is_empty() { vec![with_slash] } else { vec![with_slash, path] }
    }

    /// Returns the path without the last slash; empty for the root.
    pub(crate) fn mount(&self) -> String {
        self.path.trim_end_matches('/').to_owned()
    }

    /// Returns how many sessions are connected at most, some only to namespaces of the
    /// application's own.
    pub(crate) fn max_connected_sessions(&self) -> usize {
        self.delivery.limits().connections().saturating_add(SPARE_SESSIONS)
    }

    pub(crate) fn engine(&self) -> EngineConfig {
        EngineConfig {
            path: self.mount(),
            heartbeat: Heartbeat { interval: self.ping_interval, timeout: self.ping_timeout, busy: self.busy_timeout },
            bounds: Bounds {
                sessions: self.unconnected_sessions,
                sessions_per_address: self.unconnected_sessions_per_address,
                connect_timeout: self.connect_timeout,
                allowance: Allowance { packets: self.unconnected_packets, bytes: self.unconnected_bytes },
            },
            proxies: self.trusted_proxies.clone(),
            max_message: self.max_message_bytes,
            max_attachments: self.max_attachments,
            max_ask: MAX_ASK,
            write_stall: self.delivery.write_stall(),
            window: Window::default(),
        }
    }
}
