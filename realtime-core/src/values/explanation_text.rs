//! The text of an explanation.

use std::fmt::{Display, Formatter, Result};
use std::sync::Arc;

use crate::values::close::CloseReason;
use crate::values::explanation::{Explained, ExplainedEnd, Explanation, Published};
use crate::values::fate::{Acknowledgement, Answer, DropReason, Fate, Mismatch, Unknown};
use crate::values::node::NodeId;
use crate::values::target::{Scope, Target};

impl Display for Explanation {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match &self.published {
            Some(published) => writeln!(f, "event {} {}", self.event, Sent(self, published))?,
            None => match self.event.created_ms() {
                Some(at) => writeln!(f, "event {} of {}: not known", self.event, Utc(at))?,
                None => writeln!(f, "event {}: not known", self.event)?,
            },
        }
        let answered = self.nodes.iter().filter(|node| node.answered).count();
        write!(f, "user {:?}", self.user)?;
        if let Some(tenant) = &self.tenant {
            write!(f, " of tenant {tenant:?}")?;
        }
        let of = self.nodes.len();
        match self.connections.len() {
            0 => write!(f, ": no connection is known on any of the {answered} nodes that answered, of {of}")?,
            1 => write!(f, ": 1 connection known; {answered} of {of} nodes answered")?,
            number => write!(f, ": {number} connections known; {answered} of {of} nodes answered")?,
        }
        for connection in &self.connections {
            write!(f, "\n- {}\n  {}", Verdict(connection), Connected(self, connection))?;
        }
        for unknown in &self.unknown {
            write!(f, "\n? {unknown}")?;
        }
        Ok(())
    }
}

/// The send of an event.
struct Sent<'a>(&'a Explanation, &'a Published);

impl Display for Sent<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self(explanation, published) = self;
        let Published { name, position, size, .. } = published;
        let what = if published.is_ask { "asked" } else { "sent to" };
        write!(f, "{name:?}, position {position}, {size} bytes\n  {what} {}", Recipients(&published.target))?;
        match &published.providers {
            Some(names) => write!(f, " over {}", names.join(", "))?,
            None => f.write_str(" over all providers")?,
        }
        write!(f, " by node {}", Named(explanation, published.node))?;
        published.at_ms.map_or(Ok(()), |at| write!(f, " at {}", Utc(at)))
    }
}

/// The recipients of an event.
struct Recipients<'a>(&'a Target);

impl Display for Recipients<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let of = |tenant: &Option<Arc<str>>| {
            tenant.as_ref().map(|tenant| format!(" of tenant {tenant:?}")).unwrap_or_default()
        };
        match self.0.scope() {
            Scope::All => f.write_str("everyone")?,
            Scope::Connection(id) => write!(f, "connection {id}")?,
            Scope::Room { name, tenant } => write!(f, "room {name:?}{}", of(tenant))?,
            Scope::Tenant(name) => write!(f, "tenant {name:?}")?,
            Scope::User { name, tenant } => write!(f, "user {name:?}{}", of(tenant))?,
        }
        if !self.0.has_exceptions() {
            return Ok(());
        }
        let (connections, users) = (self.0.except_connections(), self.0.except_users());
        let names = connections.map(|id| format!("connection {id}"));
        let users = users.map(|(tenant, user)| match tenant {
            None => format!("user {user:?}"),
            Some(tenant) => format!("user {user:?} of tenant {tenant:?}"),
        });
        write!(f, " except {}", names.chain(users).collect::<Vec<_>>().join(", "))
    }
}

/// A node by its name, if it is known.
struct Named<'a>(&'a Explanation, NodeId);

impl Display for Named<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self.0.nodes.iter().find(|known| known.node.id == self.1) {
            Some(known) => known.node.fmt(f),
            None => self.1.fmt(f),
        }
    }
}

/// The description of one connection, in two or three lines.
struct Connected<'a>(&'a Explanation, &'a Explained);

impl Display for Connected<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let Self(explanation, known) = self;
        write!(f, "{} {}", known.provider, known.connection)?;
        if let Some(tenant) = &known.tenant {
            write!(f, " of tenant {tenant:?}")?;
        }
        write!(f, " at node {}", Named(explanation, known.node))?;
        if let Some(address) = known.address {
            write!(f, " from {address}")?;
        }
        write!(f, "\n  open since {}", Utc(known.connected_ms))?;
        match &*known.began {
            "new" => {}
            "resumed" => write!(f, ", resumed after {}", known.from)?,
            reason => write!(f, ", not resumed ({reason})")?,
        }
        write!(f, ", taken up to {}", known.taken)?;
        if known.dropped > 0 {
            write!(f, ", {} volatile events dropped", known.dropped)?;
        }
        if let Some(ExplainedEnd { at_ms, reason, .. }) = &known.end {
            let asked = if known.reconnect && *reason == CloseReason::RESTART { ", asked to reconnect" } else { "" };
            write!(f, "\n  ended {}: {reason}{asked}", Utc(*at_ms))?;
        }
        Ok(())
    }
}

/// The outcome of the event for one connection.
struct Verdict<'a>(&'a Explained);

impl Display for Verdict<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let known = self.0;
        known.fate.fmt(f)?;
        if known.replayed && !matches!(known.fate, Fate::NotMatched { .. } | Fate::Unknown { .. }) {
            f.write_str(", as a replay")?;
        }
        match known.answer {
            None | Some(Answer::Received) => Ok(()),
            Some(Answer::Missing) => f.write_str(", no answer"),
            Some(Answer::Unknown) => f.write_str(", whether it was answered is no longer known"),
            Some(Answer::Unreadable) => f.write_str(", the answer could not be read"),
            Some(Answer::Waiting) => f.write_str(", an answer is awaited"),
        }
    }
}

impl Display for Fate {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Acknowledged { by: Acknowledgement::Answered } => f.write_str("ANSWERED"),
            Self::Acknowledged { by: Acknowledgement::Resumed(connection) } => {
                write!(f, "ARRIVED: its client resumed from after it, as {connection}")
            }
            Self::Dropped { why } => write!(f, "DROPPED: {why}"),
            Self::NotMatched { why } => write!(f, "NOT ADDRESSED: {why}"),
            Self::Queued => f.write_str("QUEUED: the client has not read so far"),
            Self::Superseded => f.write_str("SUPERSEDED by a newer event of its series"),
            Self::Unknown { why } => write!(f, "NOT KNOWN: {why}"),
            Self::Written => f.write_str("WRITTEN to the connection"),
        }
    }
}

impl Display for DropReason {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        match self {
            Self::Closed => f.write_str("the connection ended before the event was written"),
            Self::Lost { from, until } => {
                write!(f, "it left the window first; the client was notified that {from} to {until} are lost")
            }
            Self::TooLarge => {
                f.write_str("too large for the connection: earlier ones were lost within it; the client was notified")
            }
        }
    }
}

impl Display for Mismatch {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        f.write_str(match self {
            Self::ConnectedLater => "it was not connected yet, and did not resume from before the event",
            Self::EndedBefore => "it had ended before the event",
            Self::Excepted => "it was excluded by the sender",
            Self::NotAsked => "it was not connected yet, and asks are not repeated",
            Self::Provider => "the event is not for this provider",
            Self::ResumedLater => "it resumed from after the event",
            Self::Room => "it was not in the room then",
            Self::Tenant => "another tenant",
            Self::User => "another user",
        })
    }
}

impl Display for Unknown {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let text = match self {
            Self::AskTime => "the ask may have been over before the client read so far",
            Self::Closing => "the connection is being closed",
            Self::Directory => "the directory did not answer, so other nodes were not asked",
            Self::Epoch => "the connection is of another epoch of the log",
            Self::Event => "the event is not known",
            Self::Log => "the log did not answer",
            Self::More { node, connections } => {
                return write!(f, "node {node} has {connections} more, older connections of the user");
            }
            Self::NodeStarted { node, at_ms } => {
                return write!(f, "connections that ended before node {node} started, at {}", Utc(*at_ms));
            }
            Self::NotAnEvent => "the id is not that of an event that this node can read",
            Self::NotInLog { since_ms } => {
                let since = since_ms.map(|since| format!(", whose oldest record is of {}", Utc(since)));
                let since = since.unwrap_or_default();
                return write!(
                    f,
                    "the event is not in the log{since}: volatile, for one connection, no longer there, or never sent"
                );
            }
            Self::NotKept { node } => return write!(f, "node {node} does not keep connections that have ended"),
            Self::NotRead => "its node has not read the event yet",
            Self::Omissions => "the connection lost or left out more than is kept",
            Self::Overwritten { node, until_ms } => {
                return write!(f, "node {node} has forgotten connections that ended up to {}", Utc(*until_ms));
            }
            Self::PublisherGone => {
                "the publisher is not, or no longer, a known node: connections that it had, if any, are not known"
            }
            Self::Rooms => "its rooms at that time are no longer known",
            Self::Search => "the event was not found in the time, or among the records, of a search",
            Self::Silent { node } => return write!(f, "node {node} did not answer in time"),
            Self::Version { node } => return write!(f, "node {node} is of a version that cannot be asked"),
        };
        f.write_str(text)
    }
}

/// A time in milliseconds since 1970, in UTC.
struct Utc(u64);

impl Display for Utc {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (seconds, millis) = (self.0 / 1_000, self.0 % 1_000);
        let (days, second) = (seconds / 86_400, seconds % 86_400);
        // Years that begin in March, in eras of 400 years, so that the leap day is the last one.
        let day = days + 719_468;
        let (era, day) = (day / 146_097, day % 146_097);
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
        let year = year + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
        write!(f, "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{millis:03}Z")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::connection::ConnectionId;
    use crate::values::event_id::EventId;
    use crate::values::node::NodeInfo;
    use crate::values::position::Position;

    #[test]
    fn times_are_those_of_the_calendar() {
        let times = [0, 951_782_399_999, 951_782_400_000, 1_735_689_599_000, 4_102_444_800_001];
        let text = [
            "1970-01-01 00:00:00.000Z",
            "2000-02-28 23:59:59.999Z",
            "2000-02-29 00:00:00.000Z",
            "2024-12-31 23:59:59.000Z",
            "2100-01-01 00:00:00.001Z",
        ];
        assert_eq!(times.map(|time| Utc(time).to_string()), text);
    }

    #[test]
    fn text_says_what_happened_line_by_line() {
        let node = NodeInfo::new(NodeId::random()).with_name("a");
        let silent = NodeInfo::new(NodeId::random()).with_name("b");
        let target = Target::room_in("acme", "lobby").except_user("bob");
        let (event, connection) = (EventId::from_bytes([7; 16]), ConnectionId::random());
        let at = Position::new(7);
        let fate = Fate::Dropped { why: DropReason::Closed };
        let explanation = Explanation::new(event, "ann", Some("acme"))
            .with_published(Published::new("note", at, node.id, target))
            .with_node(node.clone(), true)
            .with_node(silent.clone(), false)
            .with_connection(Explained::new(node.id, connection, "ws", Position::new(3), fate).with_end(
                1_000,
                at,
                CloseReason::CONNECTION_LOST,
            ))
            .with_unknown(Unknown::Silent { node: silent });
        let expected = [
            format!("event {event} \"note\", position 7, 0 bytes"),
            "  sent to room \"lobby\" of tenant \"acme\" except user \"bob\" over all providers by node a".to_owned(),
            "user \"ann\" of tenant \"acme\": 1 connection known; 1 of 2 nodes answered".to_owned(),
            "- DROPPED: the connection ended before the event was written".to_owned(),
            format!("  ws {connection} at node a"),
            "  open since 1970-01-01 00:00:00.000Z, taken up to 3".to_owned(),
            "  ended 1970-01-01 00:00:01.000Z: connection lost (1006)".to_owned(),
            "? node b did not answer in time".to_owned(),
        ];
        assert_eq!(explanation.to_string(), expected.join("\n"));
        assert!(!explanation.reached());
    }
}
