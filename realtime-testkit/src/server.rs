//! Servers on a free loopback port.

use std::future::IntoFuture;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use realtime_core::spi::Runtime;
use realtime_core::{Event, Receipt, Stats, Target};
use realtime_http::{GuardedListener, HttpProvider, WireConfig, WireInfo, serve};
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::{HookLog, eventually, in_time};

/// A server on a free loopback port; dropping it aborts the server and resets its connections.
#[derive(Debug)]
pub struct TestServer {
    address: SocketAddr,
    running: JoinHandle<io::Result<()>>,
}

impl TestServer {
    /// Serves these routes with [`realtime_http::serve()`] and its default limits.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn start(routes: axum::Router) -> Self {
        Self::run(|listener| serve(listener, routes)).await
    }

    /// Serves these routes with [`axum::serve`](axum::serve()) over a [`GuardedListener`], as an
    /// application with a server of its own does.
    ///
    /// # Panics
    /// As [`TestServer::start`].
    pub async fn start_on_axum(routes: axum::Router, wire: WireConfig) -> Self {
        let routes = routes.into_make_service_with_connect_info::<WireInfo>();
        Self::run(|listener| axum::serve(GuardedListener::new(listener, wire), routes)).await
    }

    /// Runs any server on the listener that it is given.
    ///
    /// # Panics
    /// As [`TestServer::start`].
    pub async fn run<S>(server: impl FnOnce(TcpListener) -> S) -> Self
    where
        S: IntoFuture<Output = io::Result<()>>,
        S::IntoFuture: Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        Self { address, running: tokio::spawn(server(listener).into_future()) }
    }

    /// Returns the address that the server listens at.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns an `http://` URL of this server.
    #[must_use]
    pub fn url(&self, path_and_query: &str) -> String {
        format!("http://{}{path_and_query}", self.address)
    }

    /// Returns a `ws://` URL of this server.
    #[must_use]
    pub fn websocket_url(&self, path_and_query: &str) -> String {
        format!("ws://{}{path_and_query}", self.address)
    }

    /// Returns whether the server has finished.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.running.is_finished()
    }

    /// Aborts the server.
    pub fn abort(&self) {
        self.running.abort();
    }

    /// Waits until the server has finished.
    ///
    /// # Errors
    /// Those of the server.
    ///
    /// # Panics
    /// If the server panics, is aborted, or takes longer than [`DEADLINE`](crate::DEADLINE).
    pub async fn finished(&mut self) -> io::Result<()> {
        in_time("the end of the server", &mut self.running).await.expect("the server does not panic")
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

/// A provider whose routes are served on a free loopback port; dropping it aborts the server.
///
/// ```ignore
/// let runtime = Runtime::in_memory().with_authenticator(ByQuery);
/// let served = Served::start(SseProvider::new(SseConfig::default()), runtime).await;
/// let mut client = SseClient::connect(served.url("/sse?user=ann")).await?;
/// served.send(Target::user("ann"), "greeting", "hello").await;
/// assert_eq!(client.next_of("greeting").await?.json::<String>(), "hello");
/// drop(client);
/// assert_eq!(served.hooks.close_of("ann").await, CloseReason::CONNECTION_LOST);
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Served<P> {
    /// The provider.
    pub provider: Arc<P>,
    /// The connects and closes of the provider's connections, if it was attached here.
    pub hooks: HookLog,
    server: TestServer,
}

impl<P: HttpProvider> Served<P> {
    /// Serves a provider that is not attached yet, as a conformance suite wants it.
    ///
    /// # Panics
    /// If there is no free port.
    pub async fn unattached(provider: P) -> Self {
        let provider = Arc::new(provider);
        let server = TestServer::start(Arc::clone(&provider).router()).await;
        Self { provider, hooks: HookLog::default(), server }
    }

    /// Attaches a provider to this runtime, with a hook for [`Served::hooks`], and serves its
    /// routes.
    ///
    /// # Panics
    /// If the provider cannot be attached, or there is no free port.
    pub async fn start(provider: P, runtime: Runtime) -> Self {
        Self::start_with(provider, runtime, WireConfig::default(), P::router).await
    }

    /// Attaches and serves a provider as [`Served::start`] does, with these limits of the server
    /// and with routes of the test's own.
    ///
    /// # Panics
    /// As [`Served::start`].
    pub async fn start_with(
        provider: P,
        runtime: Runtime,
        wire: WireConfig,
        routes: impl FnOnce(Arc<P>) -> axum::Router,
    ) -> Self {
        Self::run(provider, runtime, |provider, listener| serve(listener, routes(provider)).with_config(wire)).await
    }

    /// Attaches a provider as [`Served::start`] does, and runs any server on the listener that it
    /// is given.
    ///
    /// # Panics
    /// As [`Served::start`].
    pub async fn run<S>(provider: P, runtime: Runtime, server: impl FnOnce(Arc<P>, TcpListener) -> S) -> Self
    where
        S: IntoFuture<Output = io::Result<()>>,
        S::IntoFuture: Send + 'static,
    {
        let (provider, hooks) = (Arc::new(provider), HookLog::default());
        provider.attach(runtime.with_hook(hooks.hook("served"))).await.expect("the provider can be attached");
        let server = TestServer::run(|listener| server(Arc::clone(&provider), listener)).await;
        Self { provider, hooks, server }
    }

    /// Returns the address that the server listens at.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    /// Returns an `http://` URL of the server.
    #[must_use]
    pub fn url(&self, path_and_query: &str) -> String {
        self.server.url(path_and_query)
    }

    /// Returns a `ws://` URL of the server.
    #[must_use]
    pub fn websocket_url(&self, path_and_query: &str) -> String {
        self.server.websocket_url(path_and_query)
    }

    /// Returns the provider's stats.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.provider.stats()
    }

    /// Waits until the provider has exactly this many connections.
    ///
    /// # Panics
    /// If that takes longer than [`DEADLINE`](crate::DEADLINE).
    #[track_caller]
    pub fn connections(&self, count: u64) -> impl Future<Output = ()> {
        eventually(format!("{count} connections"), move || self.stats().connections == count)
    }

    /// Sends an event with this value as its payload, and returns the receipt.
    ///
    /// # Panics
    /// If the value has no JSON form, or the provider refuses the event.
    pub async fn send(&self, target: Target, name: &str, value: impl Serialize) -> Receipt {
        let event = Event::json(name, &value).expect("a value with a JSON form");
        self.provider.broadcast().send(target, event).await.expect("the event is sent")
    }

    /// Waits until the server has finished.
    ///
    /// # Errors
    /// Those of the server.
    ///
    /// # Panics
    /// As [`TestServer::finished`].
    pub async fn finished(&mut self) -> io::Result<()> {
        self.server.finished().await
    }
}
