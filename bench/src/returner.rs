//! A client that is cut and comes back.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use crate::Result;
use crate::client::{Client, Dial, Wish};
use crate::sequence::Sequence;

/// One client, over several connections.
#[derive(Debug)]
pub struct Returner {
    dial: Dial,
    /// The rooms it names and the place it goes on from.
    wish: Wish,
    /// What it has received so far.
    pub sequence: Sequence,
    client: Option<Client>,
}

/// What many of them came to in one return.
#[derive(Debug, Default)]
pub struct Return {
    /// Clients that have all they waited for, or were told that they will not.
    pub live: AtomicU64,
    /// Clients that the server said it had resumed.
    pub resumed: AtomicU64,
    /// Microseconds from the start until the last of them was live.
    pub last: AtomicU64,
    /// Why the first one that failed did so.
    failed: Mutex<Option<String>>,
}

impl Returner {
    /// A client that has never been here; its events begin at this number.
    pub fn new(dial: Dial, rooms: Vec<String>, first: u64) -> Self {
        let wish = Wish { rooms, ..Wish::default() };
        Self { dial, wish, sequence: Sequence::from(first), client: None }
    }

    /// Connects at `at`, is live when it has received the events before the number `until`, and stays until it is told to stop.
    pub async fn come(
        mut self,
        start: Instant,
        at: Instant,
        until: u64,
        to: &Return,
        stop: watch::Receiver<bool>,
    ) -> Self {
        sleep_until(at).await;
        if let Err(error) = self.visit(start, until, to, stop).await {
            to.fail(format!("client {}: {error}", self.dial.number));
        }
        self
    }

    async fn visit(&mut self, start: Instant, until: u64, to: &Return, mut stop: watch::Receiver<bool>) -> Result<()> {
        let Self { dial, wish, sequence, client } = self;
        let mut resumed = false;
        let welcome = |name: &str, data: &[u8]| {
            resumed |= name == "connected" && contains(data, b"\"resumed\":true");
            sequence.hear(name, data);
        };
        let mut here = Client::connect_with(dial, wish, welcome).await?;
        to.resumed.fetch_add(u64::from(resumed), Ordering::Relaxed);
        while sequence.next < until {
            // Who was told that it cannot have what it missed does not wait for it.
            if !resumed || !sequence.told.is_empty() {
                sequence.give_up(until);
                break;
            }
            here.hear(|name, data| sequence.hear(name, data)).await?;
        }
        let last = u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX);
        to.last.fetch_max(last, Ordering::Relaxed);
        to.live.fetch_add(1, Ordering::Relaxed);
        // What comes now was not asked for.
        while !*stop.borrow_and_update() {
            tokio::select! {
                heard = here.hear(|name, data| sequence.hear(name, data)) => heard?,
                _ = stop.changed() => {}
            }
        }
        *client = Some(here);
        Ok(())
    }

    /// Cuts the connection, if there is one, and remembers the place.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut(&mut self) -> Result<()> {
        if let Some(client) = self.client.take() {
            client.cursor().clone_into(&mut self.wish.cursor);
            client.cut()?;
        }
        Ok(())
    }
}

impl Return {
    /// Says whether none has failed so far.
    ///
    /// # Errors
    /// Why the first one failed.
    pub fn check(&self) -> Result<()> {
        match &*self.failed.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }

    fn fail(&self, error: String) {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }
}

fn contains(data: &[u8], text: &[u8]) -> bool {
    data.windows(text.len()).any(|window| window == text)
}
