//! The situations that schedules have reached.

use std::collections::BTreeMap;
use std::fmt;

use realtime_wire::Transport;

/// The number of times that each situation has been reached, by transport.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Coverage(BTreeMap<(&'static str, Transport), u64>);

impl Coverage {
    pub(crate) fn add(&mut self, transport: Transport, what: &'static str, times: u64) {
        *self.0.entry((what, transport)).or_default() += times;
    }

    /// Adds the counts of another run.
    pub fn merge(&mut self, other: &Self) {
        for ((what, transport), times) in &other.0 {
            self.add(*transport, what, *times);
        }
    }

    /// Returns how often a situation has been reached on a transport.
    pub fn count(&self, what: &str, transport: Transport) -> u64 {
        self.0.iter().find(|((name, on), _)| *name == what && *on == transport).map_or(0, |(_, times)| *times)
    }

    /// Returns the situations that must be reached on these transports and never were.
    pub fn missing(&self, transports: &[Transport]) -> Vec<String> {
        let everywhere = EVERYWHERE.iter().map(|what| (*what, false));
        let both_ways = BOTH_WAYS.iter().map(|what| (*what, true));
        let wanted = everywhere.chain(both_ways).flat_map(|(what, both_ways)| {
            transports.iter().filter(move |on| !both_ways || on.is_bidirectional()).map(move |on| (what, *on))
        });
        let websockets = [Transport::SocketIo, Transport::Ws].map(|on| ("event skipped", on));
        // Socket.IO has 64 packets under way before it is behind, more than these windows have
        // records: there it is rare.
        let others = [Transport::Sse, Transport::Ws].map(|on| ("lost by other providers' positions", on));
        let some = websockets.into_iter().chain(others);
        let wanted = wanted.chain(some.filter(|(_, on)| transports.contains(on)));
        wanted.filter(|(what, on)| self.count(what, *on) == 0).map(|(what, on)| format!("{what} ({on})")).collect()
    }
}

/// The situations that every transport reaches.
const EVERYWHERE: [&str; 80] = [
    "connected while the log began a new life",
    "connected: epoch",
    "connected: epoch, for its record is gone",
    "connected: expired",
    "connected: expired by absence",
    "connected: invalid",
    "connected: invalid, forged in this epoch",
    "connected: new",
    "connected: resumed",
    "connected: resumed at another process",
    "disconnected within a message",
    "disconnected between messages",
    "disconnected while sending",
    "drained restart",
    "event",
    "event of a handler, over all transports",
    "event of another node",
    "event over all transports",
    "event over one transport",
    "event over two transports",
    "event seen after a resume",
    "event superseded",
    "event to a room",
    "event to a room of a tenant",
    "event to a room, after the viewer left it",
    "event to a tenant",
    "event to a user",
    "event to a user of a tenant",
    "event to all",
    "event with a latest key",
    "event with an exception",
    "event with an idempotency key",
    "expired over another transport",
    "expired over another transport, by positions",
    "idempotency key of another event",
    "left for another transport, and resumed",
    "log rolled back",
    "log rolled back and filled again",
    "log wiped",
    "lost",
    "lost where other providers' records are between",
    "forged cursor: a bit turned",
    "forged cursor: another MAC",
    "forged cursor: another position",
    "forged cursor: another record",
    "forged cursor: no MAC",
    "forged cursor: older format",
    "forged cursor: too short",
    "membership ended by absence",
    "membership within a tenant ended by absence",
    "overflow",
    "cursor of another client",
    "cursor of another identity",
    "cursor without an event",
    "rejected: room",
    "repeat of an idempotency key",
    "restart with a log that was rolled back",
    "restart with another log",
    "restart with the same log",
    "restart without a drain",
    "resumed at the end of a quiet log",
    "resumed from another transport",
    "resumed over another transport, at a record not for it",
    "resumed over another transport, in a trimmed window",
    "room joined",
    "room joined within a tenant",
    "room left",
    "room left within a tenant",
    "room named when connecting",
    "closed for a new epoch",
    "shut out of a bare membership",
    "reconnect delay received",
    "vanished",
    "volatile event",
    "window exceeded by age",
    "window exceeded by bytes",
    "window exceeded by count",
    "window exceeded by one provider's bytes",
    "window exceeded by one provider's count",
    "window exceeded by other providers' positions",
];

/// The situations of transports whose clients can send.
const BOTH_WAYS: [&str; 8] = [
    "ask",
    "ask answered",
    "ask gone",
    "ask timed out",
    "closed by the client",
    "room entered",
    "room entry denied",
    "room exited",
];

impl fmt::Display for Coverage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut names: Vec<&str> = self.0.keys().map(|(what, _)| *what).collect();
        names.dedup();
        write!(f, "{:52}", "")?;
        Transport::ALL.iter().try_for_each(|on| write!(f, "{:>10}", on.to_string()))?;
        writeln!(f)?;
        for what in names {
            write!(f, "{what:52}")?;
            Transport::ALL.iter().try_for_each(|on| write!(f, "{:>10}", self.count(what, *on)))?;
            writeln!(f)?;
        }
        Ok(())
    }
}
