use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use realtime_core::spi::Runtime;
use realtime_core::{
    Capabilities, ConnectionId, Error, Event, EventId, RealtimeBroadcast, RealtimeProvider, Receipt, RoomMembership,
    Scope, SocketIoBroadcast, Target,
};
use serde_json::{Value, json};

use super::{
    ClientUnderTest, Ended, HookLog, ProviderUnderTest, Received, Refused, Setup, Visitor, VisitorAuthenticator,
    VisitorPolicy,
};
use crate::in_time;

/// A provider with everything that a test needs around it.
pub(crate) struct Fixture<P> {
    pub(crate) under_test: P,
    pub(crate) provider: Arc<dyn RealtimeProvider>,
    pub(crate) hooks: HookLog,
    /// The number of markers sent.
    marks: AtomicU64,
}

/// A connected client that has read its welcome.
pub(crate) struct Peer<C> {
    client: C,
    pub(crate) welcome: Value,
    pub(crate) id: ConnectionId,
    /// The newest cursor that the client has received.
    pub(crate) cursor: String,
}

/// Returns a runtime in memory for one node, which identifies visitors.
pub(crate) fn runtime(hooks: &HookLog) -> Runtime {
    Runtime::in_memory()
        .with_authenticator(VisitorAuthenticator)
        .with_policy(VisitorPolicy)
        .with_hook(hooks.hook("first"))
        .with_hook(hooks.hook("second"))
}

impl<P: ProviderUnderTest> Fixture<P> {
    /// Starts an attached provider.
    pub(crate) async fn start(setup: Setup) -> Self {
        let limits = setup.service;
        let fixture = Self::unattached(setup).await;
        let runtime = runtime(&fixture.hooks).with_limits(limits);
        fixture.provider.attach(runtime).await.expect("the provider can be attached");
        fixture
    }

    /// Starts an attached provider, if it has the capabilities that a test needs.
    pub(crate) async fn start_if(needed: impl FnOnce(Capabilities) -> bool, setup: Setup) -> Option<Self> {
        let fixture = Self::start(setup).await;
        needed(fixture.provider.capabilities()).then_some(fixture)
    }

    /// Starts a provider that is not attached.
    pub(crate) async fn unattached(setup: Setup) -> Self {
        let under_test = P::start(setup).await;
        let provider = under_test.provider();
        Self { under_test, provider, hooks: HookLog::default(), marks: AtomicU64::new(0) }
    }

    /// Connects a client and reads its welcome.
    pub(crate) async fn connect(&self, visitor: Visitor) -> Peer<P::Client> {
        match in_time("a connection", self.under_test.connect(visitor)).await {
            Ok(client) => Peer::welcome(client).await,
            Err(refused) => panic!("expected an accepted connection, got {refused:?}"),
        }
    }

    /// Connects a client as soon as there is a free slot, and reads its welcome.
    pub(crate) async fn connect_eventually(&self, visitor: Visitor) -> Peer<P::Client> {
        let attempts = async {
            loop {
                if let Ok(client) = self.under_test.connect(visitor.clone()).await {
                    return client;
                }
                tokio::task::yield_now().await;
            }
        };
        Peer::welcome(in_time("a free slot", attempts).await).await
    }

    /// Returns the refusal of a client.
    pub(crate) async fn refusal(&self, visitor: Visitor) -> Refused {
        match in_time("a refusal", self.under_test.connect(visitor)).await {
            Ok(_) => panic!("expected a refusal, got an accepted connection"),
            Err(refused) => refused,
        }
    }

    /// Asserts that a client is rejected and may retry: with 503 or, on an event stream, which a
    /// browser would abort after that status, with a stream without an event.
    pub(crate) async fn rejected_for_now(&self, visitor: Visitor) {
        match in_time("a refusal", self.under_test.connect(visitor)).await {
            Ok(mut client) => {
                let first = in_time("the end of the stream", client.next()).await;
                assert!(first.is_err(), "expected a stream without an event, got {first:?}");
            }
            Err(refused) => assert_eq!(refused.status, 503),
        }
    }

    pub(crate) fn broadcast(&self) -> Arc<dyn RealtimeBroadcast> {
        self.provider.broadcast()
    }

    pub(crate) fn rooms(&self) -> Arc<dyn RoomMembership> {
        self.provider.rooms().expect("a provider with the capability `rooms` has room membership")
    }

    pub(crate) fn acks(&self) -> Arc<dyn SocketIoBroadcast> {
        self.provider.socket_io().expect("a provider with the capability `acks` has the trait for them")
    }

    /// Sends the event `note` with this label, and returns the receipt.
    ///
    /// If the outcome is unknown, which happens on a busy machine, it sends again with the same
    /// key, as an application would.
    pub(crate) async fn note(&self, target: Target, label: &str) -> Receipt {
        // An event for one connection is in no log, and can have no key.
        let event = match target.scope() {
            Scope::Connection(_) => note(label),
            _ => note(label).with_idempotency_key(EventId::random().to_string()),
        };
        let sent = async {
            loop {
                match self.broadcast().send(target.clone(), event.clone()).await {
                    Err(Error::OutcomeUnknown { .. }) => {}
                    sent => return sent,
                }
            }
        };
        in_time("a receipt", sent).await.expect("the event is sent")
    }

    /// Sends a marker to everyone: a client that reads it has received all earlier events for it.
    pub(crate) async fn mark(&self) -> String {
        let mark = format!("mark {}", self.marks.fetch_add(1, Ordering::Relaxed));
        self.note(Target::all(), &mark).await;
        mark
    }

    /// Sends a marker, and returns the labels that this client receives before it.
    pub(crate) async fn labels(&self, peer: &mut Peer<P::Client>) -> Vec<String> {
        let mark = self.mark().await;
        peer.labels_until(&mark).await
    }
}

pub(crate) fn note(label: &str) -> Event {
    Event::json("note", label).expect("a label has a JSON form")
}

impl<C: ClientUnderTest> Peer<C> {
    async fn welcome(mut client: C) -> Self {
        let first = in_time("the welcome", client.next()).await.expect("expected an event, got a close");
        assert_eq!(first.name, "connected", "{first:?}");
        let text = |field: &str| {
            first.payload[field].as_str().unwrap_or_else(|| panic!("expected {field} in {}", first.payload)).to_owned()
        };
        let id = text("connectionId").parse().expect("a connection id");
        let cursor = text("cursor");
        Self { client, id, cursor, welcome: first.payload }
    }

    /// Returns the next event that is no bare cursor.
    pub(crate) async fn next(&mut self) -> Received {
        loop {
            let received = self.next_or_cursor().await;
            if received.name != "cursor" {
                return received;
            }
        }
    }

    pub(crate) async fn next_or_cursor(&mut self) -> Received {
        let received = in_time("an event", self.client.next()).await.expect("expected an event, got a close");
        if let Some(cursor) = &received.cursor {
            self.cursor.clone_from(cursor);
        }
        received
    }

    /// Returns the labels of the notes before this one; any other event fails the test.
    pub(crate) async fn labels_until(&mut self, last: &str) -> Vec<String> {
        let mut labels = Vec::new();
        loop {
            let received = self.next().await;
            assert_eq!(received.name, "note", "{received:?}");
            let label = received.payload.as_str().expect("a label").to_owned();
            if label == last {
                return labels;
            }
            labels.push(label);
        }
    }

    /// Reads until the connection is closed.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            if let Err(ended) = in_time("a close", self.client.next()).await {
                return ended;
            }
        }
    }

    /// Reads until the connection is closed; returns what was received before.
    pub(crate) async fn read_to_end(&mut self) -> (Vec<Received>, Ended) {
        let mut events = Vec::new();
        loop {
            match in_time("a close", self.client.next()).await {
                Ok(received) => events.push(received),
                Err(ended) => return (events, ended),
            }
        }
    }

    /// Refreshes the client's credentials by an event; returns the notes that it received before
    /// the answer, and the answer or the error's code.
    pub(crate) async fn refresh_by_event(&mut self, token: &str) -> (Vec<Value>, Result<Value, String>) {
        const ACK: u64 = 77;
        self.send("refresh", json!({ "token": token }), Some(ACK)).await;
        let mut notes = Vec::new();
        loop {
            let received = self.next().await;
            match received.name.as_str() {
                "note" => notes.push(received.payload),
                "ack" if received.ack == Some(ACK) => return (notes, Ok(received.payload)),
                "error" if received.ack == Some(ACK) => {
                    return (notes, Err(received.payload["code"].as_str().unwrap_or_default().to_owned()));
                }
                _ => panic!("expected an answer to the refresh, got {received:?}"),
            }
        }
    }

    /// Refreshes the client's credentials by a request; `None` where clients cannot.
    pub(crate) async fn refresh_by_request(&mut self, token: &str) -> Option<Result<Value, String>> {
        in_time("an answer", self.client.refresh(self.id, token)).await
    }

    pub(crate) async fn send(&mut self, name: &str, payload: Value, ack: Option<u64>) {
        in_time("a send", self.client.send(name, &payload, ack)).await;
    }

    pub(crate) async fn answer(&mut self, ack: u64, payload: Value) {
        in_time("an answer", self.client.answer(ack, &payload)).await;
    }

    /// Returns the payload of the next event, which must be an answer with this number.
    pub(crate) async fn answer_to(&mut self, ack: u64) -> Value {
        let received = self.next().await;
        assert_eq!((received.name.as_str(), received.ack), ("ack", Some(ack)), "{received:?}");
        received.payload
    }

    pub(crate) fn was_resumed(&self) -> bool {
        self.welcome["resumed"] == json!(true)
    }

    pub(crate) fn reason(&self) -> &str {
        self.welcome["reason"].as_str().unwrap_or_default()
    }
}
