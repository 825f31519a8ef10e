use std::future::poll_fn;
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use realtime_core::spi::{Admitted, Codec, Dispatcher, Link, Registration, SessionOutlet, Take};
use realtime_core::{CloseReason, Inbound, InboundPayload};
use realtime_testkit::conformance::{ClientUnderTest, Ended, Received};
use serde_json::Value;
use tokio::sync::mpsc;

use super::{LineCodec, parse};

/// What comes from the server.
pub enum Wire {
    Frame(Bytes),
    Close(u16),
}

/// What the client sends.
pub enum Message {
    Event(Inbound),
    Answer(u64, InboundPayload),
}

/// A client whose wire is a channel that holds one frame.
pub struct Client {
    wire: mpsc::Receiver<Wire>,
    /// `None` where clients cannot send.
    sender: Option<mpsc::Sender<Message>>,
    /// Ends the connection when dropped, for connections into a sink.
    link: Option<Link>,
}

const BATCH_BYTES: usize = 16 * 1024;

impl Client {
    /// A connection through `connect_sink`.
    pub fn by_sink(dispatcher: &Arc<Dispatcher<LineCodec>>, admitted: Admitted) -> Self {
        let (out, wire) = mpsc::channel(1);
        let sink =
            futures_util::sink::unfold(
                out,
                |out, frame| async move { out.send(Wire::Frame(frame)).await.map(|()| out) },
            );
        let link = dispatcher.connect_sink(admitted, sink, Bytes::clone);
        Self { wire, sender: None, link: Some(link) }
    }

    /// A connection with a session as a transport has one: both directions.
    pub fn by_session(dispatcher: &Arc<Dispatcher<LineCodec>>, admitted: Admitted) -> Self {
        let (out, wire) = mpsc::channel(1);
        let (sender, inbound) = mpsc::channel(1);
        let outlet = Arc::new(SessionOutlet::new());
        let registration = dispatcher.register(admitted, Arc::clone(&outlet) as _);
        tokio::spawn(async move {
            let reason = tokio::select! {
                reason = write(&registration, &outlet, out) => reason,
                () = read(&registration, inbound) => CloseReason::CONNECTION_LOST,
            };
            registration.leave(reason);
        });
        Self { wire, sender: Some(sender), link: None }
    }

    pub fn link(&self) -> &Link {
        self.link.as_ref().unwrap()
    }

    pub async fn tell(&self, message: Message) {
        // The connection may be gone: then the wire tells.
        let _ = self.sender.as_ref().unwrap().send(message).await;
    }
}

async fn write(registration: &Registration<LineCodec>, outlet: &SessionOutlet, out: mpsc::Sender<Wire>) -> CloseReason {
    let mut frames = Vec::new();
    loop {
        let take = poll_fn(|cx| outlet.poll_take(registration, cx, BATCH_BYTES, &mut frames)).await;
        for frame in frames.drain(..) {
            if out.send(Wire::Frame(frame)).await.is_err() {
                return CloseReason::CONNECTION_LOST;
            }
        }
        if let Take::Closed(reason) = take {
            let _ = out.send(Wire::Close(reason.code())).await;
            return reason;
        }
    }
}

async fn read<C: Codec>(registration: &Registration<C>, mut inbound: mpsc::Receiver<Message>) {
    while let Some(message) = inbound.recv().await {
        match message {
            Message::Event(inbound) => {
                if !registration.receive(inbound) {
                    poll_fn(|cx| registration.poll_room(cx)).await;
                }
            }
            Message::Answer(ack, payload) => {
                registration.answer(ack, payload);
            }
        }
    }
}

#[async_trait]
impl ClientUnderTest for Client {
    async fn next(&mut self) -> Result<Received, Ended> {
        match self.wire.recv().await {
            Some(Wire::Frame(frame)) => Ok(parse(&frame)),
            Some(Wire::Close(code)) => Err(Ended { code: Some(code) }),
            None => Err(Ended::default()),
        }
    }

    async fn send(&mut self, name: &str, payload: &Value, ack: Option<u64>) {
        let mut inbound = Inbound::new(name, payload.to_string());
        inbound.ack = ack;
        self.tell(Message::Event(inbound)).await;
    }

    async fn answer(&mut self, ack: u64, payload: &Value) {
        self.tell(Message::Answer(ack, InboundPayload::json_text(payload.to_string()))).await;
    }
}
