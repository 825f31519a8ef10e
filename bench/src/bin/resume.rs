//! The cost of many clients that are disconnected at the same time and resume.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use realtime_bench::Result;
use realtime_bench::child::ServerProcess;
use realtime_bench::client::{Dial, Transport};
use realtime_bench::figures::median;
use realtime_bench::process::listen_overflows;
use realtime_bench::program::{self, Setup, until};
use realtime_bench::report::Report;
use realtime_bench::returner::{Return, Returner};
use realtime_bench::server::control::{Command, Control};
use realtime_bench::server::{Audience, ServeOptions, user_name};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};

/// The time that all of them may take to be live, beyond the time over which they connect.
const LATE: Duration = Duration::from_secs(30);
/// The time for which they stay once all are live, for what should not arrive.
const STAY: Duration = Duration::from_millis(300);
/// The numbers that belong to one room, so that an event of another room is noticed.
const NUMBERS: u64 = 1_000_000_000;

#[derive(Parser)]
struct Args {
    /// Rooms
    #[arg(long, default_value_t = 100)]
    rooms: usize,
    /// Clients in each room
    #[arg(long, default_value_t = 50)]
    members: usize,
    /// Events that each room gets while its clients are away
    #[arg(long, default_value_t = 100)]
    events: u64,
    /// Bytes of JSON in each event
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// Over how long the clients reconnect, evenly, in milliseconds
    #[arg(long, default_value_t = 2000)]
    over_ms: u64,
    /// Records in the server's window
    #[arg(long, default_value_t = 20_000)]
    window: usize,
    /// The number of times that they are disconnected and resume
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The way in which the clients enter their rooms
    #[arg(long, value_enum, default_value = "joined")]
    by: By,
    /// Only these transports
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Transport::Ws])]
    transports: Vec<Transport>,
    /// Let server and clients share all processors
    #[arg(long)]
    no_pin: bool,
}

/// The way clients enter their rooms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum By {
    /// The server joins their users.
    Joined,
    /// The clients name them when they connect.
    Named,
}

/// The figures of one reconnect.
struct Reconnect {
    /// Microseconds of server CPU for each client.
    cpu: f64,
    /// Seconds from the start until the last client was live.
    live: f64,
    resumed: u64,
}

/// A server with its clients, and the number of events that each room has had.
struct Scene<'a> {
    args: &'a Args,
    server: ServerProcess,
    control: Control,
    clients: Vec<Returner>,
    sent: u64,
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup { pin: !args.no_pin, sockets: args.rooms * args.members, seconds: 240 };
    program::main(setup, async |args: Args, cpus| {
        let Args { rooms, members, events, size, over_ms, window, rounds, by, .. } = &args;
        println!(
            "{} clients in {rooms} rooms ({by:?}), {events} events of {size} bytes to each room while they are away, \
             reconnected within {over_ms} ms, a window of {window} records, median of {rounds} rounds",
            rooms * members
        );
        let titles = [
            "transport",
            "CPU µs/client with nothing missed",
            "with all missed",
            "µs/replayed event",
            "last live after s, nothing missed",
            "all missed",
        ];
        let mut report = Report::default();
        report.table(9, &titles);
        for transport in &args.transports {
            measure(*transport, &args, &cpus, &mut report).await?;
        }
        Ok(report.holds())
    })
}

async fn measure(transport: Transport, args: &Args, cpus: &[usize], report: &mut Report) -> Result<()> {
    let mut scene = Scene::open(transport, args, cpus).await?;
    // They connect for the first time, so that none is resumed.
    scene.connect().await?;
    let overflows = listen_overflows()?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..args.rounds {
        scene.reset().await?;
        without.push(scene.connect().await?);
        scene.reset().await?;
        scene.publish().await?;
        with.push(scene.connect().await?);
    }
    let middle =
        |runs: &[Reconnect], figure: fn(&Reconnect) -> f64| median(&runs.iter().map(figure).collect::<Vec<_>>());
    let replay: Vec<f64> = with.iter().zip(&without).map(|(with, without)| with.cpu - without.cpu).collect();
    #[expect(clippy::cast_precision_loss, reason = "a count of events")]
    let each = median(&replay) / args.events as f64;
    report.row(&[
        transport.provider().to_owned(),
        format!("{:.1}", middle(&without, |run| run.cpu)),
        format!("{:.1}", middle(&with, |run| run.cpu)),
        format!("{each:.3}"),
        format!("{:.3}", middle(&without, |run| run.live)),
        format!("{:.3}", middle(&with, |run| run.live)),
    ]);
    scene.judge(&without, &with, report);
    scene.server.stop().await?;
    let count = listen_overflows()? - overflows;
    if count > 0 {
        println!("            the listener's queue was full {count} times: those clients came a second later");
    }
    Ok(())
}

impl<'a> Scene<'a> {
    async fn open(transport: Transport, args: &'a Args, cpus: &[usize]) -> Result<Self> {
        let options = ServeOptions::ours(&[transport.provider()]).on(cpus);
        let options = ServeOptions { window_records: args.window, ..options };
        let server = ServerProcess::start(&options).await?;
        let mut control = server.control().await?;
        let address = server.addresses.http;
        let client = |number| {
            let dial = Dial::new(transport, address, number);
            // Each is of another room than the one before.
            let of = number % args.rooms;
            let named = if args.by == By::Named { vec![room(of)] } else { Vec::new() };
            Returner::new(dial, named, of as u64 * NUMBERS)
        };
        let clients = (0..args.rooms * args.members).map(client).collect();
        if args.by == By::Joined {
            for of in 0..args.rooms {
                let users = (0..args.members).map(|member| user_name(member * args.rooms + of)).collect();
                control.call(&Command::Join { room: room(of), users }).await?;
            }
        }
        Ok(Self { args, server, control, clients, sent: 0 })
    }

    /// Connects all of them, evenly over the time; they stay until all have what they missed, and a
    /// little longer.
    async fn connect(&mut self) -> Result<Reconnect> {
        let over = Duration::from_millis(self.args.over_ms);
        let (to, stop) = (Arc::new(Return::default()), watch::Sender::new(false));
        let process = self.server.process;
        let cpu = process.cpu_time()?;
        let start = Instant::now();
        let mut coming = JoinSet::new();
        let count = self.clients.len();
        for (number, client) in self.clients.drain(..).enumerate() {
            let at = start + over.mul_f64(number as f64 / count as f64);
            let last = (number % self.args.rooms) as u64 * NUMBERS + self.sent;
            let (to, stop) = (Arc::clone(&to), stop.subscribe());
            coming.spawn(async move {
                sleep_until(at).await;
                (number, client.connect(start, last, &to, stop).await)
            });
        }
        let there = || to.live.load(Ordering::Relaxed) == count as u64 || to.check().is_err();
        until(over + LATE, "every client is live", there).await?;
        to.check()?;
        sleep(STAY).await;
        let cpu = process.cpu_time()?.saturating_sub(cpu);
        stop.send_replace(true);
        let mut clients = coming.join_all().await;
        to.check()?;
        clients.sort_by_key(|(number, _)| *number);
        self.clients = clients.into_iter().map(|(_, client)| client).collect();
        Ok(Reconnect {
            cpu: cpu.as_secs_f64() * 1e6 / count as f64,
            live: Duration::from_micros(to.last.load(Ordering::Relaxed)).as_secs_f64(),
            resumed: to.resumed.load(Ordering::Relaxed),
        })
    }

    /// Resets all connections, and waits until the server has seen it.
    async fn reset(&mut self) -> Result<()> {
        self.clients.iter_mut().try_for_each(Returner::reset)?;
        self.control.until(LATE, "all connections that were reset are gone", |of| of.connections() == 0).await
    }

    async fn publish(&mut self) -> Result<()> {
        let Args { rooms, events: count, size, .. } = *self.args;
        let series = (0..rooms).map(|of| (Audience::Room(room(of)), of as u64 * NUMBERS + self.sent)).collect();
        self.control.call(&Command::Numbered { count, rate: None, series, size }).await?;
        self.sent += count;
        Ok(())
    }

    /// Requires that every client was resumed and got what it missed.
    fn judge(&self, without: &[Reconnect], with: &[Reconnect], report: &mut Report) {
        let count = self.clients.len() as u64;
        let sum = |figure: fn(&Returner) -> u64| self.clients.iter().map(figure).sum::<u64>();
        let (missing, repeated) = (sum(|one| one.sequence.missing), sum(|one| one.sequence.repeated));
        let (events, losses) = (sum(|one| one.sequence.events), sum(|one| one.sequence.losses.len() as u64));
        let resumed: u64 = without.iter().chain(with).map(|run| run.resumed).sum();
        let returns = (without.len() + with.len()) as u64 * count;
        println!(
            "            {resumed} of {returns} returns resumed; {events} events replayed, {missing} missing, \
             {repeated} repeated or out of order, {losses} losses notified"
        );
        let exact = self.clients.iter().all(|one| one.sequence.is_exact() && one.sequence.events == self.sent);
        let holds = resumed == returns && exact && losses == 0;
        report.require(holds, "all are resumed, and each gets what it missed, once and in order");
    }
}

fn room(number: usize) -> String {
    format!("room-{number}")
}
