use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use realtime_core::spi::Runtime;
use realtime_core::{
    ConnectionId, Error, Event, EventId, RealtimeBroadcast, RealtimeProvider, Receipt, RoomMembership, Scope,
    SocketIoBroadcast, Target,
};
use serde_json::{Value, json};

use super::run::in_time;
use super::{
    ClientUnderTest, Ended, HookLog, ProviderUnderTest, Received, Refused, Setup, Visitor, VisitorAuthenticator,
    VisitorPolicy,
};

/// One provider, attached, with everything a test needs around it.
pub(crate) struct Stage<P> {
    pub(crate) under_test: P,
    pub(crate) provider: Arc<dyn RealtimeProvider>,
    pub(crate) hooks: HookLog,
    marks: AtomicU64,
}

/// A connected client that has read its welcome.
pub(crate) struct Guest<C> {
    client: C,
    pub(crate) welcome: Value,
    pub(crate) id: ConnectionId,
    /// The newest place it was told.
    pub(crate) cursor: String,
}

/// A runtime for one node in memory that knows the visitors.
pub(crate) fn runtime(hooks: &HookLog) -> Runtime {
    Runtime::in_memory()
        .with_authenticator(VisitorAuthenticator)
        .with_policy(VisitorPolicy)
        .with_hook(hooks.hook("first"))
        .with_hook(hooks.hook("second"))
}

impl<P: ProviderUnderTest> Stage<P> {
    pub(crate) async fn open(setup: Setup) -> Self {
        let stage = Self::unattached(setup).await;
        stage.provider.attach(runtime(&stage.hooks)).await.expect("the provider can be attached");
        stage
    }

    pub(crate) async fn unattached(setup: Setup) -> Self {
        let under_test = P::start(setup).await;
        let provider = under_test.provider();
        Self { under_test, provider, hooks: HookLog::default(), marks: AtomicU64::new(0) }
    }

    pub(crate) async fn guest(&self, visitor: Visitor) -> Guest<P::Client> {
        match in_time("a connection", self.under_test.connect(visitor)).await {
            Ok(client) => Guest::welcome(client).await,
            Err(refused) => panic!("refused: {refused:?}"),
        }
    }

    /// A guest whose place may not have been given back in this very moment.
    pub(crate) async fn guest_soon(&self, visitor: Visitor) -> Guest<P::Client> {
        let attempts = async {
            loop {
                if let Ok(client) = self.under_test.connect(visitor.clone()).await {
                    return client;
                }
                tokio::task::yield_now().await;
            }
        };
        Guest::welcome(in_time("a free place", attempts).await).await
    }

    pub(crate) async fn refused(&self, visitor: Visitor) -> Refused {
        match in_time("a refusal", self.under_test.connect(visitor)).await {
            Ok(_) => panic!("let in instead of refused"),
            Err(refused) => refused,
        }
    }

    /// A visitor who is to come back later: 503, or, on an event stream, which a browser would give up after that, a
    /// stream without an event.
    pub(crate) async fn turned_away(&self, visitor: Visitor) {
        match in_time("a refusal", self.under_test.connect(visitor)).await {
            Ok(mut client) => {
                let first = in_time("the end", client.next()).await;
                assert!(first.is_err(), "let in instead of turned away: {first:?}");
            }
            Err(refused) => assert_eq!(refused.status, 503),
        }
    }

    pub(crate) fn broadcast(&self) -> Arc<dyn RealtimeBroadcast> {
        self.provider.broadcast()
    }

    pub(crate) fn rooms(&self) -> Arc<dyn RoomMembership> {
        self.provider.rooms().expect("a provider with rooms has room membership")
    }

    pub(crate) fn acks(&self) -> Arc<dyn SocketIoBroadcast> {
        self.provider.socket_io().expect("a provider with acks has the traits for them")
    }

    /// Sends the event `note` with this label, and answers its receipt.
    ///
    /// An answer that does not come in time, on a machine that has no time for the test, is asked for again with the
    /// same key, as an application would.
    pub(crate) async fn note(&self, target: Target, label: &str) -> Receipt {
        // What is for one connection is in no log, and takes no key.
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

    /// Sends a mark to everyone: whoever reads it has got everything that was for it before.
    pub(crate) async fn mark(&self) -> String {
        let mark = format!("mark {}", self.marks.fetch_add(1, Ordering::Relaxed));
        self.note(Target::all(), &mark).await;
        mark
    }

    /// What this guest got up to a mark that is sent now.
    pub(crate) async fn labels(&self, guest: &mut Guest<P::Client>) -> Vec<String> {
        let mark = self.mark().await;
        guest.labels_until(&mark).await
    }
}

pub(crate) fn note(label: &str) -> Event {
    Event::json("note", label).expect("a label has a JSON form")
}

impl<C: ClientUnderTest> Guest<C> {
    async fn welcome(mut client: C) -> Self {
        let first = in_time("the welcome", client.next()).await.expect("the connection stays");
        assert_eq!(first.name, "connected", "the first event is the welcome: {first:?}");
        let text = |field: &str| {
            first.payload[field].as_str().unwrap_or_else(|| panic!("no {field} in {}", first.payload)).to_owned()
        };
        let id = text("connectionId").parse().expect("a connection id");
        let cursor = text("cursor");
        Self { client, id, cursor, welcome: first.payload }
    }

    /// The next event that is no bare cursor.
    pub(crate) async fn next(&mut self) -> Received {
        loop {
            let received = self.next_or_cursor().await;
            if received.name != "cursor" {
                return received;
            }
        }
    }

    pub(crate) async fn next_or_cursor(&mut self) -> Received {
        let received = in_time("an event", self.client.next()).await.expect("the connection stays");
        if let Some(cursor) = &received.cursor {
            self.cursor.clone_from(cursor);
        }
        received
    }

    /// The labels of the notes before this one; any other event fails the test.
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

    /// Reads until the connection ends.
    pub(crate) async fn ended(&mut self) -> Ended {
        loop {
            if let Err(ended) = in_time("the end", self.client.next()).await {
                return ended;
            }
        }
    }

    pub(crate) async fn send(&mut self, name: &str, payload: Value, ack: Option<u64>) {
        in_time("a send", self.client.send(name, &payload, ack)).await;
    }

    pub(crate) async fn answer(&mut self, ack: u64, payload: Value) {
        in_time("an answer", self.client.answer(ack, &payload)).await;
    }

    /// The next event, which is an answer with this number.
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
