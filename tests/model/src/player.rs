//! One client: its reading pace, its memory, and its connection if it has one.

use std::collections::BTreeSet;

use realtime_wire::{ClientMessage, Connection, ServerMessage, Transport};
use tokio::time::Instant;

use crate::pipe::{ClientEnd, FrameProbe, PipeConfig, ServerEnd, pipe};
use crate::schedule::Id;

/// The pace at which a client reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Flow {
    #[default]
    Flowing,
    /// This many bytes at a time.
    Slow(usize),
    Stalled,
}

#[derive(Default)]
pub(crate) struct Player {
    pub(crate) flow: Flow,
    /// The transport of its next connection.
    pub(crate) transport: Transport,
    pub(crate) link: Option<Link>,
    /// The cursor of the last message with one.
    pub(crate) cursor: Option<String>,
    /// The previous cursors.
    pub(crate) past: Vec<String>,
    /// The rooms that it believes to be in.
    pub(crate) rooms: BTreeSet<Id>,
    /// Answers to asks that it sends later.
    pub(crate) late: Vec<LateAnswer>,
    next_ack: u64,
}

pub(crate) struct LateAnswer {
    pub(crate) at: Instant,
    pub(crate) ack: u64,
    pub(crate) number: u64,
}

/// A client's side of a connection.
pub(crate) struct Link {
    pub(crate) serial: usize,
    pub(crate) connection: Connection,
    /// One for each lane.
    pub(crate) ends: Vec<ClientEnd>,
    /// The numbers of asks whose answers are not written yet or still on their way.
    pub(crate) answering: Vec<u64>,
}

impl Player {
    pub(crate) fn new(transport: Transport) -> Self {
        Self { transport, ..Self::default() }
    }

    /// Returns the number of bytes that it reads at a time.
    pub(crate) fn budget(&self) -> usize {
        match self.flow {
            Flow::Flowing => usize::MAX,
            Flow::Slow(bytes) => bytes,
            Flow::Stalled => 0,
        }
    }

    /// Returns a number for a message that the server answers.
    pub(crate) fn next_ack(&mut self) -> u64 {
        self.next_ack += 1;
        self.next_ack
    }
}

impl Link {
    /// Opens a connection, and returns the server's ends of its lanes too.
    pub(crate) fn open(serial: usize, connection: Connection, config: PipeConfig) -> (Self, Vec<ServerEnd>) {
        let (ends, servers) = (0..connection.lanes()).map(|_| pipe(config)).unzip();
        (Self { serial, connection, ends, answering: Vec::new() }, servers)
    }

    /// Reads up to this many bytes of each lane; returns the messages in them, and whether any byte
    /// moved.
    pub(crate) fn read(&mut self, budget: usize) -> Result<(Vec<ServerMessage>, bool), String> {
        let mut messages = Vec::new();
        let mut moved = false;
        for (lane, end) in self.ends.iter().enumerate() {
            let bytes = end.read(budget);
            if bytes.is_empty() {
                continue;
            }
            moved = true;
            self.connection.feed(lane, &bytes, &mut |received| {
                messages.push(received.parse()?);
                Ok(())
            })?;
        }
        moved |= self.write();
        Ok((messages, moved))
    }

    /// Writes what there is room for; returns whether any byte moved.
    fn write(&mut self) -> bool {
        let Self { ends, connection, .. } = self;
        ends.iter().enumerate().fold(false, |moved, (lane, end)| end.write(connection.outgoing(lane)) || moved)
    }

    /// Returns an observer of the first lane, which on websockets is the only one.
    pub(crate) fn probe(&self) -> Option<FrameProbe> {
        self.ends.first().map(ClientEnd::probe)
    }

    pub(crate) fn send(&mut self, message: &ClientMessage) {
        self.connection.send(message);
        self.write();
    }

    /// Returns whether everything that was sent is on its way.
    pub(crate) fn has_sent_all(&mut self) -> bool {
        (0..self.ends.len()).all(|lane| self.connection.outgoing(lane).is_empty())
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.ends.iter().any(ClientEnd::is_closed)
    }

    pub(crate) fn is_broken(&self) -> bool {
        self.ends.iter().any(ClientEnd::is_broken)
    }

    pub(crate) fn break_after(&self, up: bool, after: usize) {
        // On long polling the client sends on the second lane.
        let end = if up { self.ends.last() } else { self.ends.first() };
        end.iter().for_each(|end| end.break_after(up, after));
    }
}
