//! A client that reconnects by itself, with its last cursor, to any node that is ready.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_bench::client::{Client, Dial};
use realtime_bench::payload::{number_after, number_of};
use realtime_bench::{Result, lock};
use realtime_wire::{ConnectOptions, Scanned};
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::Cluster;
use crate::history::{Place, Seen};
use crate::population::{Person, room_name, user_name};

/// The name of the events that are numbered.
pub const EVENT: &str = "numbered";
/// The time between two looks for a node that is ready.
const LOOK: Duration = Duration::from_millis(50);
/// The time that a client may take to be welcomed.
const CONNECT: Duration = Duration::from_secs(15);
/// The least and greatest delay before a client reconnects that was sent none.
const USUAL: (u64, u64) = (500, 1_500);

/// One client.
#[derive(Debug)]
pub struct Follower {
    person: Person,
    /// The source address, by this number.
    number: usize,
    home: usize,
    cluster: Arc<Cluster>,
    seen: Arc<Mutex<Vec<Seen>>>,
    connected: Arc<AtomicU64>,
    options: ConnectOptions,
    random: u64,
}

impl Follower {
    /// Creates a client of a place, which notes what it sees, and counts itself while it is
    /// connected.
    #[must_use]
    pub fn new(
        person: Person,
        number: usize,
        cluster: &Arc<Cluster>,
        seen: &Arc<Mutex<Vec<Seen>>>,
        connected: &Arc<AtomicU64>,
    ) -> Self {
        let rooms = if person.joined { Vec::new() } else { vec![room_name(person.room)] };
        let options = ConnectOptions { rooms, cursor_in_header: number.is_multiple_of(2), ..ConnectOptions::default() };
        Self {
            person,
            number,
            // The connections of one user, and those of one transport, are on different nodes.
            home: number + number / 3,
            cluster: Arc::clone(cluster),
            seen: Arc::clone(seen),
            connected: Arc::clone(connected),
            options,
            random: (number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        }
    }

    /// Connects and reconnects until it is dropped.
    pub async fn run(mut self) {
        let mut home = Some(self.home);
        loop {
            let node = loop {
                match self.cluster.pick(home) {
                    Some(node) => break node,
                    None => sleep(LOOK).await,
                }
            };
            let delay = match self.connect(node).await {
                Ok(client) => {
                    home = None;
                    self.stay(client).await
                }
                Err((error, delay)) => {
                    self.note(Seen::Failed { at: Instant::now(), how: error });
                    delay
                }
            };
            sleep(delay.unwrap_or_else(|| self.usual())).await;
        }
    }

    /// Connects, and returns the client once it is welcomed.
    async fn connect(&self, node: SocketAddr) -> Result<Client, (String, Option<Duration>)> {
        let failed = |error: String| (error, None);
        let user = user_name(self.person.user);
        let dial = Dial { user: Some(user), ..Dial::new(self.person.transport, node, self.number) };
        let presented = self.options.cursor.as_deref().map(Place::of);
        let open = timeout(CONNECT, Client::open(&dial, &self.options)).await;
        let mut client =
            open.map_err(|_| failed("not connected in time".into()))?.map_err(|error| failed(error.to_string()))?;
        let mut welcomed = false;
        let welcome = async {
            while !welcomed {
                let each = |scanned: Scanned<'_>| {
                    welcomed |= scanned.name == "connected";
                    observe(&self.seen, &scanned, presented);
                };
                client.receive_scanned(each).await?;
            }
            Ok::<_, realtime_bench::Error>(())
        };
        let welcomed = timeout(CONNECT, welcome).await.unwrap_or_else(|_| Err("not welcomed in time".into()));
        match welcomed {
            Ok(()) => Ok(client),
            Err(error) => Err((error.to_string(), client.last_retry())),
        }
    }

    /// Reads until the connection ends, and returns the delay to reconnect after.
    async fn stay(&mut self, mut client: Client) -> Option<Duration> {
        self.connected.fetch_add(1, Ordering::AcqRel);
        let mut delay = None;
        let error = loop {
            let each = |scanned: Scanned<'_>| {
                if scanned.name == "reconnect" {
                    delay = number_after(b"\"delayMs\":", scanned.data).map(Duration::from_millis);
                }
                observe(&self.seen, &scanned, None);
            };
            if let Err(error) = client.receive_scanned(each).await {
                break error;
            }
        };
        self.connected.fetch_sub(1, Ordering::AcqRel);
        let delay = delay.or(client.take_retry());
        self.note(Seen::End { at: Instant::now(), how: error.to_string(), delay });
        // One that got none keeps the cursor that it had.
        self.options.cursor = client.cursor().or(self.options.cursor.take());
        delay.or(client.last_retry())
    }

    fn note(&self, seen: Seen) {
        lock(&self.seen).push(seen);
    }

    /// Returns the delay of a client that was sent none.
    fn usual(&mut self) -> Duration {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        let (least, most) = USUAL;
        Duration::from_millis(least + self.random % (most - least))
    }
}

/// Notes an event, if it says anything to the oracle.
fn observe(seen: &Mutex<Vec<Seen>>, scanned: &Scanned<'_>, presented: Option<Place>) {
    let at = Instant::now();
    let what = match scanned.name {
        EVENT => {
            let number = number_of(scanned.data).and_then(|number| usize::try_from(number).ok());
            Seen::Event { at, number: number.unwrap_or(usize::MAX), place: Place::of(scanned.cursor) }
        }
        "connected" => Seen::Welcome {
            at,
            resumed: contains(scanned.data, b"\"resumed\":true"),
            anew: contains(scanned.data, b"\"reason\":\"epoch\""),
            place: Place::of(&cursor_of(scanned)),
            presented,
        },
        "lost" => Seen::Lost,
        _ => return,
    };
    lock(seen).push(what);
}

/// Returns the cursor of `connected`, which is in its data.
fn cursor_of(scanned: &Scanned<'_>) -> String {
    let text = String::from_utf8_lossy(scanned.data);
    let cursor = text.split_once("\"cursor\":\"").and_then(|(_, rest)| Some(rest.split_once('"')?.0));
    cursor.unwrap_or(scanned.cursor).to_owned()
}

fn contains(data: &[u8], text: &[u8]) -> bool {
    data.windows(text.len()).any(|window| window == text)
}
