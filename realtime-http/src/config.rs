//! Limits of accepted connections.

use std::io;
use std::time::Duration;

use realtime_core::setters;

use crate::pending::PerAddress;

/// The smallest buffer that hyper takes for HTTP/1.
const MIN_HTTP1_BUFFER: usize = 8 * 1024;
/// The default of the pending connections of one address.
const PENDING_PER_ADDRESS: usize = 1024;
/// The default of the idle HTTP/2 connections of one address.
const IDLE_PER_ADDRESS: usize = 2048;

/// The limits and socket options of the connections that a
/// [`GuardedListener`](crate::GuardedListener) or [`serve`](crate::serve()) accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WireConfig {
    pub(crate) accepts_per_second: Option<u32>,
    pub(crate) backlog: u32,
    pub(crate) connections: usize,
    pub(crate) pending: usize,
    pub(crate) pending_per_address: Option<usize>,
    pub(crate) write_stall: Duration,
    pub(crate) unsent_low_water: Option<u32>,
    pub(crate) ack_timeout: Option<Duration>,
    pub(crate) nodelay: bool,
    pub(crate) header_read_timeout: Duration,
    pub(crate) body_read_timeout: Option<Duration>,
    pub(crate) body_min_rate: Option<u32>,
    pub(crate) http1_buffer: usize,
    pub(crate) http2_max_streams: u32,
    pub(crate) http2_idle: usize,
    pub(crate) http2_idle_per_address: Option<usize>,
    pub(crate) http2_idle_timeout: Option<Duration>,
    pub(crate) http2_ping_interval: Duration,
    pub(crate) http2_ping_timeout: Duration,
}

impl Default for WireConfig {
    fn default() -> Self {
        Self {
            accepts_per_second: Some(default_accepts()),
            backlog: 4096,
            connections: 320_000,
            pending: 4096,
            pending_per_address: None,
            write_stall: Duration::from_secs(30),
            unsent_low_water: Some(128 * 1024),
            ack_timeout: Some(Duration::from_secs(60)),
            nodelay: true,
            header_read_timeout: Duration::from_secs(10),
            body_read_timeout: Some(Duration::from_secs(30)),
            body_min_rate: Some(500),
            http1_buffer: 64 * 1024,
            http2_max_streams: 100,
            http2_idle: 16_384,
            http2_idle_per_address: None,
            http2_idle_timeout: Some(Duration::from_secs(60)),
            http2_ping_interval: Duration::from_secs(20),
            http2_ping_timeout: Duration::from_secs(20),
        }
    }
}

setters! {
    impl WireConfig {
        /// Sets how many connections may wait to be accepted (Linux and Android only); default
        /// 4096, and never more than the kernel's `net.core.somaxconn`.
        ///
        /// tokio sets 128: when thousands of clients reconnect together, after a deploy or a
        /// network failure, the kernel drops the others' first packets, and they try again after
        /// one second, three, seven.
        with_backlog(backlog: u32);
        /// Sets how many connections are accepted in a second; default 2,500 for each processor
        /// that the process may use, `None` for as many as come.
        ///
        /// Further ones wait in the backlog, evenly: a flood of connections, or of clients that
        /// reconnect together, does not delay what is sent to connected ones.
        with_accepts_per_second(accepts_per_second: impl Into<Option<u32>>);
        /// Sets how many connections may be open at a time, upgraded ones included; default
        /// 320,000. One more is reset, counted and logged (at most each 10 s).
        ///
        /// It is more than three providers accept together by default, so that a client at their
        /// limits ([`Limits`](realtime_core::Limits)) gets an answer; this one only bounds what
        /// connects and never becomes a connection of a provider. Each takes a file descriptor:
        /// raise that limit of the process too (`ulimit -n`).
        with_connections(connections: usize);
        /// Sets how many connections may be pending: open, and without a whole request so far, the
        /// TLS handshake included; default 4,096. For a further one the oldest is reset, so that
        /// clients that send nothing, or their headers slowly, do not keep others away. Used by
        /// [`serve`](crate::serve()) only.
        ///
        /// A client has as long for its first request as it takes others to open that many: 0.8 s
        /// when 5,000 connect per second. [`header_read_timeout`](Self::with_header_read_timeout)
        /// bounds it too.
        with_pending(pending: usize);
        /// Sets how many pending connections may be of one address, of IPv6 of one /64; default
        /// 1,024, which does not hold for addresses of this host. For a further one the oldest of
        /// that address is reset. Used by [`serve`](crate::serve()) only.
        ///
        /// The address is the socket's: behind a proxy it is the proxy's.
        with_pending_per_address(pending_per_address: usize);
        /// Sets how long a write may wait without one byte being accepted before the connection is
        /// reset; default 30 s.
        ///
        /// [`serve`](crate::serve()) resets an HTTP/2 connection too, when for as long one of its
        /// responses has waited and no piece (16 KiB at most) of any was taken: a client may shut
        /// the windows of its streams and read from the socket all the same.
        with_write_stall(write_stall: Duration);
        /// Sets how many unsent bytes the kernel keeps for one connection (`TCP_NOTSENT_LOWAT`,
        /// Linux and Android only); default 128 KiB.
        ///
        /// It bounds the kernel's memory for a slow client. It also makes `write_stall` fair: with
        /// the kernel's own bound of several MiB a client that reads slowly but steadily would not
        /// make a waiting write go on for minutes. Bytes that the kernel keeps have not arrived,
        /// see [`Wire::acknowledged`](crate::Wire::acknowledged). `None` leaves the kernel's bound.
        with_unsent_low_water(unsent_low_water: impl Into<Option<u32>>);
        /// Sets how long sent bytes may stay unacknowledged before the kernel closes the connection
        /// (`TCP_USER_TIMEOUT`, Linux and Android only); default 60 s.
        ///
        /// It ends connections to vanished peers, which the kernel would otherwise keep for about
        /// 15 minutes. A peer that answers but keeps its receive window shut counts as silent too,
        /// so keep it above `write_stall`. `None` leaves the kernel's time.
        with_ack_timeout(ack_timeout: impl Into<Option<Duration>>);
        /// Sets whether small writes are sent immediately (`TCP_NODELAY`); default `true`.
        with_nodelay(nodelay: bool);
        /// Sets how long a client may take for the headers of a request; default 10 s. Used by
        /// [`serve`](crate::serve()) only.
        ///
        /// The time to tell HTTP/1 from HTTP/2 and an idle HTTP/1 connection between two requests
        /// are bounded by it too.
        with_header_read_timeout(header_read_timeout: Duration);
        /// Sets how long a handler that reads a request's body waits without one byte of it;
        /// default 30 s, `None` for ever. Used by [`serve`](crate::serve()) only.
        ///
        /// Reading fails then, and an error that the handler answers with for that becomes 408,
        /// after which an HTTP/1 connection is closed. It bounds the time between two bytes;
        /// [`body_min_rate`](Self::with_body_min_rate) bounds the time for all.
        with_body_read_timeout(body_read_timeout: impl Into<Option<Duration>>);
        /// Sets how many bytes per second of a request's body have to come, on average over the
        /// time that its handler waits for them, apart from one `body_read_timeout`; default 500,
        /// `None` for any. Used by [`serve`](crate::serve()) only, and only with a
        /// `body_read_timeout`.
        ///
        /// So a body of 16 KiB takes a minute at most (30 s + 16,384 ÷ 500 s), and one of 1 MiB 36
        /// minutes. What comes more slowly is answered as after `body_read_timeout`.
        with_body_min_rate(body_min_rate: impl Into<Option<u32>>);
        /// Sets how many bytes of headers, or of an unread body, HTTP/1 buffers in each direction;
        /// default 64 KiB, at least 8 KiB (less counts as 8 KiB). Used by [`serve`](crate::serve())
        /// only.
        ///
        /// Allocated as needed: an idle connection holds about 8 KiB each way.
        with_http1_buffer(http1_buffer: usize);
        /// Sets how many requests one HTTP/2 connection may have open at a time; default 100. Used
        /// by [`serve`](crate::serve()) only.
        with_http2_max_streams(http2_max_streams: u32);
        /// Sets how many HTTP/2 connections may be idle: without an open request, after the first
        /// one; default 16,384. For a further one that which has been idle for longest is reset,
        /// with what its client has not taken of its last response. Used by
        /// [`serve`](crate::serve()) only.
        ///
        /// HTTP/1 connections are bounded by
        /// [`header_read_timeout`](Self::with_header_read_timeout) and by how many are
        /// [accepted](Self::with_accepts_per_second) in that time.
        with_http2_idle(http2_idle: usize);
        /// Sets how many idle HTTP/2 connections may be of one address, of IPv6 of one /64; default
        /// 2,048, which does not hold for addresses of this host. Used by
        /// [`serve`](crate::serve()) only.
        ///
        /// The address is the socket's: behind a proxy it is the proxy's.
        with_http2_idle_per_address(http2_idle_per_address: usize);
        /// Sets how long an HTTP/2 connection may be without an open request before it is closed;
        /// default 60 s, `None` for ever. Used by [`serve`](crate::serve()) only.
        ///
        /// A handler that is at work, an event stream or a long poll is an open request. The client
        /// is notified first (GOAWAY), and its connection is reset when it is still open after as
        /// long again. HTTP/1 has `header_read_timeout` for it.
        with_http2_idle_timeout(http2_idle_timeout: impl Into<Option<Duration>>);
        /// Sets how often a quiet HTTP/2 connection is pinged; default 20 s. Used by
        /// [`serve`](crate::serve()) only.
        with_http2_ping_interval(http2_ping_interval: Duration);
        /// Sets how long the answer to an HTTP/2 ping may take before the connection is closed;
        /// default 20 s. Used by [`serve`](crate::serve()) only.
        with_http2_ping_timeout(http2_ping_timeout: Duration);
    }
}

/// The connections accepted in a second, for each processor: their handshakes take about a third of
/// its time.
const ACCEPTS_PER_PROCESSOR: u32 = 2_500;

fn default_accepts() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |processors| processors.get() as u32);
    processors.saturating_mul(ACCEPTS_PER_PROCESSOR)
}

impl WireConfig {
    /// Returns how many unsent bytes the kernel keeps for one connection, if that is bounded.
    #[must_use]
    pub fn unsent_low_water(&self) -> Option<u32> {
        self.unsent_low_water
    }

    /// Rejects what cannot work: a time or a number that is zero.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] that names the field.
    pub fn check(&self) -> io::Result<()> {
        let fields = [
            ("accepts_per_second", self.accepts_per_second == Some(0)),
            ("connections", self.connections == 0),
            ("pending", self.pending == 0),
            ("pending_per_address", self.pending_per_address == Some(0)),
            ("http2_idle", self.http2_idle == 0),
            ("http2_idle_per_address", self.http2_idle_per_address == Some(0)),
            ("write_stall", self.write_stall.is_zero()),
            ("unsent_low_water", self.unsent_low_water == Some(0)),
            ("ack_timeout", self.ack_timeout == Some(Duration::ZERO)),
            ("header_read_timeout", self.header_read_timeout.is_zero()),
            ("body_read_timeout", self.body_read_timeout == Some(Duration::ZERO)),
            ("body_min_rate", self.body_min_rate == Some(0)),
            ("http2_idle_timeout", self.http2_idle_timeout == Some(Duration::ZERO)),
            ("http2_max_streams", self.http2_max_streams == 0),
            ("http2_ping_interval", self.http2_ping_interval.is_zero()),
            ("http2_ping_timeout", self.http2_ping_timeout.is_zero()),
        ];
        match fields.into_iter().find(|(_, is_zero)| *is_zero) {
            Some((field, _)) => Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{field} is zero"))),
            None => Ok(()),
        }
    }

    /// Returns the bound of the pending connections of one address.
    pub(crate) fn pending_of_address(&self) -> PerAddress {
        let most = self.pending_per_address.unwrap_or(PENDING_PER_ADDRESS);
        PerAddress { most, is_default: self.pending_per_address.is_none() }
    }

    /// Returns the bound of the idle HTTP/2 connections of one address.
    pub(crate) fn idle_of_address(&self) -> PerAddress {
        let most = self.http2_idle_per_address.unwrap_or(IDLE_PER_ADDRESS);
        PerAddress { most, is_default: self.http2_idle_per_address.is_none() }
    }

    /// Returns the HTTP/1 buffer as hyper accepts it, which panics below its minimum.
    pub(crate) fn checked_http1_buffer(&self) -> usize {
        self.http1_buffer.max(MIN_HTTP1_BUFFER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::serve;

    #[tokio::test]
    async fn a_server_with_a_limit_of_zero_does_not_begin() {
        let config = WireConfig::default;
        let cases = [
            ("accepts_per_second", config().with_accepts_per_second(0)),
            ("connections", config().with_connections(0)),
            ("pending", config().with_pending(0)),
            ("pending_per_address", config().with_pending_per_address(0)),
            ("http2_idle", config().with_http2_idle(0)),
            ("http2_idle_per_address", config().with_http2_idle_per_address(0)),
            ("write_stall", config().with_write_stall(Duration::ZERO)),
            ("unsent_low_water", config().with_unsent_low_water(0)),
            ("ack_timeout", config().with_ack_timeout(Duration::ZERO)),
            ("header_read_timeout", config().with_header_read_timeout(Duration::ZERO)),
            ("body_read_timeout", config().with_body_read_timeout(Duration::ZERO)),
            ("body_min_rate", config().with_body_min_rate(0)),
            ("http2_idle_timeout", config().with_http2_idle_timeout(Duration::ZERO)),
            ("http2_max_streams", config().with_http2_max_streams(0)),
            ("http2_ping_interval", config().with_http2_ping_interval(Duration::ZERO)),
            ("http2_ping_timeout", config().with_http2_ping_timeout(Duration::ZERO)),
        ];
        for (field, config) in cases {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let error = serve(listener, axum::Router::new()).with_config(config).await.unwrap_err();
            assert_eq!((error.kind(), error.to_string()), (io::ErrorKind::InvalidInput, format!("{field} is zero")));
        }
        config().check().unwrap();
    }
}
