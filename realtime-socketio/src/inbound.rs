use std::sync::Arc;

use realtime_core::HandlerError;
use socketioxide::handler::{MessageHandler, Value};
use socketioxide::socket::Socket;

use crate::engine::adapter::{DirectAdapter, Inline};
use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::packet::args::{self, Arguments, Unreadable};

/// An event from a client.
#[derive(Clone, Debug)]
pub(crate) struct Received {
    /// Its name, as the client wrote it.
    pub name: String,
    /// Its arguments.
    pub arguments: Arguments,
    /// The id to answer with ([`Encoded::ack`](crate::Encoded::ack)), if the client asked for an answer.
    pub ack: Option<i64>,
}

/// Where a client's events go, in order, called by the task that reads from the client; and its answers.
///
/// [`Inlet::accept`] must not wait. After it returned and [`Inlet::is_full`] says so, reading is
/// paused; whoever makes room calls [`EngineSession::resume`] once `is_full` is false again. A websocket
/// may still hand over what fits into its read buffer of 4 KiB (about 300 events), long polling nothing.
pub(crate) trait Inlet: Send + Sync + 'static {
    /// Takes one event.
    fn accept(&self, received: Received);

    /// Tells the client of an error in the place of one event, in order with the others.
    fn reject(&self, error: HandlerError);

    /// The client's answer to an ask of this number; called by a task of its own.
    fn answer(&self, ask: u64, answer: Result<Arguments, Unreadable>);

    /// Notes what the client did wrong, for the line in the log with which it ends.
    fn note_fault(&self, fault: &Unreadable);

    /// Returns whether reading should pause; until the connection's end, when it was asked to end.
    fn is_full(&self) -> bool;
}

/// Hands every event to the inlet, inline: socketioxide's own handlers spawn a task for each, which loses the order.
pub(crate) struct Reader {
    pub(crate) inlet: Arc<dyn Inlet>,
    pub(crate) session: Arc<EngineSession>,
    pub(crate) max_message: usize,
}

impl MessageHandler<DirectAdapter, Inline> for Reader {
    fn call(&self, _: Arc<Socket<DirectAdapter>>, value: Value, ack: Option<i64>) {
        if args::size_of(&value) > self.max_message {
            return self.session.close_for(Cause::TooLarge);
        }
        match args::read_event(value) {
            Ok((name, arguments)) => self.inlet.accept(Received { name, arguments, ack }),
            Err(error @ Unreadable::AckId) => {
                self.inlet.reject(HandlerError::new("invalid_envelope", error.to_string()));
            }
            Err(error @ Unreadable::Malformed(_)) => {
                self.inlet.note_fault(&error);
                return self.session.close_for(Cause::Malformed);
            }
        }
        if self.inlet.is_full() {
            self.session.pause();
            // Room may have been made between the two lines above.
            if !self.inlet.is_full() {
                self.session.resume();
            }
        }
    }
}
