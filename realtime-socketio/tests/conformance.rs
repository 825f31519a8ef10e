//! The provider suite over real connections, on each transport.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use realtime_core::{Handlers, Limits, RealtimeProvider};
use realtime_http::{HttpProvider, serve};
use realtime_socketio::{SocketIoConfig, SocketIoProvider};
use realtime_testkit::conformance::{ClientUnderTest, Ended, ProviderUnderTest, Received, Refused, Setup, Visitor};
use serde_json::Value;
use support::{Client, Message, Transport, Wire};
use tokio::net::TcpListener;

struct TestServer {
    provider: Arc<SocketIoProvider>,
    address: std::net::SocketAddr,
    running: tokio::task::JoinHandle<std::io::Result<()>>,
}

impl TestServer {
    async fn start(setup: Setup) -> Self {
        // A client at a limit waits for this time, which must not be shorter than the time for a
        // sign of life: the suite's clients give one only while they are read.
        let is_limited = setup.limits.connections_per_user() < Limits::default().connections_per_user();
        let connect_timeout = Duration::from_secs(if is_limited { 1 } else { 30 });
        let config = SocketIoConfig::default()
            .with_connect_timeout(connect_timeout)
            .with_limits(setup.limits)
            .with_outbox(setup.outbox)
            .with_window(setup.window)
            .with_max_event_bytes(setup.max_event_bytes)
            .with_write_stall(setup.write_stall);
        let router = Arc::new(setup.router);
        let provider = SocketIoProvider::new(config).fallback(move |cx, inbound| {
            let router = Arc::clone(&router);
            async move { router.handle(cx, inbound).await }
        });
        let provider = Arc::new(provider);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let running = tokio::spawn(serve(listener, Arc::clone(&provider).router()).into_future());
        Self { provider, address, running }
    }

    async fn connect(&self, transport: Transport, visitor: Visitor) -> Result<TestClient, Refused> {
        let mut client = Client::open(self.address, transport, "").await.map_err(Refused::with_status)?;
        match client.connect("/", &visitor.auth()).await {
            Ok(_) => Ok(TestClient(Some(client))),
            Err(message) => Err(Refused::with_code(message.split(':').next().unwrap())),
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.running.abort();
    }
}

struct TestClient(Option<Client>);

impl TestClient {
    fn client(&mut self) -> &mut Client {
        self.0.as_mut().unwrap()
    }
}

impl Drop for TestClient {
    /// Sends a close packet on long polling, without which the session would stay open until the
    /// ping timeout. A websocket is closed by itself.
    fn drop(&mut self) {
        if let Some(mut client) = self.0.take()
            && let Wire::Polling(_) = client.wire
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { client.send("1").await });
        }
    }
}

/// Converts a message for the suite, which takes an error as an ack for an event `error`.
fn received(message: Message) -> Received {
    let Message { kind, id, data, .. } = message;
    if kind == 3 {
        return match data[0].get("error") {
            Some(error) => Received::new("error", error.clone()).with_ack(id),
            None => Received::new("ack", data[0].clone()).with_ack(id),
        };
    }
    let name = data[0].as_str().unwrap().to_owned();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    match (name.as_str(), id) {
        ("cursor", _) => Received::new(name, Value::Null).with_cursor(text(&data[1])),
        _ => Received::new(name, data[1].clone()).with_cursor(data.get(2).and_then(text)).with_ack(id),
    }
}

#[async_trait]
impl ClientUnderTest for TestClient {
    async fn next(&mut self) -> Result<Received, Ended> {
        let message = self.client().next().await.map_err(|_| Ended::default())?;
        if message.kind == 1 { Err(Ended::default()) } else { Ok(received(message)) }
    }

    async fn send(&mut self, name: &str, payload: &Value, ack: Option<u64>) {
        self.client().emit(name, std::slice::from_ref(payload), ack).await;
    }

    async fn answer(&mut self, ack: u64, payload: &Value) {
        self.client().answer(ack, std::slice::from_ref(payload)).await;
    }
}

macro_rules! on {
    ($module:ident, $subject:ident, $transport:expr) => {
        mod $module {
            use super::*;

            struct $subject(TestServer);

            #[async_trait]
            impl ProviderUnderTest for $subject {
                type Client = TestClient;

                async fn start(setup: Setup) -> Self {
                    Self(TestServer::start(setup).await)
                }

                fn provider(&self) -> Arc<dyn RealtimeProvider> {
                    Arc::clone(&self.0.provider) as _
                }

                async fn connect(&self, visitor: Visitor) -> Result<TestClient, Refused> {
                    self.0.connect($transport, visitor).await
                }
            }

            realtime_testkit::provider_conformance!($subject);
        }
    };
}

on!(polling, Polling, Transport::Polling);
on!(websocket, Websocket, Transport::Websocket);
