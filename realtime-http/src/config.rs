//! Limits of accepted connections.

use std::io;
use std::time::Duration;

/// The smallest buffer that hyper takes for HTTP/1.
const MIN_HTTP1_BUFFER: usize = 8 * 1024;

/// Limits and socket options of the connections that a [`GuardedListener`](crate::GuardedListener) or [`serve`](crate::serve()) accepts.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WireConfig {
    /// How many connections may wait to be accepted (Linux and Android only); default 4096, and never more than the kernel's
    /// `net.core.somaxconn`.
    ///
    /// The listener is set to it. What tokio sets is 128: when thousands of clients come back at once, after a deploy or a
    /// cut, the kernel drops the others' first packets, and they try again after one second, three, seven.
    pub backlog: u32,
    /// How long a write may wait without one byte being accepted before the connection is cut; default 30 s.
    ///
    /// [`serve`](crate::serve()) cuts an HTTP/2 connection too, when for as long one of its responses has waited and no piece
    /// (16 KiB at most) of any was taken: a client may shut the windows of its streams and read from the socket all the same.
    pub write_stall: Duration,
    /// How many unsent bytes the kernel keeps for one connection (`TCP_NOTSENT_LOWAT`, Linux and Android only); default 128 KiB.
    ///
    /// It bounds the kernel's memory for a slow client. It also makes `write_stall` fair: with the kernel's own bound of
    /// several MiB a client that reads slowly but steadily would not make a waiting write go on for minutes.
    /// What it keeps has not arrived, see [`Wire::acknowledged`](crate::Wire::acknowledged). `None` leaves the kernel's bound.
    pub unsent_low_water: Option<u32>,
    /// How long sent bytes may stay unacknowledged before the kernel gives the peer up (`TCP_USER_TIMEOUT`, Linux and Android only); default 60 s.
    ///
    /// It ends connections to vanished peers, which the kernel would otherwise keep for about 15 minutes. A peer that
    /// answers but keeps its receive window shut counts as silent too, so keep it above `write_stall`.
    /// `None` leaves the kernel's time.
    pub ack_timeout: Option<Duration>,
    /// Whether small writes go out at once (`TCP_NODELAY`); default true.
    pub nodelay: bool,
    /// How long a client may take for the headers of a request; default 10 s. Used by [`serve`](crate::serve()) only.
    ///
    /// The time to tell HTTP/1 from HTTP/2 and an idle HTTP/1 connection between two requests are bounded by it too.
    pub header_read_timeout: Duration,
    /// How long a handler that reads a request's body waits without one byte of it; default 30 s, `None` for ever.
    /// Used by [`serve`](crate::serve()) only.
    ///
    /// Reading fails then, and an error that the handler answers with for that becomes 408, after which an HTTP/1 connection
    /// is closed. It bounds the time between two bytes, not the time for all.
    pub body_read_timeout: Option<Duration>,
    /// How many bytes of headers, or of an unread body, HTTP/1 buffers in each direction; default 64 KiB, at least 8 KiB. Used by [`serve`](crate::serve()) only.
    ///
    /// Allocated as needed: an idle connection holds about 8 KiB each way.
    pub http1_buffer: usize,
    /// How many requests one HTTP/2 connection may have open at a time; default 100. Used by [`serve`](crate::serve()) only.
    pub http2_max_streams: u32,
    /// How long an HTTP/2 connection may be without a request under way before it is closed; default 60 s, `None` for ever.
    /// Used by [`serve`](crate::serve()) only.
    ///
    /// A handler that is at work, an event stream or a long poll is a request under way. The client is told first (GOAWAY),
    /// and cut when it is still there after as long again. HTTP/1 has `header_read_timeout` for it.
    pub http2_idle_timeout: Option<Duration>,
    /// How often a quiet HTTP/2 connection is pinged; default 20 s. Used by [`serve`](crate::serve()) only.
    pub http2_ping_interval: Duration,
    /// How long the answer to an HTTP/2 ping may take before the connection is closed; default 20 s. Used by [`serve`](crate::serve()) only.
    pub http2_ping_timeout: Duration,
}

impl Default for WireConfig {
    fn default() -> Self {
        Self {
            backlog: 4096,
            write_stall: Duration::from_secs(30),
            unsent_low_water: Some(128 * 1024),
            ack_timeout: Some(Duration::from_secs(60)),
            nodelay: true,
            header_read_timeout: Duration::from_secs(10),
            body_read_timeout: Some(Duration::from_secs(30)),
            http1_buffer: 64 * 1024,
            http2_max_streams: 100,
            http2_idle_timeout: Some(Duration::from_secs(60)),
            http2_ping_interval: Duration::from_secs(20),
            http2_ping_timeout: Duration::from_secs(20),
        }
    }
}

impl WireConfig {
    /// Sets [`backlog`](Self::backlog).
    #[must_use]
    pub fn with_backlog(mut self, connections: u32) -> Self {
        self.backlog = connections;
        self
    }

    /// Sets [`write_stall`](Self::write_stall).
    #[must_use]
    pub fn with_write_stall(mut self, limit: Duration) -> Self {
        self.write_stall = limit;
        self
    }

    /// Sets [`unsent_low_water`](Self::unsent_low_water), in bytes.
    #[must_use]
    pub fn with_unsent_low_water(mut self, bytes: impl Into<Option<u32>>) -> Self {
        self.unsent_low_water = bytes.into();
        self
    }

    /// Sets [`ack_timeout`](Self::ack_timeout).
    #[must_use]
    pub fn with_ack_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.ack_timeout = limit.into();
        self
    }

    /// Sets [`nodelay`](Self::nodelay).
    #[must_use]
    pub fn with_nodelay(mut self, nodelay: bool) -> Self {
        self.nodelay = nodelay;
        self
    }

    /// Sets [`header_read_timeout`](Self::header_read_timeout).
    #[must_use]
    pub fn with_header_read_timeout(mut self, limit: Duration) -> Self {
        self.header_read_timeout = limit;
        self
    }

    /// Sets [`body_read_timeout`](Self::body_read_timeout).
    #[must_use]
    pub fn with_body_read_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.body_read_timeout = limit.into();
        self
    }

    /// Sets [`http1_buffer`](Self::http1_buffer), in bytes; less than 8 KiB counts as 8 KiB.
    #[must_use]
    pub fn with_http1_buffer(mut self, bytes: usize) -> Self {
        self.http1_buffer = bytes;
        self
    }

    /// Sets [`http2_max_streams`](Self::http2_max_streams).
    #[must_use]
    pub fn with_http2_max_streams(mut self, streams: u32) -> Self {
        self.http2_max_streams = streams;
        self
    }

    /// Sets [`http2_idle_timeout`](Self::http2_idle_timeout).
    #[must_use]
    pub fn with_http2_idle_timeout(mut self, limit: impl Into<Option<Duration>>) -> Self {
        self.http2_idle_timeout = limit.into();
        self
    }

    /// Sets [`http2_ping_interval`](Self::http2_ping_interval).
    #[must_use]
    pub fn with_http2_ping_interval(mut self, interval: Duration) -> Self {
        self.http2_ping_interval = interval;
        self
    }

    /// Sets [`http2_ping_timeout`](Self::http2_ping_timeout).
    #[must_use]
    pub fn with_http2_ping_timeout(mut self, limit: Duration) -> Self {
        self.http2_ping_timeout = limit;
        self
    }

    /// Refuses what cannot work: a time or a number that is zero.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidInput`] that names the field.
    pub fn check(&self) -> io::Result<()> {
        let fields = [
            ("write_stall", self.write_stall.is_zero()),
            ("unsent_low_water", self.unsent_low_water == Some(0)),
            ("ack_timeout", self.ack_timeout == Some(Duration::ZERO)),
            ("header_read_timeout", self.header_read_timeout.is_zero()),
            ("body_read_timeout", self.body_read_timeout == Some(Duration::ZERO)),
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

    /// The HTTP/1 buffer as hyper accepts it, which panics below its minimum.
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
            ("write_stall", config().with_write_stall(Duration::ZERO)),
            ("unsent_low_water", config().with_unsent_low_water(0)),
            ("ack_timeout", config().with_ack_timeout(Duration::ZERO)),
            ("header_read_timeout", config().with_header_read_timeout(Duration::ZERO)),
            ("body_read_timeout", config().with_body_read_timeout(Duration::ZERO)),
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
