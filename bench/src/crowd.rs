//! Many clients that reconnect by themselves, at the time that the server asked for, and what each
//! of them received.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use realtime_wire::ConnectOptions;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::{Client, Dial, PER_SOURCE, Transport};
use crate::payload::{EVENT, now, number_after, number_of, sent_at};
use crate::program::until;
use crate::{Result, lock};

/// The number of first handshakes under way at a time; it does not limit clients that reconnect.
const HANDSHAKES: usize = 64;
/// The delay before a client reconnects that was rejected, or received no delay.
const AGAIN: Duration = Duration::from_secs(1);
/// The time that all of them may take to connect at first.
const ARRIVE: Duration = Duration::from_secs(60);

/// The clients; dropping this closes them.
#[derive(Debug)]
pub struct Crowd {
    _tasks: JoinSet<()>,
    journeys: Vec<Arc<Mutex<Journey>>>,
    counts: Arc<Counts>,
}

/// The numbers of connections and of received events so far, over all clients.
#[derive(Debug, Default)]
struct Counts {
    visits: AtomicUsize,
    received: AtomicUsize,
}

/// The history of one client.
#[derive(Debug)]
pub struct Journey {
    /// The transport.
    pub transport: Transport,
    /// The connections, one after the other.
    pub visits: Vec<Visit>,
    /// The failed attempts to connect: when, and why.
    pub failures: Vec<(Instant, String)>,
}

/// One connection of a client.
#[derive(Debug)]
pub struct Visit {
    /// The time at which it read `connected`.
    pub since: Instant,
    /// The event `connected`.
    pub welcome: String,
    /// The events that it received, in order: their numbers, and when they were sent in
    /// microseconds of the machine's clock.
    pub events: Vec<(u64, u64)>,
    /// The number of events `lost`.
    pub lost: u64,
    /// The delay after which the server asked it to reconnect.
    pub delay: Option<Duration>,
    /// The end, once it has closed.
    pub end: Option<End>,
}

/// The end of a connection.
#[derive(Debug)]
pub struct End {
    /// The time at which the client saw it.
    pub at: Instant,
    /// The same in microseconds of the machine's clock.
    pub clock: u64,
    /// The error that the client got.
    pub how: String,
}

/// One client of the crowd.
struct Member {
    dial: Dial,
    journey: Arc<Mutex<Journey>>,
    counts: Arc<Counts>,
}

impl Crowd {
    /// Connects this many clients of each transport, each with a user of its own, in turn.
    ///
    /// # Errors
    /// When they are not connected in time.
    pub async fn gather(server: SocketAddr, mix: &[(Transport, usize)]) -> Result<Self> {
        let counts = Arc::new(Counts::default());
        let (mut tasks, mut journeys) = (JoinSet::new(), Vec::new());
        let turns = Arc::new(Semaphore::new(HANDSHAKES));
        // Each run has a source address of its own, for the ports of the previous one are not free
        // for a minute; and not that of the relay, whose own connections use ports too.
        let first = PER_SOURCE * (1 + std::process::id() as usize % 199);
        for (number, transport) in in_turn(mix).into_iter().enumerate() {
            let dial = Dial { number: first + number, ..Dial::new(transport, server, number) };
            let journey = Journey { transport, visits: Vec::new(), failures: Vec::new() };
            let member = Member { dial, journey: Arc::new(Mutex::new(journey)), counts: Arc::clone(&counts) };
            journeys.push(Arc::clone(&member.journey));
            let turns = Arc::clone(&turns);
            tasks.spawn(async move { member.run(&turns).await });
        }
        let crowd = Self { _tasks: tasks, journeys, counts };
        crowd.visits(ARRIVE, crowd.journeys.len()).await?;
        Ok(crowd)
    }

    /// Waits until there have been this many connections, over all clients.
    ///
    /// # Errors
    /// When that takes longer.
    pub async fn visits(&self, limit: Duration, count: usize) -> Result<()> {
        let reached = reach(limit, &self.counts.visits, count, "connections").await;
        reached.map_err(|error| format!("{error}; {:?}", self.failures()).into())
    }

    /// Waits until this many events have been received, over all clients.
    ///
    /// # Errors
    /// When that takes longer.
    pub async fn received(&self, limit: Duration, count: usize) -> Result<()> {
        reach(limit, &self.counts.received, count, "events received").await
    }

    /// Returns the history of each client so far.
    pub fn journeys(&self) -> impl Iterator<Item = MutexGuard<'_, Journey>> {
        self.journeys.iter().map(|journey| lock(journey))
    }

    /// Counts the failed attempts to connect by reason.
    #[must_use]
    pub fn failures(&self) -> BTreeMap<String, usize> {
        let mut failures = BTreeMap::new();
        for journey in self.journeys() {
            for (_, reason) in &journey.failures {
                *failures.entry(reason.clone()).or_default() += 1;
            }
        }
        failures
    }
}

impl Member {
    async fn run(self, turns: &Semaphore) {
        let mut options = ConnectOptions::default();
        // A closed semaphore does not happen; it would only mean not to wait.
        let mut turn = turns.acquire().await.ok();
        loop {
            match self.connect(&options).await {
                Ok(mut client) => {
                    turn = None;
                    let delay = self.stay(&mut client).await;
                    options.cursor = client.cursor();
                    // The socket is closed before the wait, as a client's is.
                    drop(client);
                    sleep(delay.unwrap_or(AGAIN)).await;
                }
                Err(error) => {
                    lock(&self.journey).failures.push((Instant::now(), error.to_string()));
                    sleep(AGAIN).await;
                }
            }
            drop(turn.take());
        }
    }

    async fn connect(&self, options: &ConnectOptions) -> Result<Client> {
        let mut welcome = String::new();
        let mut early = Vec::new();
        let mut client = Client::connect_with(&self.dial, options, |name, data| {
            if name == "connected" {
                welcome = String::from_utf8_lossy(data).into_owned();
            } else {
                early.push((name.to_owned(), data.to_vec()));
            }
        })
        .await?;
        // The `retry:` that an event stream begins with is for lost connections, not for a drain.
        client.take_retry();
        let since = Instant::now();
        let visit = Visit { since, welcome, events: Vec::new(), lost: 0, delay: None, end: None };
        lock(&self.journey).visits.push(visit);
        for (name, data) in early {
            self.observe(&name, &data);
        }
        self.counts.visits.fetch_add(1, Ordering::AcqRel);
        Ok(client)
    }

    /// Reads until the connection closes, and returns the delay to reconnect after.
    async fn stay(&self, client: &mut Client) -> Option<Duration> {
        let error = loop {
            if let Err(error) = client.receive(|name, data| self.observe(name, data)).await {
                break error;
            }
        };
        let retry = client.take_retry();
        let mut journey = lock(&self.journey);
        let visit = journey.visits.last_mut()?;
        visit.delay = visit.delay.or(retry);
        visit.end = Some(End { at: Instant::now(), clock: now(), how: error.to_string() });
        visit.delay
    }

    fn observe(&self, name: &str, data: &[u8]) {
        let mut journey = lock(&self.journey);
        let Some(visit) = journey.visits.last_mut() else { return };
        match name {
            EVENT => {
                visit.events.extend(number_of(data).zip(sent_at(data)));
                self.counts.received.fetch_add(1, Ordering::AcqRel);
            }
            "lost" => visit.lost += 1,
            "reconnect" => visit.delay = delay_of(data),
            _ => {}
        }
    }
}

/// Returns the clients' transports, mixed as evenly as the numbers allow.
fn in_turn(mix: &[(Transport, usize)]) -> Vec<Transport> {
    let mut order: Vec<(usize, Transport)> = Vec::new();
    for (transport, count) in mix {
        // The middle of each one's share of a line of this length.
        order.extend((0..*count).map(|number| ((2 * number + 1) * 1_000_000 / (2 * count), *transport)));
    }
    order.sort_by_key(|(share, _)| *share);
    order.into_iter().map(|(_, transport)| transport).collect()
}

/// Returns the time in `{"delayMs":840,…}`.
fn delay_of(data: &[u8]) -> Option<Duration> {
    number_after(b"\"delayMs\":", data).map(Duration::from_millis)
}

/// Waits until a counter has reached a number.
async fn reach(limit: Duration, counter: &AtomicUsize, count: usize, what: &str) -> Result<()> {
    let reached = until(limit, &format!("{count} {what}"), || counter.load(Ordering::Acquire) >= count).await;
    reached.map_err(|error| format!("{error} (have {})", counter.load(Ordering::Acquire)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_read_from_both_forms() {
        let expected = Some(Duration::from_millis(840));
        assert_eq!(delay_of(br#"{"type":"reconnect","payload":{"delayMs":840,"reason":"x"}}"#), expected);
        assert_eq!(delay_of(br#"["reconnect",{"reason":"x","delayMs":840}]"#), expected);
        assert_eq!(delay_of(b"{}"), None);
    }

    #[test]
    fn transports_are_mixed_evenly() {
        let order = in_turn(&[(Transport::Sse, 4), (Transport::Socketio, 2)]);
        assert_eq!(order.len(), 6);
        assert_eq!(order[..3].iter().filter(|transport| **transport == Transport::Socketio).count(), 1);
    }
}
