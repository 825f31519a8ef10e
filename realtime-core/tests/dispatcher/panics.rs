//! A codec that panics in the tail loop, outside of a record.

use std::sync::Arc;

use crate::support::{FaultyBackplane, LineCodec, eventually, note, runtime};
use bytes::Bytes;
use realtime_core::spi::{Codec, Cursor, Dispatcher, DispatcherConfig, SessionOutlet};
use realtime_core::{
    Capabilities, CloseReason, DeliveryConfig, Drain, Event, HandlerError, Identity, MemoryBackplane, Payload,
    RealtimeBroadcast, RefusalKind, Router,
};

/// A codec that panics for the `reconnect` frame.
struct Fragile(LineCodec);

impl Codec for Fragile {
    type Frame = Bytes;

    fn event(&self, event: &Event, cursor: Option<Cursor>) -> Bytes {
        self.0.event(event, cursor)
    }

    fn ask(&self, event: &Event, ack: u64) -> Bytes {
        self.0.ask(event, ack)
    }

    fn ack(&self, ack: u64, value: &Payload) -> Option<Bytes> {
        self.0.ack(ack, value)
    }

    fn error(&self, error: &HandlerError, ack: Option<u64>) -> Option<Bytes> {
        self.0.error(error, ack)
    }

    fn cursor(&self, cursor: Cursor) -> Bytes {
        self.0.cursor(cursor)
    }

    fn reconnect(&self, _: Drain, _: &CloseReason) -> Bytes {
        panic!("this codec panics")
    }
}

#[tokio::test(start_paused = true)]
async fn node_without_tail_loop_is_not_ready_and_rejects() {
    let config = DispatcherConfig::new("core", Capabilities::none(), DeliveryConfig::default());
    let dispatcher = Dispatcher::new(config, Fragile(LineCodec::default()), Router::new());
    let backplane = FaultyBackplane::new(MemoryBackplane::default());
    dispatcher.attach(runtime().with_backplane(backplane.clone())).await.unwrap();
    dispatcher.to_all(note("fine")).await.unwrap();
    let admitted = dispatcher.admit_as(Identity::user("bob"), &[], None, None).unwrap();
    let _registration = dispatcher.register(admitted, Arc::new(SessionOutlet::new()));
    assert!(dispatcher.is_ready());
    backplane.exchange(MemoryBackplane::default());
    eventually("the node is no longer ready", || !dispatcher.is_ready()).await;
    let refused = dispatcher.admit_as(Identity::user("ann"), &[], None, None).unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::Draining);
}
