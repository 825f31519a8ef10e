//! The schedule of a run with several nodes: the setup, and the steps one after the other.

use std::fmt;

use crate::schedule::write_steps;

/// The number of a user, a tenant or a room.
pub(crate) type Id = u8;

/// A client's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Who {
    pub(crate) user: Id,
    pub(crate) tenant: Option<Id>,
}

/// The recipients of an event, an ask or a close.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum To {
    All,
    Room(Id),
    RoomIn(Id, Id),
    Tenant(Id),
    User(Id),
    UserIn(Id, Id),
}

/// A fault of an append.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// There is no answer, and the record is appended later.
    Late,
    /// There is no answer, and the record is not appended.
    NoReply,
    /// There is no answer, and the record is appended.
    AppliedNoReply,
    /// The broker answers that it has not appended the record.
    Refused,
    /// The connection breaks before the append.
    Unknown,
    /// The connection breaks after the append.
    UnknownThoughTaken,
}

impl Fault {
    pub(crate) const ALL: [Self; 6] =
        [Self::Late, Self::NoReply, Self::AppliedNoReply, Self::Refused, Self::Unknown, Self::UnknownThoughTaken];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Late => "append without an answer, and late",
            Self::NoReply => "append without an answer, and lost",
            Self::AppliedNoReply => "append without an answer, though taken",
            Self::Refused => "append refused by the broker",
            Self::Unknown => "append with an unknown outcome, and lost",
            Self::UnknownThoughTaken => "append with an unknown outcome, though taken",
        }
    }
}

/// The cursor that a client presents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Present {
    /// None, as a new client.
    None,
    /// An earlier one of its own.
    Old(usize),
    /// The one of the last frame.
    Own,
}

/// One step. A node is named by its place, which another process has after a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A client is admitted, and registered by a later step if it is `late`.
    Connect {
        client: usize,
        node: usize,
        present: Present,
        late: bool,
    },
    /// The admitted client is registered.
    Enter {
        client: usize,
    },
    /// A client's connection is lost.
    Disconnect {
        client: usize,
    },
    /// All connections of a user are lost.
    DisconnectUser {
        user: Id,
    },
    /// An event; with a key it is sent again at `retry` until its outcome is known.
    Send {
        node: usize,
        to: To,
        key: bool,
        retry: usize,
    },
    /// A known key with its event, once more.
    Repeat {
        node: usize,
        back: usize,
    },
    Room {
        node: usize,
        user: Id,
        tenant: Option<Id>,
        room: Id,
        enter: bool,
    },
    Ask {
        node: usize,
        to: To,
        seconds: u64,
    },
    Close {
        node: usize,
        to: To,
    },
    /// The delays of a node's appends and of its tail, in milliseconds.
    Delay {
        node: usize,
        append: u64,
        tail: u64,
    },
    /// The next appends of a node fail.
    Fail {
        node: usize,
        fault: Fault,
        appends: usize,
    },
    /// The next messages between nodes that this one sends are lost.
    LoseMessages {
        node: usize,
        messages: usize,
    },
    /// The next reads of a node fail.
    FailReads {
        node: usize,
        reads: usize,
    },
    /// A node cannot reach the broker, or can again.
    Cut {
        node: usize,
        up: bool,
    },
    /// No node can reach the broker, or all can again.
    CutAll {
        up: bool,
    },
    /// A node cannot reach the directory, or can again.
    CutDirectory {
        node: usize,
        up: bool,
    },
    LoseDirectory,
    /// The log loses its last records, or all and its epoch.
    Lose {
        records: Option<usize>,
    },
    /// Every node is killed, and as many others begin with a log that has lost its last records.
    RestartAll {
        records: usize,
    },
    Start {
        node: usize,
    },
    Stop {
        node: usize,
    },
    Kill {
        node: usize,
    },
    /// Every fault ends, everything comes to rest, and all is checked.
    Settle,
    /// Milliseconds pass.
    Wait(u64),
}

/// The sizes of a run.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) nodes: usize,
    pub(crate) clients: Vec<Who>,
    /// The answers of clients to asks: after this many milliseconds, or never.
    pub(crate) answers: Vec<Option<u64>>,
    pub(crate) window_records: usize,
    /// The window's age, and the time after which absence counts, in seconds.
    pub(crate) age: u64,
}

/// A complete run with several nodes.
#[derive(Clone, Debug)]
pub struct NodesSchedule {
    /// The seed that it follows from.
    pub seed: u64,
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

impl fmt::Display for NodesSchedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_steps(f, &self.setup, &self.steps)
    }
}
