//! Clients beside an attack: a user that is connected over each transport gets an event every 20
//! ms, and each must arrive once, in order and soon.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_bench::client::{Client, Dial, Transport};
use realtime_bench::payload::number_after;
use realtime_bench::{Result, lock};
use realtime_wire::http::{self, Part, Responses};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval};

/// The time between two events.
const PACE: Duration = Duration::from_millis(20);
const USER: &str = "watched";
const EVENT: &str = "seen";

/// The watched clients. Dropping this disconnects them.
pub(crate) struct Watch {
    seen: [Arc<Mutex<Seen>>; 3],
    /// Ends what runs.
    _tasks: JoinSet<()>,
}

/// The observations of one watched client.
#[derive(Debug, Default)]
struct Seen {
    /// From the moment at which an event was due to be sent.
    delays: Vec<Duration>,
    /// The number of the last event.
    last: Option<u64>,
    faults: Vec<String>,
}

/// The delays of each transport, sorted, and what went wrong.
#[derive(Debug, Default)]
pub(crate) struct Observed {
    pub(crate) delays: [Vec<Duration>; 3],
    pub(crate) faults: Vec<String>,
}

impl Watch {
    /// Connects the clients, and begins to send to them.
    pub(crate) async fn start(server: SocketAddr) -> Result<Self> {
        let (base, mut tasks) = (Instant::now(), JoinSet::new());
        let seen: [Arc<Mutex<Seen>>; 3] = Default::default();
        for (number, (transport, seen)) in Transport::ALL.into_iter().zip(&seen).enumerate() {
            let dial = Dial { user: Some(USER.to_owned()), ..Dial::new(transport, server, number) };
            let client = Client::connect(&dial).await?;
            tasks.spawn(receive(client, base, Arc::clone(seen)));
        }
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let (reading, writing) = stream.into_split();
        let faults = Arc::clone(&seen[0]);
        tasks.spawn(async move {
            let sending = async { tokio::try_join!(send(writing, base), check(reading)) };
            if let Err(error) = sending.await {
                lock(&faults).faults.push(format!("sending: {error}"));
            }
        });
        Ok(Self { seen, _tasks: tasks })
    }

    /// Takes what was seen since the previous call.
    pub(crate) fn take(&self) -> Observed {
        let mut observed = Observed::default();
        for (seen, delays) in self.seen.iter().zip(&mut observed.delays) {
            let mut seen = lock(seen);
            *delays = std::mem::take(&mut seen.delays);
            delays.sort_unstable();
            observed.faults.append(&mut seen.faults);
        }
        observed
    }
}

impl Observed {
    /// Adds what was seen at another time.
    pub(crate) fn add(&mut self, other: Self) {
        for (delays, others) in self.delays.iter_mut().zip(other.delays) {
            delays.extend(others);
            delays.sort_unstable();
        }
        self.faults.extend(other.faults);
    }

    /// Returns the time that so large a part of the events of a transport took at most, in
    /// milliseconds; infinite if there were none.
    pub(crate) fn millis(&self, transport: usize, part: f64) -> f64 {
        let delays = &self.delays[transport];
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "some thousand of them"
        )]
        let index = (delays.len() as f64 * part) as usize;
        let delay = delays.get(index.min(delays.len().saturating_sub(1)));
        delay.map_or(f64::INFINITY, |delay| delay.as_secs_f64() * 1_000.0)
    }
}

/// Sends events at their times, whether or not earlier ones are answered.
async fn send(mut stream: impl AsyncWriteExt + Unpin, base: Instant) -> Result<()> {
    let mut ticks = interval(PACE);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    for number in 0u64.. {
        let due = ticks.tick().await;
        let at = due.duration_since(base).as_micros();
        let event = json!({ "target": { "user": USER }, "event": EVENT, "data": { "at": at, "n": number } });
        stream.write_all(&http::post("/api/send", &event.to_string())).await?;
    }
    Ok(())
}

/// Requires that each send is answered with 200.
async fn check(mut stream: impl AsyncReadExt + Unpin) -> Result<()> {
    let (mut responses, mut buffer) = (Responses::default(), vec![0; 16 * 1024]);
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Err("disconnected".into());
        }
        responses.feed(&buffer[..length], &mut |status, part| match part {
            Part::Head if status != 200 => Err(format!("answered {status}")),
            _ => Ok(()),
        })?;
    }
}

async fn receive(mut client: Client, base: Instant, seen: Arc<Mutex<Seen>>) {
    loop {
        let each = |name: &str, data: &[u8]| {
            let now = base.elapsed();
            let (at, number) = (number_after(b"\"at\":", data), number_after(b"\"n\":", data));
            let (EVENT, Some(at), Some(number)) = (name, at, number) else { return };
            let mut seen = lock(&seen);
            if seen.last.is_some_and(|last| number != last + 1) {
                let fault = format!("{number} after {:?}", seen.last);
                seen.faults.push(fault);
            }
            seen.last = Some(number);
            seen.delays.push(now.saturating_sub(Duration::from_micros(at)));
        };
        if let Err(error) = client.receive(each).await {
            lock(&seen).faults.push(format!("receiving: {error}"));
            return;
        }
    }
}
