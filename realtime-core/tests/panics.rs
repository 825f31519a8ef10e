//! A codec that panics in the tail loop.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod support;

use std::sync::Arc;

use bytes::Bytes;
use realtime_core::{
    Capabilities, Codec, Cursor, Dispatcher, DispatcherConfig, Error, Event, HandlerError, Identity, Payload,
    RealtimeBroadcast, RefusalKind, Router,
};
use support::{LineCodec, eventually, note, runtime};

struct Fragile(LineCodec);

impl Codec for Fragile {
    type Frame = Bytes;

    fn event(&self, event: &Event, cursor: Option<Cursor>) -> Bytes {
        assert_ne!(&event.payload().bytes()[..], b"\"break\"");
        self.0.event(event, cursor)
    }

    fn ask(&self, event: &Event, ack: u64) -> Bytes {
        self.0.ask(event, ack)
    }

    fn ack(&self, ack: u64, value: &Payload) -> Bytes {
        self.0.ack(ack, value)
    }

    fn error(&self, error: &HandlerError, ack: Option<u64>) -> Bytes {
        self.0.error(error, ack)
    }

    fn cursor(&self, cursor: Cursor) -> Bytes {
        self.0.cursor(cursor)
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_whose_tail_loop_has_ended_is_not_ready_and_lets_nobody_in() {
    let config = DispatcherConfig::new("core", Capabilities::none());
    let dispatcher = Dispatcher::new(config, Fragile(LineCodec::default()), Router::new());
    dispatcher.attach(runtime()).await.unwrap();
    dispatcher.to_all(note("fine")).await.unwrap();
    assert!(dispatcher.is_ready());
    let sent = Arc::clone(&dispatcher).to_all(note("break")).await;
    assert!(matches!(sent, Err(Error::OutcomeUnknown { .. })), "{sent:?}");
    eventually("it is noticed", || !dispatcher.is_ready()).await;
    let refused = dispatcher.admit_as(Identity::user("ann"), &[], None, None).unwrap_err();
    assert_eq!(refused.kind(), RefusalKind::Draining);
}
