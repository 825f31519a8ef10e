//! A schedule: the setup and the steps of one run. All of it follows from the seed.

use std::fmt;

use realtime_wire::Transport;

use crate::forgery::Forgery;
use crate::pipe::PipeConfig;

/// The number of a user, a tenant, a room or a client.
pub(crate) type Id = u8;

/// The user and the tenant of a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) user: Option<Id>,
    pub(crate) tenant: Option<Id>,
}

/// The user of a join or a leave: in every tenant, or in one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) user: Id,
    pub(crate) tenant: Option<Id>,
}

impl Member {
    pub(crate) fn matches(self, identity: Identity) -> bool {
        identity.user == Some(self.user) && self.tenant.is_none_or(|tenant| identity.tenant == Some(tenant))
    }
}

/// A set of providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Providers([bool; 3]);

impl Providers {
    pub(crate) const ALL: Self = Self([true; 3]);
    const NAMES: [&str; 3] = ["socket", "sse", "ws"];

    /// Returns the providers that serve these transports.
    pub(crate) fn of(transports: &[Transport]) -> Self {
        Self(Self::NAMES.map(|name| transports.iter().any(|transport| transport.provider() == name)))
    }

    pub(crate) fn names(self) -> Vec<&'static str> {
        self.0.into_iter().zip(Self::NAMES).filter_map(|(is_named, name)| is_named.then_some(name)).collect()
    }

    pub(crate) fn serve(self, transport: Transport) -> bool {
        self.0.into_iter().zip(Self::NAMES).any(|(is_named, name)| is_named && name == transport.provider())
    }
}

/// The configuration of server, connections and clients.
#[derive(Clone, Debug, Default)]
pub(crate) struct Setup {
    /// The transport that each client begins with; its provider is the one that asks, and whose own
    /// traits are used.
    pub(crate) transport: Transport,
    /// `true` if every provider is attached, and clients reconnect over another transport.
    pub(crate) mixed: bool,
    /// `true` if the log answers appends immediately.
    pub(crate) at_once: bool,
    /// The identity of each client.
    pub(crate) identities: Vec<Identity>,
    /// `true` if events to rooms go to everyone, as SSE does by default.
    pub(crate) everyone: bool,
    pub(crate) window_records: usize,
    pub(crate) window_bytes: usize,
    pub(crate) window_seconds: u64,
    pub(crate) window_keys: usize,
    pub(crate) outbox_frames: usize,
    pub(crate) outbox_bytes: usize,
    /// The connections.
    pub(crate) pipe: PipeConfig,
}

/// The target of an event or an ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    All,
    Room(Id),
    /// A tenant and its room.
    RoomIn(Id, Id),
    Tenant(Id),
    User(Id),
    /// A tenant and its user.
    UserIn(Id, Id),
}

/// The exception of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Except {
    /// The current connection of this client.
    Client(usize),
    User(Member),
}

/// The kind of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An event of a series of which only the newest matters.
    Latest(Id),
    /// An event with an idempotency key.
    Once(Id),
    Plain,
    Volatile,
}

impl Kind {
    /// Returns the event's name.
    pub(crate) fn name(self) -> &'static str {
        if self == Self::Volatile { "v" } else { "e" }
    }
}

/// The way a client answers an ask: for each client one digit of a number to the base of the
/// answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// Some time later, perhaps too late.
    Late,
    Never,
    Now,
}

/// The sender of an event, and with it the providers that the event goes over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// The service, over all providers.
    All,
    /// A handler of an event from this client, over all providers.
    Handler(usize),
    /// The service, over these providers.
    Named(Providers),
    /// The provider of the schedule's transport.
    Provider,
}

/// One call of the application.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Call {
    /// An ask to a user or a room, perhaps of one tenant; `answers` says how each client answers.
    Ask { scope: Scope, seconds: u64, answers: u16 },
    /// A user enters a room, or leaves it.
    Room { member: Member, room: Id, enter: bool },
    /// An event.
    Send { scope: Scope, except: Option<Except>, kind: Kind, pad: usize, by: By },
}

/// The cursor that a client presents when it connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Present {
    /// The client's own, with one character altered.
    Altered(usize),
    /// A forged one, made of this position or a part of one and what the client knows.
    Forged(Forgery, u64),
    /// A forged one, whose position has not been reached.
    Future(u64),
    Garbage,
    None,
    /// An earlier one of its own.
    Old(usize),
    /// A forged one with another epoch.
    OtherEpoch(u64),
    Own,
    /// The one of another client.
    Stolen(usize),
    /// The client's own, without its last characters.
    Truncated(usize),
}

/// A loss of records, as when a log is restored from a backup.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Loss {
    /// The number of last records that are lost; all of them and the epoch if `None`.
    pub(crate) records: Option<u64>,
    /// The number of records that another node then writes at the positions of the lost ones.
    pub(crate) others: usize,
}

/// One step of a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Calls at the same time, none of which waits for another.
    Calls(Vec<Call>),
    /// The client disconnects in its protocol's way.
    Close { client: usize },
    /// The client connects; the authenticator takes `delay` milliseconds.
    Connect { client: usize, present: Present, rooms: Vec<Id>, delay: u64 },
    /// The connection breaks when this many more bytes have passed, to the server or to the client.
    Disconnect { client: usize, up: bool, after: usize },
    /// The log loses records while the process runs.
    Lose(Loss),
    /// The client uses this transport from its next connection on.
    Move { client: usize, to: Transport },
    /// The client reads everything.
    ReadAll { client: usize },
    /// A stalled client reads this many bytes.
    ReadSome { client: usize, bytes: usize },
    /// The client asks to enter or exit a room.
    Room { client: usize, room: Id, enter: bool },
    /// The process ends and another one starts, with or without a drain, and with the same log or
    /// with one that has lost records.
    Restart { drain: Option<u64>, loss: Option<Loss> },
    /// Everything that is under way comes to rest, and every client that reads is checked.
    Settle,
    /// The client reads this many bytes at a time.
    Slow { client: usize, bytes: usize },
    /// The client stops reading.
    Stall { client: usize },
    /// The client is gone, and the server is not notified.
    Vanish { client: usize },
    /// This many milliseconds pass.
    Wait(u64),
    /// The server's tasks run for a moment.
    Yield(usize),
}

/// A complete run.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// The seed that it follows from.
    pub seed: u64,
    pub(crate) setup: Setup,
    pub(crate) steps: Vec<Step>,
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_steps(f, &self.setup, &self.steps)
    }
}

/// Writes the sizes of a run, and its steps with their numbers.
pub(crate) fn write_steps<S: fmt::Debug>(
    f: &mut fmt::Formatter<'_>,
    setup: &dyn fmt::Debug,
    steps: &[S],
) -> fmt::Result {
    writeln!(f, "{setup:?}")?;
    steps.iter().enumerate().try_for_each(|(number, step)| writeln!(f, "{number:3} {step:?}"))
}
