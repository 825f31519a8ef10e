//! The provider suite over real connections, on each transport.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use realtime_core::{Handlers, Limits, RealtimeProvider};
use realtime_socketio::{SocketIoConfig, SocketIoProvider};
use realtime_testkit::Served;
use realtime_testkit::conformance::{ClientUnderTest, Ended, ProviderUnderTest, Received, Refused, Setup, Visitor};
use serde_json::Value;
use support::{Client, Message, Transport, Wire};

/// A provider whose clients are on long polling, or on websockets.
struct SocketIo<const POLLS: bool>(Served<SocketIoProvider>);

#[async_trait]
impl<const POLLS: bool> ProviderUnderTest for SocketIo<POLLS> {
    type Client = Connected;

    async fn start(setup: Setup) -> Self {
        let fallback = setup.fallback();
        // A client at a limit waits for this time. The suite's clients answer the pings that check
        // whether they are alive only while they are read, which takes longer.
        let is_limited = setup.delivery.limits().connections_per_user() < Limits::default().connections_per_user();
        let connect_timeout = Duration::from_secs(if is_limited { 1 } else { 30 });
        let config = SocketIoConfig::default().with_connect_timeout(connect_timeout).with_delivery(setup.delivery);
        Self(Served::unattached(SocketIoProvider::new(config).fallback(fallback)).await)
    }

    fn provider(&self) -> Arc<dyn RealtimeProvider> {
        Arc::clone(&self.0.provider) as _
    }

    async fn connect(&self, visitor: Visitor) -> Result<Connected, Refused> {
        let transport = if POLLS { Transport::Polling } else { Transport::Websocket };
        let mut client = Client::open(self.0.address(), transport, "").await.map_err(Refused::with_status)?;
        match client.connect("/", &visitor.auth()).await {
            Ok(_) => Ok(Connected(Some(client))),
            Err(message) => Err(Refused::with_code(message.split(':').next().unwrap())),
        }
    }
}

/// A client of the suite; taken out only when it is dropped.
struct Connected(Option<Client>);

impl Connected {
    fn client(&mut self) -> &mut Client {
        self.0.as_mut().unwrap()
    }
}

impl Drop for Connected {
    /// Closes the session of a client that polls, which would otherwise stay until its next answer
    /// to a ping is missed. The server notices the end of a websocket itself.
    fn drop(&mut self) {
        if let Some(mut client) = self.0.take()
            && let Wire::Polling(_) = client.wire
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            runtime.spawn(async move { client.send("1").await });
        }
    }
}

/// Returns a message as the suite expects it: an answer with an error is an event `error`.
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
impl ClientUnderTest for Connected {
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

mod polling {
    use super::*;

    realtime_testkit::provider_conformance!(SocketIo<true>);
}

mod websocket {
    use super::*;

    realtime_testkit::provider_conformance!(SocketIo<false>);
}
