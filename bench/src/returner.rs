//! A client that is disconnected and resumes.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use realtime_wire::ConnectOptions;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::client::{Client, Dial};
use crate::sequence::Sequence;
use crate::{Result, lock};

/// One client, over several connections.
#[derive(Debug)]
pub struct Returner {
    dial: Dial,
    /// The rooms that it names and the cursor that it resumes from.
    options: ConnectOptions,
    /// The events that it has received so far.
    pub sequence: Sequence,
    client: Option<Client>,
}

/// The outcome of one reconnect of many clients.
#[derive(Debug, Default)]
pub struct Return {
    /// The number of clients that have all that they waited for, or were notified that they will
    /// not get it.
    pub live: AtomicU64,
    /// The number of clients that the server said it had resumed.
    pub resumed: AtomicU64,
    /// Microseconds from the start until the last of them was live.
    pub last: AtomicU64,
    /// The error of the first client that failed.
    failed: Mutex<Option<String>>,
}

impl Returner {
    /// Creates a client that has never connected; its events begin at this number.
    #[must_use]
    pub fn new(dial: Dial, rooms: Vec<String>, first: u64) -> Self {
        let options = ConnectOptions { rooms, ..ConnectOptions::default() };
        Self { dial, options, sequence: Sequence::from(first), client: None }
    }

    /// Connects, is live when it has received the events before the number `until`, and stays until
    /// `stop` is set. The time in which it is live counts from `start`.
    pub async fn connect(mut self, start: Instant, until: u64, to: &Return, stop: watch::Receiver<bool>) -> Self {
        if let Err(error) = self.visit(start, until, to, stop).await {
            lock(&to.failed).get_or_insert(format!("client {}: {error}", self.dial.number));
        }
        self
    }

    async fn visit(&mut self, start: Instant, until: u64, to: &Return, mut stop: watch::Receiver<bool>) -> Result<()> {
        let Self { dial, options, sequence, client } = self;
        let mut resumed = false;
        let welcome = |name: &str, data: &[u8]| {
            resumed |= name == "connected" && contains(data, b"\"resumed\":true");
            sequence.observe(name, data);
        };
        let mut connected = Client::connect_with(dial, options, welcome).await?;
        to.resumed.fetch_add(u64::from(resumed), Ordering::Relaxed);
        while sequence.next < until {
            // A client that cannot get what it missed does not wait for it.
            if !resumed || !sequence.losses.is_empty() {
                sequence.give_up(until);
                break;
            }
            connected.receive(|name, data| sequence.observe(name, data)).await?;
        }
        let last = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        to.last.fetch_max(last, Ordering::Relaxed);
        to.live.fetch_add(1, Ordering::Relaxed);
        // Nothing should arrive now.
        while !*stop.borrow_and_update() {
            tokio::select! {
                received = connected.receive(|name, data| sequence.observe(name, data)) => received?,
                _ = stop.changed() => {}
            }
        }
        *client = Some(connected);
        Ok(())
    }

    /// Resets the connection, if there is one, and remembers the cursor.
    ///
    /// # Errors
    /// When the system fails to.
    pub fn reset(&mut self) -> Result<()> {
        if let Some(client) = self.client.take() {
            self.options.cursor = client.cursor();
            client.reset()?;
        }
        Ok(())
    }
}

impl Return {
    /// Returns whether no client has failed so far.
    ///
    /// # Errors
    /// The error of the first client that failed.
    pub fn check(&self) -> Result<()> {
        lock(&self.failed).clone().map_or(Ok(()), |error| Err(error.into()))
    }
}

fn contains(data: &[u8], text: &[u8]) -> bool {
    data.windows(text.len()).any(|window| window == text)
}
