use std::ops::Deref;
use std::sync::Arc;

use futures_util::future::join_all;
use realtime_core::spi::Runtime;
use realtime_core::{Authenticator, CloseReason, ConnectionId, Context, Event, Handlers, Reply, Target};
use realtime_http::{HttpProvider, WireConfig};
use realtime_socketio::{SocketIoConfig, SocketIoProvider};
use realtime_testkit::Served;
use realtime_testkit::conformance::{VisitorAuthenticator, VisitorPolicy};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::{Client, Transport, in_time};

/// Configuration of a server.
pub struct Setup {
    pub config: SocketIoConfig,
    pub wire: WireConfig,
    runtime: Runtime,
    handlers: Box<dyn FnOnce(SocketIoProvider) -> SocketIoProvider + Send>,
}

/// A server on a free port, stopped when dropped.
pub struct Server(pub Served<SocketIoProvider>);

impl Deref for Server {
    type Target = Served<SocketIoProvider>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Default for Setup {
    fn default() -> Self {
        Self::from(SocketIoConfig::default())
    }
}

impl From<SocketIoConfig> for Setup {
    fn from(config: SocketIoConfig) -> Self {
        Self { config, wire: WireConfig::default(), runtime: runtime(), handlers: Box::new(|provider| provider) }
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

    pub fn with_authenticator(mut self, authenticator: impl Authenticator + 'static) -> Self {
        self.runtime = self.runtime.with_authenticator(authenticator);
        self
    }

    pub async fn start(self) -> Server {
        let provider = (self.handlers)(SocketIoProvider::new(self.config));
        Server(Served::start_with(provider, self.runtime, self.wire, SocketIoProvider::router).await)
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
pub fn runtime() -> Runtime {
    Runtime::in_memory().with_authenticator(VisitorAuthenticator).with_policy(VisitorPolicy)
}

impl Server {
    pub async fn start() -> Self {
        Setup::default().start().await
    }

    /// Opens a session without connecting to a namespace.
    pub async fn open(&self, transport: Transport) -> Client {
        Client::open(self.address(), transport, "").await.expect("a session")
    }

    /// Opens a session, on a websocket with a small receive buffer.
    pub async fn open_small(&self, transport: Transport) -> Client {
        let opened = Client::open_with(self.address(), transport, "/socket.io/", "", Some(8 * 1024));
        opened.await.expect("a session")
    }

    /// Connects a client to the main namespace, reads its welcome, and returns the connection's id
    /// too.
    pub async fn client(&self, transport: Transport, user: &str) -> (Client, ConnectionId) {
        self.client_with(transport, &json!({ "user": user })).await
    }

    pub async fn client_with(&self, transport: Transport, auth: &Value) -> (Client, ConnectionId) {
        let mut client = self.open(transport).await;
        let id = id_in(&client.enter(auth).await);
        (client, id)
    }

    /// Disconnects a client from the main namespace, and waits for the hooks.
    pub async fn leave(&self, client: &mut Client, connection: ConnectionId) {
        client.send("41").await;
        self.ended(connection).await;
    }

    /// Sends events `n` with the numbers of this range, in order, many at a time.
    pub async fn send_numbers(&self, user: &str, numbers: std::ops::Range<usize>) {
        let numbers: Vec<usize> = numbers.collect();
        for chunk in numbers.chunks(500) {
            let receipts = join_all(chunk.iter().map(|n| self.send(Target::user(user), "n", n))).await;
            assert!(receipts.is_sorted_by_key(|receipt| receipt.position), "sent in order");
        }
    }

    /// Sends a user the event `n` with this number, which this client must get next.
    pub async fn deliver(&self, client: &mut Client, user: &str, n: impl Serialize + Copy) {
        self.send(Target::user(user), "n", n).await;
        assert_eq!(client.event("n").await, json!(n));
    }

    /// Waits until the hooks were called for a connection's end, once, and returns the reason.
    pub async fn ended(&self, connection: ConnectionId) -> CloseReason {
        let calls = in_time("the hooks", self.hooks.wait_of(connection, 2)).await;
        assert_eq!(calls.len(), 2, "{calls:?}");
        assert_eq!(calls[0].ended, None);
        calls[1].ended.clone().expect("a close reason")
    }
}

/// Returns the connection's id in the data of a welcome.
pub fn id_in(welcome: &Value) -> ConnectionId {
    welcome["connectionId"].as_str().unwrap().parse().unwrap()
}

pub fn event(name: &str, value: impl Serialize) -> Event {
    Event::json(name, &value).unwrap()
}
