//! What is done in one run, and how everything is set up: all of it follows from the seed.

use std::fmt;
use std::str::FromStr;

use crate::guess::Guess;

/// By which session code the clients are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Transport {
    /// Socket.IO on long polling.
    Polling,
    /// Socket.IO on a websocket.
    SocketIo,
    /// Server-Sent Events.
    Sse,
    /// Raw WebSocket.
    Ws,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Self; 4] = [Self::Polling, Self::SocketIo, Self::Sse, Self::Ws];

    /// The name of the provider that serves it.
    pub(crate) fn provider(self) -> &'static str {
        match self {
            Self::Polling | Self::SocketIo => "socket",
            Self::Sse => "sse",
            Self::Ws => "ws",
        }
    }

    /// Whether clients can say something on their connection.
    pub(crate) fn is_bidirectional(self) -> bool {
        self != Self::Sse
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Polling => "polling",
            Self::SocketIo => "socketio",
            Self::Sse => "sse",
            Self::Ws => "ws",
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

/// A user, a tenant, a room or a client, by number.
pub(crate) type Id = u8;

/// Whose client it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) user: Option<Id>,
    pub(crate) tenant: Option<Id>,
}

/// Whom a join or a leave means: a user in every tenant, or in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) user: Id,
    pub(crate) tenant: Option<Id>,
}

impl Member {
    pub(crate) fn means(self, person: Person) -> bool {
        person.user == Some(self.user) && self.tenant.is_none_or(|tenant| person.tenant == Some(tenant))
    }
}

/// Some of the providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Providers {
    socket: bool,
    sse: bool,
    ws: bool,
}

impl Providers {
    pub(crate) const ALL: Self = Self { socket: true, sse: true, ws: true };

    /// Those that serve these transports.
    pub(crate) fn of(transports: &[Transport]) -> Self {
        let has = |name| transports.iter().any(|transport| transport.provider() == name);
        Self { socket: has("socket"), sse: has("sse"), ws: has("ws") }
    }

    pub(crate) fn names(self) -> Vec<&'static str> {
        let named = [(self.socket, "socket"), (self.sse, "sse"), (self.ws, "ws")];
        named.into_iter().filter_map(|(is_named, name)| is_named.then_some(name)).collect()
    }

    pub(crate) fn serve(self, transport: Transport) -> bool {
        match transport {
            Transport::Polling | Transport::SocketIo => self.socket,
            Transport::Sse => self.sse,
            Transport::Ws => self.ws,
        }
    }
}

/// How server, wires and clients are made.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    /// Over which each client begins, and whose provider asks and is asked by name.
    pub(crate) transport: Transport,
    /// All providers are there, and clients come back over another transport than they left.
    pub(crate) mixed: bool,
    /// The log answers appends at once.
    pub(crate) at_once: bool,
    pub(crate) persons: Vec<Person>,
    /// Rooms are for everyone, as SSE has it by default.
    pub(crate) everyone: bool,
    pub(crate) window_records: usize,
    pub(crate) window_bytes: usize,
    pub(crate) window_seconds: u64,
    pub(crate) window_keys: usize,
    pub(crate) outbox_frames: usize,
    pub(crate) outbox_bytes: usize,
    pub(crate) pipe_bytes: usize,
    pub(crate) vectored: bool,
    pub(crate) reset: bool,
}

/// Whom something is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Room(Id),
    RoomIn(Id, Id),
    Tenant(Id),
    User(Id),
    UserIn(Id, Id),
}

/// Who is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Except {
    /// The connection that this client has now.
    Client(usize),
    User(Id),
    /// A tenant and its user.
    UserIn(Id, Id),
}

/// What kind of event is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Of a series of which only the newest matters.
    Latest(Id),
    /// With an idempotency key.
    Once(Id),
    Plain,
    Volatile,
}

/// How the clients answer an ask: each by one digit of the number to the base of the answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Some time later, perhaps too late.
    Late,
    Never,
    Now,
}

/// By whom an event is sent, and over which providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The service, over all.
    All,
    /// A handler of what this client has said on its connection, over all.
    Handler(usize),
    /// The service, over these.
    Named(Providers),
    /// The provider of the schedule's transport.
    Provider,
}

/// One call of the server's side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// To a user or a room, of one tenant perhaps; which client answers how follows from the number.
    Ask {
        scope: Scope,
        seconds: u64,
        answers: u16,
    },
    Join {
        member: Member,
        room: Id,
    },
    Leave {
        member: Member,
        room: Id,
    },
    Send {
        scope: Scope,
        except: Option<Except>,
        kind: Kind,
        pad: usize,
        by: By,
    },
}

/// The place that a client presents when it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Present {
    /// With one character altered.
    Altered(usize),
    Garbage,
    /// This place in the log of now, or a part of one, which it makes up of what it knows.
    Guess(Guess, u64),
    /// A place that has not been reached, made up too.
    Future(u64),
    None,
    /// An earlier one of its own.
    Old(usize),
    Own,
    /// The one of another client.
    Stolen(usize),
    /// A place in another provider's log.
    Stranger(u64),
    /// Without its last characters.
    Truncated(usize),
}

/// How a log loses records, as when it is set back to a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// So many of the last ones, or all of them and its epoch.
    pub(crate) records: Option<u64>,
    /// So many come from another node, into the places of those that are lost.
    pub(crate) others: usize,
}

/// One thing that happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Calls at once, none of which waits for another.
    Calls(Vec<Call>),
    Connect {
        client: usize,
        present: Present,
        rooms: Vec<Id>,
        /// Milliseconds before the authenticator lets it in.
        door: u64,
    },
    /// The wire breaks when so many more bytes have passed.
    Cut {
        client: usize,
        up: bool,
        after: usize,
    },
    /// The client is gone, and nobody tells the server.
    Vanish {
        client: usize,
    },
    /// The client says goodbye.
    Goodbye {
        client: usize,
    },
    Flow {
        client: usize,
    },
    Stall {
        client: usize,
    },
    /// The client reads this many bytes at a time.
    Slow {
        client: usize,
        bytes: usize,
    },
    /// A stalled client reads so much.
    Sip {
        client: usize,
        bytes: usize,
    },
    Subscribe {
        client: usize,
        room: Id,
    },
    Unsubscribe {
        client: usize,
        room: Id,
    },
    /// The log loses records while the process runs.
    Lose(Loss),
    /// From its next connection on the client is over this transport.
    Move {
        client: usize,
        to: Transport,
    },
    /// The process ends and another one begins, with or without a drain, and with the same log or with one that has lost
    /// records.
    Restart {
        drain: Option<u64>,
        loss: Option<Loss>,
    },
    /// Everything that can happen happens, and every client that reads is looked at.
    Settle,
    /// So many milliseconds pass.
    Wait(u64),
    /// The server's tasks run for a moment.
    Yield(usize),
}

/// A whole run.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// What it was made of.
    pub seed: u64,
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

impl Schedule {
    /// The number of steps.
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether nothing is done.
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// By which transport it goes.
    pub fn transport(&self) -> Transport {
        self.setup.transport
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.setup)?;
        self.steps.iter().enumerate().try_for_each(|(number, step)| writeln!(f, "{number:3} {step:?}"))
    }
}
