use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;
use realtime_core::spi::Runtime;
use realtime_core::{
    CloseReason, ConnectionId, Context, Event, Handlers, RealtimeProvider, Receipt, Reply, Stats, Target,
};
use realtime_http::{HttpProvider, WireConfig, serve};
use realtime_socketio::{SocketIoConfig, SocketIoProvider};
use realtime_testkit::conformance::{HookLog, VisitorAuthenticator, VisitorPolicy};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use super::{Client, Transport, soon, until};

/// Configuration of a server.
pub struct Setup {
    pub config: SocketIoConfig,
    pub wire: WireConfig,
    handlers: Box<dyn FnOnce(SocketIoProvider) -> SocketIoProvider + Send>,
}

/// A server on a free port, stopped when dropped.
pub struct Server {
    pub address: SocketAddr,
    pub provider: Arc<SocketIoProvider>,
    pub hooks: HookLog,
    running: JoinHandle<std::io::Result<()>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self::from(SocketIoConfig::default())
    }
}

impl From<SocketIoConfig> for Setup {
    fn from(config: SocketIoConfig) -> Self {
        Self { config, wire: WireConfig::default(), handlers: Box::new(|provider| provider) }
    }
}

impl Setup {
    pub fn with_wire(mut self, wire: WireConfig) -> Self {
        self.wire = wire;
        self
    }

    pub fn with_handlers(
        mut self,
        handlers: impl FnOnce(SocketIoProvider) -> SocketIoProvider + Send + 'static,
    ) -> Self {
        self.handlers = Box::new(handlers);
        self
    }

    pub async fn start(self) -> Server {
        let provider = Arc::new((self.handlers)(SocketIoProvider::new(self.config)));
        let hooks = HookLog::default();
        provider.attach(runtime(&hooks)).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Arc::clone(&provider).router();
        let running = tokio::spawn(serve(listener, router).with_config(self.wire).into_future());
        Server { address, provider, hooks, running }
    }
}

/// Adds a handler of `slow` events `[n, padding]`, which waits for a permit and replies `n`.
pub fn on_slow(provider: SocketIoProvider, gate: Arc<Semaphore>) -> SocketIoProvider {
    provider.on("slow", move |_: Context, (n, _): (u64, String)| {
        let gate = Arc::clone(&gate);
        async move {
            gate.acquire().await.unwrap().forget();
            Reply(n)
        }
    })
}

/// Creates a runtime in memory that accepts the identity that visitors claim.
pub fn runtime(hooks: &HookLog) -> Runtime {
    Runtime::in_memory()
        .with_authenticator(VisitorAuthenticator)
        .with_policy(VisitorPolicy)
        .with_hook(hooks.hook("hook"))
}

impl Server {
    /// Wraps a server that is running already.
    pub fn of(
        address: SocketAddr,
        provider: Arc<SocketIoProvider>,
        hooks: HookLog,
        running: JoinHandle<std::io::Result<()>>,
    ) -> Self {
        Self { address, provider, hooks, running }
    }

    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// Opens a session without connecting to a namespace.
    pub async fn open(&self, transport: Transport) -> Client {
        Client::open(self.address, transport, "").await.expect("a session")
    }

    /// Connects a client to the main namespace, reads its welcome, and returns the connection's id
    /// too.
    pub async fn client(&self, transport: Transport, user: &str) -> (Client, ConnectionId) {
        self.client_with(transport, &json!({ "user": user })).await
    }

    pub async fn client_with(&self, transport: Transport, auth: &Value) -> (Client, ConnectionId) {
        let mut client = self.open(transport).await;
        client.connect("/", auth).await.expect("accepted");
        let welcome = client.event("connected").await;
        (client, welcome["connectionId"].as_str().unwrap().parse().unwrap())
    }

    pub async fn send(&self, target: Target, name: &str, value: impl Serialize) -> Receipt {
        self.provider.broadcast().send(target, event(name, value)).await.unwrap()
    }

    /// Sends events `n` with the numbers of this range, in order, many at a time.
    pub async fn send_numbers(&self, user: &str, numbers: std::ops::Range<usize>) {
        let numbers: Vec<usize> = numbers.collect();
        for chunk in numbers.chunks(500) {
            let receipts = join_all(chunk.iter().map(|n| self.send(Target::user(user), "n", n))).await;
            assert!(receipts.is_sorted_by_key(|receipt| receipt.position), "sent in order");
        }
    }

    pub fn stats(&self) -> Stats {
        self.provider.stats()
    }

    pub async fn connections(&self, count: u64) {
        until("the number of connections", || self.stats().connections == count).await;
    }

    /// Waits until the hooks were called for a connection's end, once, and returns the reason.
    pub async fn ended(&self, connection: ConnectionId) -> CloseReason {
        let calls = soon("the hooks", self.hooks.wait_of(connection, 2)).await;
        assert_eq!(calls.len(), 2, "{calls:?}");
        assert_eq!(calls[0].ended, None);
        calls[1].ended.clone().expect("a close reason")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.running.abort();
    }
}

pub fn event(name: &str, value: impl Serialize) -> Event {
    Event::json(name, &value).unwrap()
}
