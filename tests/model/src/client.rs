//! The clients' side of each protocol: bytes in, words and answers out. Small, strict, and without a clock.

mod http;
mod polling;
mod socketio;
mod sse;
mod ws;

use serde_json::Value;

use crate::schedule::Transport;

/// The event that a client says so that a handler hears it.
pub(crate) const HELLO: &str = "hello";

/// Something whole that a client has received.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Word {
    /// A bare place.
    Cursor(String),
    /// An event, with its place if it has one, and the number to answer with if it is an ask.
    Event { name: String, data: Value, cursor: Option<String>, ack: Option<u64> },
    /// The server has said that it ends the connection.
    Goodbye,
    /// The connection was refused, with this status or message.
    Refused(String),
    /// The answer to something that the client said with this number.
    Reply { ack: u64, ok: bool },
}

/// What reading comes to.
#[derive(Debug, Default)]
pub(crate) struct Heard {
    pub(crate) words: Vec<Word>,
    /// Bytes to be written, by lane.
    pub(crate) answers: Vec<(usize, Vec<u8>)>,
}

/// What a client wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// `user=…&tenant=…&serial=…`, for the authenticator.
    pub(crate) query: String,
    pub(crate) rooms: Vec<String>,
    pub(crate) cursor: Option<String>,
}

/// Something a client says on its connection.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    /// The answer to an ask.
    Answer { ack: u64, json: String },
    /// The event [`HELLO`].
    Hello,
    /// The client leaves, in the way its protocol has.
    Goodbye,
    /// Into a room; the server answers with this number.
    Subscribe { room: String, ack: u64 },
    /// Out of a room.
    Unsubscribe { room: String, ack: u64 },
}

/// One connection's protocol.
pub(crate) trait Protocol: Send {
    /// How many wires it uses.
    fn lanes(&self) -> usize {
        1
    }

    /// The first bytes, on the first wire.
    fn open(&mut self) -> Vec<u8>;

    /// Reads what came on a wire.
    ///
    /// # Errors
    /// What the server may never send.
    fn read(&mut self, lane: usize, bytes: &[u8], heard: &mut Heard) -> Result<(), String>;

    /// Says something.
    fn say(&mut self, say: Say) -> Vec<(usize, Vec<u8>)>;

    /// Whether part of something has come, whose rest has not.
    fn is_amid(&self) -> bool;
}

/// The protocol of a transport for a client that wants this.
pub(crate) fn protocol(transport: Transport, wish: &Wish, cursor_in_query: bool) -> Box<dyn Protocol> {
    match transport {
        Transport::Polling => Box::new(polling::Polling::new(wish)),
        Transport::SocketIo => Box::new(socketio::SocketIo::new(wish)),
        Transport::Sse => Box::new(sse::Sse::new(wish, cursor_in_query)),
        Transport::Ws => Box::new(ws::Ws::new(wish)),
    }
}

fn text(value: &Value, what: &str) -> Result<String, String> {
    value.as_str().map(str::to_owned).ok_or_else(|| format!("{what} is no text: {value}"))
}
