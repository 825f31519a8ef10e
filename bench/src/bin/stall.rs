//! What clients that stop reading cost the others, for each transport, beside the budgets.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::child::ServerProcess;
use realtime_bench::client::{Client, Dial, Transport};
use realtime_bench::deliveries::Deliveries;
use realtime_bench::figures::{median, median_ratio, mib};
use realtime_bench::program::{self, Setup, until};
use realtime_bench::server::control::{Command, Control};
use realtime_bench::server::{Audience, ServeOptions};
use realtime_bench::swarm::Swarm;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

/// CPU for each healthy delivery, as a multiple of a run without stalled clients.
const CPU_BUDGET: f64 = 1.2;
/// The healthy clients' 99th percentile, as a multiple of a run without stalled clients.
const P99_BUDGET: f64 = 1.5;
/// How much later than `write_stall` a stalled connection may be gone, as a part of it: what the clocks' steps allow.
const SLACK: f64 = 0.25;
/// What the server may need for a stalled connection: the two lanes of its outbox and what the kernel's bound leaves.
const MEMORY_EACH: u64 = 640 * 1024;
/// What it may need besides: what is published in a run stays in the log and the window.
const MEMORY_BASE: u64 = 4 * 1024 * 1024;
/// The user that stalled clients say they are.
const STALLED: &str = "stalled";
/// A stalled client's receive buffer, so that little fills it.
const RECEIVE_BUFFER: u32 = 4096;
/// What is sent to the stalled clients before a run: 512 KiB, more than the kernel takes for a client that reads nothing.
const FILL: (u32, usize) = (32, 16 * 1024);
/// How often the server is asked for its counters.
const ASK: Duration = Duration::from_millis(50);

#[derive(Parser)]
struct Args {
    /// Clients that read
    #[arg(long, default_value_t = 200)]
    clients: usize,
    /// Clients that stop reading: one run for each number, beside one without
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20])]
    stalled: Vec<usize>,
    /// Events a second, each to everyone
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// Bytes of JSON in each event
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// How often the runs are repeated
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// The server's `write_stall`, in milliseconds; a run takes as long
    #[arg(long, default_value_t = 2000)]
    write_stall_ms: u32,
    /// Only these transports
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Transport::ALL)]
    transports: Vec<Transport>,
    /// Let server and clients share all processors
    #[arg(long)]
    no_pin: bool,
}

/// What one run showed.
struct Run {
    /// Microseconds of server CPU for each event that a healthy client received.
    cpu: f64,
    p50: f64,
    p99: f64,
    /// Seconds from the first byte that was not read until the last stalled connection was seen to be gone.
    gone: f64,
    /// Seconds from the first byte that was not read until it was last seen to be there.
    there: f64,
    /// How many connections ended, as the server's hooks were told.
    hooks: u64,
    /// How much more memory the server had at the most, in bytes.
    growth: u64,
}

/// What was seen of the stalled connections, in time since they stalled, and of the server's memory.
#[derive(Default)]
struct Seen {
    /// When one of them was last there.
    there: Duration,
    /// When all of them were first seen to be gone.
    gone: Option<Duration>,
    /// The most memory.
    most: u64,
}

/// One transport's server with its healthy clients.
struct Scene<'a> {
    args: &'a Args,
    transport: Transport,
    server: ServerProcess,
    control: Control,
    swarm: Swarm,
    deliveries: Arc<Deliveries>,
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup { pin: !args.no_pin, open_files: 1024, deadline: Duration::from_secs(240) };
    program::main(setup, async |args: Args, cpus| {
        println!(
            "{} clients that read, {} events/s of {} bytes to all, write_stall {} ms, median of {} interleaved pairs",
            args.clients, args.rate, args.size, args.write_stall_ms, args.pairs
        );
        println!(
            "transport  stalled | CPU µs/delivery without   with  ratio (≤{CPU_BUDGET}) | p50 ms without  with | \
             p99 ms without  with  ratio (≤{P99_BUDGET}) | gone after s  hooks | RSS growth without  with"
        );
        let mut within = true;
        for transport in &args.transports {
            within &= measure(*transport, &args, &cpus).await?;
        }
        Ok(within)
    })
}

async fn measure(transport: Transport, args: &Args, cpus: &[usize]) -> Result<bool> {
    let mut scene = Scene::open(transport, args, cpus).await?;
    // The first run warms up and is not counted.
    scene.run(0).await?;
    let mut without = Vec::new();
    let mut with: Vec<Vec<Run>> = args.stalled.iter().map(|_| Vec::new()).collect();
    for pair in 0..args.pairs {
        // Who comes first changes, so that a drift of the machine does not count for one side only.
        if pair % 2 == 0 {
            without.push(scene.run(0).await?);
        }
        for (runs, stalled) in with.iter_mut().zip(&args.stalled) {
            runs.push(scene.run(*stalled).await?);
        }
        if pair % 2 == 1 {
            without.push(scene.run(0).await?);
        }
    }
    let reasons = scene.control.report().await?.disconnected;
    scene.server.stop().await?;
    let mut within = true;
    for (runs, stalled) in with.iter().zip(&args.stalled) {
        within &= print(transport, args, *stalled, &without, runs);
    }
    println!("           reasons given to the hooks: {reasons:?}");
    Ok(within)
}

impl<'a> Scene<'a> {
    async fn open(transport: Transport, args: &'a Args, cpus: &[usize]) -> Result<Self> {
        let write_stall = Duration::from_millis(args.write_stall_ms.into());
        let options = ServeOptions::ours(transport.provider()).on(cpus).with_write_stall(write_stall);
        let server = ServerProcess::start(&options).await?;
        let control = server.control().await?;
        let deliveries = Arc::new(Deliveries::default());
        let address = server.addresses().http;
        let dial = |number| Dial {
            transport,
            server: address,
            user: Some(format!("user-{number}")),
            number,
            receive_buffer: None,
        };
        let swarm = Swarm::connect(args.clients, dial, &deliveries).await?;
        Ok(Self { args, transport, server, control, swarm, deliveries })
    }

    /// Sends for as long as a write may stall, with this many clients that have just stopped reading.
    async fn run(&mut self, stalled: usize) -> Result<Run> {
        let Args { clients, rate, size, write_stall_ms: millis, .. } = *self.args;
        let limit = Duration::from_millis(millis.into());
        let hooks = self.hooks().await?;
        let mut not_reading = Vec::with_capacity(stalled);
        for number in 0..stalled {
            not_reading.push(Client::connect(&self.dial_stalled(number)).await?);
        }
        let process = self.server.process();
        let rss = process.rss_about()?;
        let started = Instant::now();
        if stalled > 0 {
            let (count, size) = FILL;
            self.control.call(&Command::Burst { count, size, to: Audience::User(STALLED.to_owned()) }).await?;
        }
        let watch = self.watch(started, limit * 4).await?;

        self.deliveries.clear();
        let cpu = process.cpu_time()?;
        let published = self.control.call(&Command::Steady { rate, millis, size }).await?.published;
        let expected = published * clients as u64;
        let received = || self.deliveries.count() >= expected;
        until(Duration::from_secs(10), "every event has been received", received).await?;
        let cpu = process.cpu_time()?.saturating_sub(cpu);
        self.swarm.check()?;

        let Seen { there, gone, most } = watch.await??;
        drop(not_reading);
        Ok(Run {
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
            cpu: cpu.as_secs_f64() * 1e6 / expected as f64,
            p50: self.deliveries.ms(50.0),
            p99: self.deliveries.ms(99.0),
            gone: gone.unwrap_or_default().as_secs_f64(),
            there: there.as_secs_f64(),
            hooks: self.hooks().await? - hooks,
            growth: most.saturating_sub(rss),
        })
    }

    /// Looks at the server until only the healthy connections are left, and for as long as a write may stall.
    async fn watch(&self, started: Instant, most: Duration) -> Result<JoinHandle<Result<Seen>>> {
        let mut control = self.server.control().await?;
        let process = self.server.process();
        let healthy = self.args.clients as u64;
        let least = Duration::from_millis(self.args.write_stall_ms.into());
        Ok(tokio::spawn(async move {
            let mut seen = Seen::default();
            while seen.gone.is_none() || started.elapsed() < least {
                seen.most = seen.most.max(process.rss_about()?);
                let asked = started.elapsed();
                let connections = control.report().await?.connections();
                if connections != healthy {
                    seen.there = asked;
                    if asked > most {
                        return Err(format!("a stalled connection is still there after {asked:?}").into());
                    }
                } else if seen.gone.is_none() {
                    seen.gone = Some(started.elapsed());
                }
                sleep(ASK).await;
            }
            Ok(seen)
        }))
    }

    async fn hooks(&mut self) -> Result<u64> {
        Ok(self.control.report().await?.hooks_ended())
    }

    fn dial_stalled(&self, number: usize) -> Dial {
        Dial {
            transport: self.transport,
            server: self.server.addresses().http,
            user: Some(STALLED.to_owned()),
            number,
            receive_buffer: Some(RECEIVE_BUFFER),
        }
    }
}

/// Prints one line, and says whether it is within the budgets.
fn print(transport: Transport, args: &Args, stalled: usize, without: &[Run], with: &[Run]) -> bool {
    let each = |runs: &[Run], figure: fn(&Run) -> f64| runs.iter().map(figure).collect::<Vec<_>>();
    let pair = |figure: fn(&Run) -> f64| (each(without, figure), each(with, figure));
    let (cpu_without, cpu_with) = pair(|run| run.cpu);
    let (p50_without, p50_with) = pair(|run| run.p50);
    let (p99_without, p99_with) = pair(|run| run.p99);
    let (growth_without, growth_with) = pair(|run| mib(run.growth));
    let cpu = median_ratio(&cpu_with, &cpu_without);
    let p99 = median_ratio(&p99_with, &p99_without);
    let gone = each(with, |run| run.gone).into_iter().fold(0.0, f64::max);
    let hooks: u64 = with.iter().map(|run| run.hooks).sum();
    let stalls = stalled * with.len();
    println!(
        "{:9}  {stalled:7} | {:23.2}  {:5.2}  {cpu:12.3} | {:14.2} {:5.2} | {:14.2} {:5.2}  {p99:12.3} | \
         {gone:12.2}  {hooks}/{stalls} | {:14.2} MiB  {:.2} MiB",
        transport.provider(),
        median(&cpu_without),
        median(&cpu_with),
        median(&p50_without),
        median(&p50_with),
        median(&p99_without),
        median(&p99_with),
        median(&growth_without),
        median(&growth_with),
    );
    let latest = f64::from(args.write_stall_ms) / 1000.0 * (1.0 + SLACK);
    let mut within = true;
    let mut over = |is: bool, what: &str| {
        if is {
            println!("           OVER BUDGET: {what}");
            within = false;
        }
    };
    over(cpu > CPU_BUDGET, "CPU for each healthy delivery");
    over(p99 > P99_BUDGET, "the healthy clients' p99");
    // Not by `gone`: on a busy machine the look that sees it may come late.
    let there = each(with, |run| run.there).into_iter().fold(0.0, f64::max);
    over(there > latest, &format!("a stalled connection was there longer than {latest} s"));
    over(hooks != stalls as u64, "not every hook ran");
    let most = with.iter().map(|run| run.growth).max().unwrap_or_default();
    over(most > MEMORY_BASE + MEMORY_EACH * stalled as u64, &format!("memory, {:.2} MiB in one run", mib(most)));
    within
}
