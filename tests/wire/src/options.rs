//! The options of a connection.

use std::fmt;
use std::str::FromStr;

/// A protocol between client and server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Socket.IO over long polling.
    Polling,
    /// Socket.IO over a websocket.
    SocketIo,
    /// Server-Sent Events.
    Sse,
    /// Raw WebSocket.
    #[default]
    Ws,
}

/// The options of a client that connects.
#[derive(Clone, Debug, Default)]
pub struct ConnectOptions {
    /// Parameters of the URL, such as `user=a&tenant=b`; may be empty.
    pub query: String,
    /// The rooms to enter.
    pub rooms: Vec<String>,
    /// The cursor to resume from.
    pub cursor: Option<String>,
    /// `true` if an event stream sends the cursor as `Last-Event-ID`, as an `EventSource` does, and
    /// not in the query. The other transports have no such header.
    pub cursor_in_header: bool,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Self; 4] = [Self::Polling, Self::SocketIo, Self::Sse, Self::Ws];

    /// Returns the name of the provider that serves it.
    #[must_use]
    pub const fn provider(self) -> &'static str {
        match self {
            Self::Polling | Self::SocketIo => "socket",
            Self::Sse => "sse",
            Self::Ws => "ws",
        }
    }

    /// Returns whether clients can send messages on their connection.
    #[must_use]
    pub fn is_bidirectional(self) -> bool {
        self != Self::Sse
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Polling => "polling",
            Self::SocketIo => "socketio",
            Self::Sse | Self::Ws => self.provider(),
        })
    }
}

impl FromStr for Transport {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|transport| transport.to_string() == text);
        found.ok_or_else(|| format!("no transport \"{text}\": polling, socketio, sse or ws"))
    }
}

impl ConnectOptions {
    /// Returns the target of a raw transport's request: path, query and rooms, and the cursor if it
    /// is to be in the query.
    pub(crate) fn target(&self, path: &str, with_cursor: bool) -> String {
        let mut target = format!("{path}?{}", self.query);
        self.rooms.iter().for_each(|room| target += &format!("&channel={room}"));
        if let Some(cursor) = self.cursor.as_ref().filter(|_| with_cursor) {
            target += &format!("&lastEventId={cursor}");
        }
        target
    }
}
