use std::net::Ipv4Addr;
use std::sync::Arc;

use realtime_core::spi::{
    Admitted, Backplane, Dispatched, Dispatcher, DispatcherConfig, Epoch, Position, Record, Registration, Runtime,
    SessionOutlet,
};
use realtime_core::{
    Capabilities, ConnectRequest, Event, EventId, MemoryBackplane, RealtimeBroadcast, RealtimeProvider, Refusal, Target,
};
use realtime_testkit::conformance::{Refused, Setup, Visitor, VisitorAuthenticator, VisitorPolicy};

use super::{FaultyBackplane, LineCodec, eventually};

/// The smallest possible provider: a dispatcher with a codec.
#[derive(Clone)]
pub struct CoreProvider {
    pub dispatcher: Arc<Dispatcher<LineCodec>>,
}

impl CoreProvider {
    /// Creates a provider with these capabilities.
    pub fn new(setup: Setup, capabilities: Capabilities) -> Self {
        let config =
            DispatcherConfig::new("core", capabilities, setup.delivery).with_room_delivery(setup.room_delivery);
        Self {
            dispatcher: Dispatcher::new(
                config,
                LineCodec::default(),
                setup.router.with_room_events().with_refresh_event(),
            ),
        }
    }

    /// Creates a provider with every capability except binary events.
    pub fn full(setup: Setup) -> Self {
        let capabilities = Capabilities::none().with_acks(true).with_bidirectional(true);
        Self::new(setup, capabilities.with_resume(true).with_rooms(true))
    }

    /// Creates a provider with every capability that needs no events from clients.
    pub fn one_way(setup: Setup) -> Self {
        Self::new(setup, Capabilities::none().with_resume(true).with_rooms(true))
    }

    /// Starts a provider with every capability except binary events, on a log of its own.
    pub async fn started(setup: Setup) -> Self {
        Self::attached(setup, runtime()).await
    }

    /// Starts such a provider with the default settings, on this log.
    pub async fn on(backplane: impl Backplane) -> Self {
        Self::attached(Setup::default(), runtime().with_backplane(backplane)).await
    }

    /// Starts such a provider with the default settings, on a log that can fail.
    pub async fn on_faulty() -> (FaultyBackplane, Self) {
        let backplane = FaultyBackplane::new(MemoryBackplane::default());
        let provider = Self::on(backplane.clone()).await;
        (backplane, provider)
    }

    /// Starts such a provider with this runtime.
    pub async fn attached(setup: Setup, runtime: Runtime) -> Self {
        let provider = Self::full(setup);
        provider.attach(runtime).await.unwrap();
        provider
    }

    /// Returns the epoch of the log as this node knows it.
    pub fn epoch(&self) -> Epoch {
        self.dispatcher.cursor(Position::START).epoch()
    }

    /// Registers a visitor's connection, whose outbox the test takes from.
    pub async fn register(&self, visitor: Visitor) -> Registration<LineCodec> {
        let admitted = self.admit(visitor).await.unwrap();
        self.dispatcher.register(admitted, Arc::new(SessionOutlet::new()))
    }

    /// Makes the log unavailable, and waits until this node is no longer ready.
    pub async fn lose_log(&self, log: &FaultyBackplane) {
        log.set_up(false);
        eventually("the node is no longer ready", || !self.dispatcher.is_ready()).await;
    }

    /// Makes the log available, and waits until this node is ready again.
    pub async fn regain_log(&self, log: &FaultyBackplane) {
        log.set_up(true);
        eventually("the node is ready again", || self.dispatcher.is_ready()).await;
    }

    /// Sends a note with each of these numbers to all.
    pub async fn send_numbers(&self, numbers: std::ops::Range<usize>) {
        for number in numbers {
            self.dispatcher.to_all(note(&number.to_string())).await.unwrap();
        }
    }

    /// Admits a visitor in the way of a transport, by an HTTP request.
    pub async fn admit(&self, visitor: Visitor) -> std::result::Result<Admitted, Refusal> {
        let uri = format!("/?{}", visitor.query());
        let parts = http::Request::get(uri).body(()).unwrap().into_parts().0;
        let address = Some(Ipv4Addr::LOCALHOST.into());
        self.dispatcher.check_handshake(address)?;
        let request = ConnectRequest::new("core", &parts).with_address(address);
        self.dispatcher.admit(&request, &visitor.rooms, visitor.cursor.clone()).await
    }
}

/// Returns a refusal in the form that a client sees.
pub fn refused(refusal: &Refusal) -> Refused {
    Refused::with_status(refusal.kind().status().as_u16())
}

impl Dispatched for CoreProvider {
    type Codec = LineCodec;

    fn name(&self) -> &'static str {
        "core"
    }

    fn capabilities(&self) -> Capabilities {
        self.dispatcher.config().capabilities()
    }

    fn dispatcher(&self) -> &Arc<Dispatcher<LineCodec>> {
        &self.dispatcher
    }
}

/// Returns a record of another node, for a user that is not connected.
pub fn foreign() -> Arc<Record> {
    Arc::new(Record::of_event(EventId::random(), Target::user("nobody"), note("elsewhere")))
}

/// Returns a runtime that authenticates the visitors of the conformance suite.
pub fn runtime() -> Runtime {
    Runtime::in_memory().with_authenticator(VisitorAuthenticator).with_policy(VisitorPolicy)
}

/// Returns an event with the name `note`.
pub fn note(text: &str) -> Event {
    Event::json("note", text).unwrap()
}
