use std::sync::Arc;

use realtime_core::HandlerError;
use socketioxide::handler::{MessageHandler, Value};
use socketioxide::socket::Socket;

use crate::engine::adapter::{DirectAdapter, Inline};
use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::packet::args::{self, Arguments, Unreadable};

/// Event from a client.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// The event's name, as the client wrote it.
    pub name: String,
    /// The event's arguments.
    pub arguments: Arguments,
    /// The id to answer with ([`Encoded::ack`](crate::packet::encoded::Encoded::ack)), if the
    /// client asked for an answer.
    pub ack: Option<i64>,
    /// The bytes of its packet, attachments included.
    pub size: usize,
}

/// Receiver of a client's events, in order, and of its answers. Called by the task that reads from
/// the client.
///
/// [`EventSink::receive`] must not wait. If [`EventSink::is_full`] afterwards, reading is paused,
/// and has to be resumed by [`EngineSession::resume`] once the sink has room again. A websocket may
/// still deliver what is in its read buffer of 4 KiB (about 300 events), long polling nothing.
pub(crate) trait EventSink: Send + Sync + 'static {
    /// Receives one event.
    fn receive(&self, received: Received);

    /// Sends the client an error instead of receiving one event of so many bytes, in order with the
    /// others.
    fn reject(&self, error: HandlerError, size: usize);

    /// Receives the client's answer to the ask with this number. Called by a separate task.
    fn answer(&self, ask: u64, answer: Result<Arguments, Unreadable>);

    /// Notes a fault of the client, for the log line of the connection's end.
    fn note_fault(&self, fault: &Unreadable);

    /// Returns whether reading should pause. A closed connection's sink stays full.
    fn is_full(&self) -> bool;
}

/// Message handler that passes every event to the sink, inline: socketioxide's own handlers spawn a
/// task for each, which loses the order.
pub(crate) struct Reader {
    pub(crate) events: Arc<dyn EventSink>,
    pub(crate) session: Arc<EngineSession>,
    pub(crate) max_message: usize,
}

impl MessageHandler<DirectAdapter, Inline> for Reader {
    fn call(&self, _: Arc<Socket<DirectAdapter>>, value: Value, ack: Option<i64>) {
        let size = args::size_of(&value);
        if size > self.max_message {
            return self.session.close_for(Cause::TooLarge);
        }
        match args::read_event(value) {
            Ok((name, arguments)) => self.events.receive(Received { name, arguments, ack, size }),
            Err(error @ Unreadable::AckId) => {
                self.events.reject(HandlerError::new("invalid_envelope", error.to_string()), size);
            }
            Err(error @ Unreadable::Malformed(_)) => {
                self.events.note_fault(&error);
                return self.session.close_for(Cause::Malformed);
            }
        }
        if self.events.is_full() {
            self.session.pause();
            // The handlers may have made room between the two lines above.
            if !self.events.is_full() {
                self.session.resume();
            }
        }
    }
}
