//! One client: how it reads, what it remembers, and its connection if it has one.

use std::collections::BTreeSet;

use tokio::time::Instant;

use crate::client::{Heard, Protocol, Say, Wish, Word, protocol};
use crate::pipe::{ClientEnd, Looker, PipeConfig, ServerEnd, pipe};
use crate::schedule::{Id, Transport};

/// How a client reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flow {
    Flowing,
    /// So many bytes at a time.
    Slow(usize),
    Stalled,
}

pub(crate) struct Player {
    pub(crate) flow: Flow,
    /// Over which it connects.
    pub(crate) transport: Transport,
    pub(crate) link: Option<Link>,
    /// The place of the last whole thing it received that has one.
    pub(crate) cursor: Option<String>,
    /// The places of before.
    pub(crate) past: Vec<String>,
    /// The rooms that it takes itself to be in.
    pub(crate) rooms: BTreeSet<Id>,
    /// Answers to asks that it will give later.
    pub(crate) late: Vec<Late>,
    next_ack: u64,
}

pub(crate) struct Late {
    pub(crate) at: Instant,
    pub(crate) ack: u64,
    pub(crate) number: u64,
}

/// A client's side of a connection.
pub(crate) struct Link {
    pub(crate) serial: usize,
    protocol: Box<dyn Protocol>,
    ends: Vec<ClientEnd>,
    unsent: Vec<Vec<u8>>,
    /// Numbers of asks whose answers are among the unsent or still on their way.
    pub(crate) answering: Vec<u64>,
}

impl Player {
    pub(crate) fn new(transport: Transport) -> Self {
        Self {
            flow: Flow::Flowing,
            transport,
            link: None,
            cursor: None,
            past: Vec::new(),
            rooms: BTreeSet::new(),
            late: Vec::new(),
            next_ack: 0,
        }
    }

    /// How much it reads at a time.
    pub(crate) fn budget(&self) -> usize {
        match self.flow {
            Flow::Flowing => usize::MAX,
            Flow::Slow(bytes) => bytes,
            Flow::Stalled => 0,
        }
    }

    /// Keeps the place of what it received.
    pub(crate) fn keep(&mut self, cursor: String) {
        self.past.extend(self.cursor.replace(cursor));
    }

    /// Another number for something that the server answers.
    pub(crate) fn next_ack(&mut self) -> u64 {
        self.next_ack += 1;
        self.next_ack
    }
}

impl Link {
    /// A connection that begins, and the server's ends of its wires.
    pub(crate) fn open(
        serial: usize,
        transport: Transport,
        wish: &Wish,
        cursor_in_query: bool,
        config: PipeConfig,
    ) -> (Self, Vec<ServerEnd>) {
        let mut protocol = protocol(transport, wish, cursor_in_query);
        let (ends, servers): (Vec<_>, Vec<_>) = (0..protocol.lanes()).map(|_| pipe(config)).unzip();
        let mut unsent = vec![Vec::new(); ends.len()];
        unsent[0] = protocol.open();
        (Self { serial, protocol, ends, unsent, answering: Vec::new() }, servers)
    }

    /// Reads up to so many bytes of each wire; the words that came, and whether anything moved.
    pub(crate) fn read(&mut self, budget: usize) -> Result<(Vec<Word>, bool), String> {
        let mut heard = Heard::default();
        let mut moved = false;
        for lane in 0..self.ends.len() {
            let bytes = self.ends[lane].read(budget);
            if !bytes.is_empty() {
                moved = true;
                self.protocol.read(lane, &bytes, &mut heard)?;
            }
        }
        for (lane, bytes) in heard.answers {
            self.unsent[lane].extend(bytes);
        }
        moved |= self.write();
        Ok((heard.words, moved))
    }

    /// Writes what waits; whether anything went.
    fn write(&mut self) -> bool {
        self.ends.iter().zip(&mut self.unsent).fold(false, |moved, (end, unsent)| end.write(unsent) || moved)
    }

    /// For whoever looks on at the first wire, which on websockets is the only one.
    pub(crate) fn looker(&self) -> Option<Looker> {
        self.ends.first().map(ClientEnd::looker)
    }

    pub(crate) fn say(&mut self, say: Say) {
        for (lane, bytes) in self.protocol.say(say) {
            self.unsent[lane].extend(bytes);
        }
        self.write();
    }

    /// Whether everything that was said is on its way.
    pub(crate) fn has_said_all(&self) -> bool {
        self.unsent.iter().all(Vec::is_empty)
    }

    pub(crate) fn is_over(&self) -> bool {
        self.ends.iter().any(ClientEnd::is_over)
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.ends.iter().any(ClientEnd::is_cut)
    }

    /// Whether part of something was received or is waiting, whose rest has not come.
    pub(crate) fn is_amid(&self) -> bool {
        self.protocol.is_amid()
    }

    pub(crate) fn cut_after(&self, up: bool, after: usize) {
        // What goes up on long polling goes up the second wire.
        let end = if up { self.ends.last() } else { self.ends.first() };
        if let Some(end) = end {
            if up { end.cut_after(None, Some(after)) } else { end.cut_after(Some(after), None) }
        }
    }

    /// Leaves the wires as they are, with nobody there to read.
    pub(crate) fn vanish(self) -> Vec<ClientEnd> {
        self.ends
    }
}
