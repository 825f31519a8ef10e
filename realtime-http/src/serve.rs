//! The server of a router.

use std::{future::IntoFuture, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, serve::Listener as _};
use futures_util::{FutureExt as _, future::BoxFuture};
use tokio::{net::TcpListener, sync::watch};

use crate::config::WireConfig;
use crate::drive::{Phase, Protocols};
use crate::guard::Guard;
use crate::listener::GuardedListener;
#[cfg(feature = "tls")]
use crate::tls::Tls;

/// The default time that connections may continue after the graceful signal.
const DEADLINE: Duration = Duration::from_secs(30);

/// Serves `router` on `listener`: HTTP/1.1, HTTP/2 with prior knowledge, upgrades, and the guards
/// of [`WireConfig`]; over TLS with `Serve::with_tls` (feature `tls`).
///
/// In addition to what [`GuardedListener`] does, a client that sends nothing, or only a part of a
/// request's headers, is disconnected after
/// [`header_read_timeout`](WireConfig::with_header_read_timeout), and a silent HTTP/2 peer is
/// detected by pings. Handlers find `ConnectInfo<WireInfo>` and `ConnectInfo<SocketAddr>` in their
/// request.
///
/// ```
/// use std::time::Duration;
/// use axum::{Router, routing::get};
/// use realtime_http::{WireConfig, serve};
///
/// # async fn run() -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
/// serve(listener, Router::new().route("/", get("hello")))
///     .with_config(WireConfig::default().with_write_stall(Duration::from_secs(15)))
///     .with_graceful_shutdown(async {
///         let _ = tokio::signal::ctrl_c().await;
///         // Shut a NotificationService down here: open streams do not end by themselves.
///     })
///     .await
/// # }
/// ```
pub fn serve(listener: TcpListener, router: Router) -> Serve {
    let config = WireConfig::default();
    Serve {
        listener,
        router,
        guard: Guard::new(&config),
        config,
        observer: None,
        signal: None,
        deadline: DEADLINE,
        #[cfg(feature = "tls")]
        tls: None,
    }
}

/// A callback for the guard of a server.
type Observer = Box<dyn FnOnce(&Guard) + Send>;

/// A server created by [`serve`]; awaiting it runs it.
///
/// Without a graceful signal the server never ends. Dropping the running future aborts all
/// connections that were not upgraded.
#[must_use = "a server runs only when it is awaited"]
pub struct Serve {
    listener: TcpListener,
    router: Router,
    config: WireConfig,
    guard: Guard,
    observer: Option<Observer>,
    signal: Option<BoxFuture<'static, ()>>,
    deadline: Duration,
    #[cfg(feature = "tls")]
    tls: Option<Tls>,
}

impl Serve {
    /// Replaces the limits; invalid ones are an error of [`io::ErrorKind::InvalidInput`] when the
    /// server is run.
    pub fn with_config(mut self, config: WireConfig) -> Self {
        self.guard = Guard::new(&config);
        self.config = config;
        self
    }

    /// Calls `observer` when the server begins, with its guard, whose statistics it may read for as
    /// long as the server runs.
    pub fn with_observer(mut self, observer: impl FnOnce(&Guard) + Send + 'static) -> Self {
        self.observer = Some(Box::new(observer));
        self
    }

    /// Starts the shutdown when `signal` is ready: new connections are not accepted, idle ones are
    /// closed, and active ones finish their response. Upgraded connections belong to the code that
    /// upgraded them, and are not waited for.
    pub fn with_graceful_shutdown(mut self, signal: impl Future<Output = ()> + Send + 'static) -> Self {
        self.signal = Some(signal.boxed());
        self
    }

    /// Sets how long connections may continue after the graceful signal before they are aborted;
    /// default 30 s, [`Duration::MAX`] for no limit.
    pub fn with_deadline(mut self, deadline: Duration) -> Self {
        self.deadline = deadline;
        self
    }

    /// Serves HTTPS only; a plain HTTP/1 request is answered with 400. The files of the certificate
    /// are watched for as long as the server runs
    /// ([`Tls::with_reload_interval`](crate::Tls::with_reload_interval)). A limit of zero is an
    /// error when the server is run.
    #[cfg(feature = "tls")]
    pub fn with_tls(mut self, tls: Tls) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Returns the guard of the connections, which counts the stalled ones; a later
    /// [`with_config`](Self::with_config) creates a new one.
    pub fn guard(&self) -> &Guard {
        &self.guard
    }

    /// Returns the address that the server listens on.
    ///
    /// # Errors
    /// The system's error for the socket.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    async fn run(mut self) {
        if let Some(observer) = self.observer.take() {
            observer(&self.guard);
        }
        // Converts the router once and not for each request.
        let protocols = Protocols::new(self.router.with_state(()), &self.config, &self.guard);
        #[cfg(feature = "tls")]
        let _watch = self.tls.as_ref().and_then(Tls::watch);
        #[cfg(feature = "tls")]
        let protocols = protocols.with_tls(self.tls);
        let protocols = Arc::new(protocols);
        let mut listener = GuardedListener::with_guard(self.listener, self.config, self.guard);
        let mut signal = self.signal.unwrap_or_else(|| std::future::pending().boxed());
        let phase = watch::Sender::new(Phase::Open);
        loop {
            tokio::select! {
                biased;
                () = &mut signal => break,
                (stream, _) = listener.accept() => Arc::clone(&protocols).start(stream, phase.subscribe()),
            }
        }
        drop(listener);
        phase.send_replace(Phase::Closing);
        // Each connection holds a receiver until it ends.
        if tokio::time::timeout(self.deadline, phase.closed()).await.is_err() {
            tracing::info!(
                connections = phase.receiver_count(),
                "aborting the remaining connections at the shutdown deadline"
            );
            phase.send_replace(Phase::Aborted);
            phase.closed().await;
        }
    }
}

impl IntoFuture for Serve {
    type Output = io::Result<()>;
    type IntoFuture = BoxFuture<'static, io::Result<()>>;

    fn into_future(self) -> Self::IntoFuture {
        async move {
            self.config.check()?;
            #[cfg(feature = "tls")]
            self.tls.as_ref().map_or(Ok(()), Tls::check)?;
            self.run().await;
            Ok(())
        }
        .boxed()
    }
}

impl std::fmt::Debug for Serve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Serve")
            .field("listener", &self.listener)
            .field("config", &self.config)
            .field("deadline", &self.deadline)
            .finish_non_exhaustive()
    }
}
