//! The listener whose connections are guarded, and the connection info for handlers.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    net::SocketAddr,
    num::NonZeroU32,
    sync::Arc,
    time::Duration,
};

use axum::{
    extract::connect_info::Connected,
    serve::{IncomingStream, Listener},
};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::Instant;

use crate::config::WireConfig;
use crate::guard::{Guard, GuardedStream};
use crate::throttle::Throttle;
use crate::wire::Wire;

/// The pause after an accept failed for lack of a resource, such as file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The interval at which connections beyond the limit are logged.
const REFUSAL_LOG: Duration = Duration::from_secs(10);

/// A TCP listener for [`axum::serve`](axum::serve()) that wraps each connection in a
/// [`GuardedStream`].
///
/// The listener sets the socket options and the write-stall guard of [`WireConfig`]; it cannot set
/// the limits of HTTP itself (header-read timeout, HTTP/2), which [`serve`](crate::serve()) does.
///
/// ```
/// use axum::{Router, extract::ConnectInfo, routing::get};
/// use realtime_http::{WireInfo, GuardedListener, WireConfig};
///
/// # async fn run() -> std::io::Result<()> {
/// async fn whoami(ConnectInfo(connection): ConnectInfo<WireInfo>) -> String {
///     connection.peer().to_string()
/// }
///
/// let tcp = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// let router = Router::new().route("/whoami", get(whoami));
/// axum::serve(
///     GuardedListener::new(tcp, WireConfig::default()),
///     router.into_make_service_with_connect_info::<WireInfo>(),
/// )
/// .await
/// # }
/// ```
#[derive(Debug)]
pub struct GuardedListener {
    tcp: TcpListener,
    config: WireConfig,
    guard: Guard,
    /// The moment at which a refused connection was logged last.
    refusal_logged: Option<Instant>,
    /// The number of consecutive accepts that failed, so that a shortage is logged once and not ten
    /// times a second.
    failures: u64,
    /// The rate limit of accepts.
    pace: Throttle,
}

impl GuardedListener {
    /// Creates a listener that guards the connections of `tcp`.
    pub fn new(tcp: TcpListener, config: WireConfig) -> Self {
        let guard = Guard::new(&config);
        Self::with_guard(tcp, config, guard)
    }

    pub(crate) fn with_guard(tcp: TcpListener, config: WireConfig, guard: Guard) -> Self {
        #[cfg(any(target_os = "android", target_os = "linux"))]
        if let Err(error) = socket2::SockRef::from(&tcp).listen(config.backlog.min(i32::MAX as u32) as i32) {
            tracing::debug!(%error, "cannot set the backlog");
        }
        Self { tcp, config, guard, refusal_logged: None, failures: 0, pace: Throttle::of_accepts() }
    }

    /// Returns the guard of this listener's connections, which counts the stalled ones; clone it
    /// before the listener is moved.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Resets a connection beyond the limit: nothing is known of its client yet, not even whether
    /// it speaks TLS.
    fn refuse(&mut self, tcp: &TcpStream, peer: SocketAddr) {
        let _ = tcp.set_zero_linger();
        self.guard.count_refused();
        if self.refusal_logged.is_none_or(|logged| logged.elapsed() >= REFUSAL_LOG) {
            self.refusal_logged = Some(Instant::now());
            let (limit, setting) = (self.config.connections, "WireConfig::with_connections");
            tracing::warn!(%peer, limit, setting, "connection limit reached; resetting new connections");
        }
    }

    /// Waits until one more connection may be accepted, and returns whether it had to.
    async fn turn(&mut self, rate: NonZeroU32) -> bool {
        let mut is_delayed = false;
        poll_fn(|cx| {
            let turn = self.pace.poll_turn(cx, rate, 1);
            is_delayed |= turn.is_pending();
            turn
        })
        .await;
        is_delayed
    }

    /// Waits after a failed accept.
    async fn pause(&mut self, error: &io::Error) {
        // The client disconnected before it was accepted: there is no shortage.
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset
        ) {
            return;
        }
        if self.failures == 0 {
            tracing::error!(%error, "cannot accept connections, retrying");
        }
        self.failures += 1;
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

impl Listener for GuardedListener {
    type Io = GuardedStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (GuardedStream, SocketAddr) {
        let rate = self.config.accepts_per_second.and_then(NonZeroU32::new);
        loop {
            let is_delayed = match rate {
                Some(rate) => self.turn(rate).await,
                None => false,
            };
            match self.tcp.accept().await {
                Ok((tcp, peer)) => {
                    if self.failures > 0 {
                        tracing::info!(failures = self.failures, "accepting connections again");
                        self.failures = 0;
                    }
                    if let Some(rate) = rate {
                        self.pace.spend(1, rate);
                    }
                    if is_delayed {
                        self.guard.count_delayed();
                    }
                    if self.guard.open() >= self.config.connections as u64 {
                        self.refuse(&tcp, peer);
                        continue;
                    }
                    if let Err(error) = prepare(&tcp, &self.config) {
                        tracing::debug!(%peer, %error, "cannot set a socket option");
                    }
                    return (self.guard.wrap(tcp, peer), peer);
                }
                Err(error) => self.pause(&error).await,
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

/// Sets the socket options of an accepted connection.
fn prepare(tcp: &TcpStream, config: &WireConfig) -> io::Result<()> {
    tcp.set_nodelay(config.nodelay)?;
    #[cfg(any(target_os = "android", target_os = "linux"))]
    {
        let socket = socket2::SockRef::from(tcp);
        if let Some(bytes) = config.unsent_low_water {
            socket.set_tcp_notsent_lowat(bytes)?;
        }
        if config.ack_timeout.is_some() {
            socket.set_tcp_user_timeout(config.ack_timeout)?;
        }
    }
    Ok(())
}

/// The connection of a request, which a handler gets through `ConnectInfo<WireInfo>`.
#[derive(Clone, Debug)]
pub struct WireInfo {
    wire: Arc<Wire>,
}

impl WireInfo {
    pub(crate) fn new(wire: &Arc<Wire>) -> Self {
        Self { wire: Arc::clone(wire) }
    }

    /// Returns the peer's address as the socket has it: behind a proxy it is the proxy's.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.wire.peer()
    }

    /// Returns the handle of the connection; requests of one HTTP/2 connection have the same.
    #[must_use]
    pub fn wire(&self) -> &Arc<Wire> {
        &self.wire
    }
}

impl Connected<IncomingStream<'_, GuardedListener>> for WireInfo {
    fn connect_info(stream: IncomingStream<'_, GuardedListener>) -> Self {
        Self::new(stream.io().wire())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A listener that accepts nothing still queues as many connections as its backlog allows.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn backlog_is_as_large_as_configured() {
        let most: usize = std::fs::read_to_string("/proc/sys/net/core/somaxconn").unwrap().trim().parse().unwrap();
        let waiting = most.min(600);
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let listener = GuardedListener::new(tcp, WireConfig::default());
        let address = listener.local_addr().unwrap();
        let all = futures_util::future::try_join_all((0..waiting).map(|_| TcpStream::connect(address)));
        let connected = tokio::time::timeout(Duration::from_secs(20), all).await;
        assert_eq!(connected.expect("no connection is dropped").unwrap().len(), waiting);
    }

    #[tokio::test]
    async fn accepts_are_paced() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut listener = GuardedListener::new(tcp, WireConfig::default().with_accepts_per_second(20));
        let address = listener.local_addr().unwrap();
        let clients = futures_util::future::try_join_all((0..8).map(|_| TcpStream::connect(address)));
        assert_eq!(clients.await.unwrap().len(), 8);
        let start = std::time::Instant::now();
        for _ in 0..8 {
            listener.accept().await;
        }
        assert!(start.elapsed() >= Duration::from_millis(250), "{:?}", start.elapsed());
        assert!((1..8).contains(&listener.guard().stats().delayed), "{:?}", listener.guard().stats());
    }

    /// A listening socket that was shut down fails every accept immediately, like one without file
    /// descriptors.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn failing_accepts_are_paced() {
        let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut listener = GuardedListener::new(tcp, WireConfig::default());
        socket2::SockRef::from(&listener.tcp).shutdown(std::net::Shutdown::Both).unwrap();

        let accepted = tokio::time::timeout(4 * ACCEPT_PAUSE, listener.accept()).await;

        assert!(accepted.is_err(), "no client has connected");
        assert!((1..=5).contains(&listener.failures), "{} tries", listener.failures);
    }
}
