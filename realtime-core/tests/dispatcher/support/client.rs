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

/// A frame or a close from the server.
pub enum Wire {
    Frame(Bytes),
    Close(u16),
}

/// A message from the client.
pub enum Message {
    Event(Inbound),
    Answer(u64, InboundPayload),
}

/// A client whose connection is a channel with room for one frame.
pub struct Client {
    wire: mpsc::Receiver<Wire>,
    /// The channel to the server; `None` for connections over which clients cannot send.
    sender: Option<mpsc::Sender<Message>>,
    /// The link of a connection into a sink; closes the connection when dropped.
    link: Option<Link>,
}

const BATCH_BYTES: usize = 16 * 1024;

impl Client {
    /// Connects through `connect_sink`.
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

    /// Connects through a session in both directions, like a transport.
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

    /// Returns the link of a connection into a sink.
    pub fn link(&self) -> &Link {
        self.link.as_ref().unwrap()
    }

    /// Sends a message to the server; does nothing if the connection is closed.
    pub async fn send_message(&self, message: Message) {
        // A closed connection shows up as the end of `wire`.
        let _ = self.sender.as_ref().unwrap().send(message).await;
    }
}

/// Writes the frames of a connection to its client until the connection is closed.
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

/// Passes the messages of a client to the dispatcher until the client disconnects.
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
            Some(Wire::Close(code)) => Err(Ended::new(Some(code))),
            None => Err(Ended::default()),
        }
    }

    async fn send(&mut self, name: &str, payload: &Value, ack: Option<u64>) {
        let mut inbound = Inbound::new(name, payload.to_string());
        inbound.ack = ack;
        self.send_message(Message::Event(inbound)).await;
    }

    async fn answer(&mut self, ack: u64, payload: &Value) {
        self.send_message(Message::Answer(ack, InboundPayload::json_text(payload.to_string()))).await;
    }
}
