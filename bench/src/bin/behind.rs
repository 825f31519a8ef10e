//! What clients cost the others that stall for a while and then catch up, for each transport, beside the budgets.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::child::ServerProcess;
use realtime_bench::client::{Dial, Transport};
use realtime_bench::deliveries::Deliveries;
use realtime_bench::figures::{median, median_ratio, mib};
use realtime_bench::process::{Process, tcp_memory};
use realtime_bench::program::{self, Setup, until};
use realtime_bench::sequence::Sequence;
use realtime_bench::server::control::{Command, Control};
use realtime_bench::server::{Audience, ServeOptions};
use realtime_bench::straggler::Straggler;
use realtime_bench::swarm::Swarm;
use realtime_unified::{OutboxConfig, Stats, WindowConfig, WireConfig};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, timeout};

/// CPU for each healthy delivery, as a multiple of a run without stalled clients.
const CPU_BUDGET: f64 = 1.2;
/// The healthy clients' 99th percentile, as a multiple of a run without stalled clients.
const P99_BUDGET: f64 = 1.5;
/// How much of its processor the server may use for the figures to mean something.
const BUSY: f64 = 0.6;
/// What a session may have taken from its outbox and not written yet.
const BATCH: u64 = 64 * 1024;
/// What the server may need besides: allocations of a moment.
const MEMORY_BASE: u64 = 4 * 1024 * 1024;
/// Bookkeeping of a record, in the log and in the window.
const RECORD: u64 = 512;
/// The user that stalled clients say they are.
const STALLED: &str = "stalled";
/// A stalled client's receive buffer, so that little fills it.
const RECEIVE_BUFFER: u32 = 16 * 1024;
/// Bytes of each event that is sent to the stalled clients alone, to fill their sockets and outboxes.
const FILL_SIZE: usize = 8 * 1024;
/// How long it may take until something is as it should be.
const LATE: Duration = Duration::from_secs(30);
/// How often the server's memory is looked at.
const LOOK: Duration = Duration::from_millis(50);
/// Seconds of the runs that are not timed.
const SHORT: u32 = 2;

#[derive(Parser)]
struct Args {
    /// Clients that read
    #[arg(long, default_value_t = 2000)]
    clients: usize,
    /// Clients that stall
    #[arg(long, default_value_t = 100)]
    stalled: usize,
    /// For how long they stall
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Events a second, each to everyone
    #[arg(long, default_value_t = 10)]
    rate: u32,
    /// Bytes of JSON in each event
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// Events of 8 KiB that the stalled clients get before the others, so that they fall behind at once
    #[arg(long, default_value_t = 128)]
    fill: u64,
    /// How often the runs are repeated
    #[arg(long, default_value_t = 5)]
    pairs: usize,
    /// Records in the window of a last run in which it does not hold what the stalled clients miss; 0 for none
    #[arg(long, default_value_t = 64)]
    small_window: usize,
    /// Only these transports
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Transport::Ws])]
    transports: Vec<Transport>,
    /// Let server and clients share all processors
    #[arg(long)]
    no_pin: bool,
}

/// What one run showed.
struct Run {
    /// Microseconds of server CPU for each event that a healthy client received.
    cpu: f64,
    /// The share of a processor that the server used.
    busy: f64,
    p50: f64,
    p99: f64,
    /// How much more memory the server had at the most, in bytes.
    growth: u64,
    /// How much more memory the kernel had for all sockets while they were stalled, in bytes.
    kernel: u64,
    /// Times a full outbox put its connection behind.
    overflows: u64,
    /// Seconds in which those who had stalled caught up.
    caught_up: f64,
    /// What each of them received in the end.
    received: Vec<Sequence>,
    /// The number after the last event.
    end: u64,
}

/// One transport's server with its healthy clients.
struct Scene<'a> {
    args: &'a Args,
    transport: Transport,
    server: ServerProcess,
    control: Control,
    swarm: Swarm,
    deliveries: Arc<Deliveries>,
    /// The number of the next event.
    next: u64,
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup {
        pin: !args.no_pin,
        open_files: (args.clients + args.stalled) as u64 + 256,
        deadline: Duration::from_secs(900),
    };
    program::main(setup, async |args: Args, cpus| {
        println!(
            "{} clients that read, {} events/s of {} bytes to all; {} that stall for {} s, {} events of {FILL_SIZE} \
             bytes more for them; write_stall 30 s, median of {} interleaved pairs",
            args.clients, args.rate, args.size, args.stalled, args.seconds, args.fill, args.pairs
        );
        println!(
            "transport | CPU µs/delivery without   with  ratio (≤{CPU_BUDGET})  busy | p50 ms without  with | \
             p99 ms without  with  ratio (≤{P99_BUDGET}) | RSS growth MiB without  with  bound | kernel MiB  bound | \
             caught up after s"
        );
        let mut holds = true;
        for transport in &args.transports {
            holds &= measure(*transport, &args, &cpus).await?;
            if args.small_window > 0 {
                holds &= exceed(*transport, &args, &cpus).await?;
            }
        }
        Ok(holds)
    })
}

/// Runs with and without stalled clients, whom the window has everything for.
async fn measure(transport: Transport, args: &Args, cpus: &[usize]) -> Result<bool> {
    let mut scene = Scene::open(transport, args, cpus, WindowConfig::default().records()).await?;
    // The first run warms up and is not counted.
    scene.run(0, args.seconds.min(SHORT)).await?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for pair in 0..args.pairs {
        // Who comes first changes, so that a drift of the machine does not count for one side only.
        for stalled in if pair % 2 == 0 { [0, args.stalled] } else { [args.stalled, 0] } {
            let run = scene.run(stalled, args.seconds).await?;
            if stalled == 0 { &mut without } else { &mut with }.push(run);
        }
    }
    scene.server.stop().await?;
    let within = print(transport, args, &without, &with);

    let each = args.fill + u64::from(args.rate) * u64::from(args.seconds);
    let all: Vec<_> = with.iter().flat_map(|run| run.received.iter().map(move |one| (run, one))).collect();
    let events: u64 = all.iter().map(|(_, one)| one.events).sum();
    let exact = |(run, one): &&(&Run, &Sequence)| {
        one.is_exact() && one.told.is_empty() && one.events == each && one.next == run.end
    };
    let right = all.iter().filter(exact).count();
    println!(
        "            {right} of {} stalled clients got exactly their {each} events, once and in order ({events} in all); \
             outboxes overflowed {} times",
        all.len(),
        with.iter().map(|run| run.overflows).sum::<u64>()
    );
    let holds = right == all.len();
    if !holds {
        println!("            DOES NOT HOLD: they get all that the window has");
    }
    Ok(within && holds)
}

/// One run whose window is too small for what the stalled clients miss.
async fn exceed(transport: Transport, args: &Args, cpus: &[usize]) -> Result<bool> {
    let mut scene = Scene::open(transport, args, cpus, args.small_window).await?;
    let run = scene.run(args.stalled, args.seconds.min(SHORT)).await?;
    scene.server.stop().await?;
    let window = args.small_window as u64;
    // Who has lost its place goes on after the oldest quarter of the window, and up to an eighth more.
    let most = window - window / 4;
    let rest = most - window / 8..=most;
    let right = |one: &&Sequence| {
        let got = one.told.last().map(|told| one.events - told.after);
        let whole = got.is_some_and(|got| rest.contains(&got)) && one.told.iter().all(|told| told.joins);
        one.is_exact() && one.next == run.end && whole
    };
    let count = run.received.iter().filter(right).count();
    let spans: Vec<u64> = run.received.iter().flat_map(|one| &one.told).map(|told| told.span).collect();
    println!(
        "            window of {window} records: {count} of {} were told of the right loss ({} to {} records) and got the rest",
        args.stalled,
        spans.iter().min().unwrap_or(&0),
        spans.iter().max().unwrap_or(&0)
    );
    if count != args.stalled {
        println!("            DOES NOT HOLD: they are told of what they lost, and get the rest");
        if let Some(wrong) = run.received.iter().find(|one| !right(one)) {
            println!("            such as {wrong:?} of {}", run.end);
        }
    }
    Ok(count == args.stalled)
}

impl<'a> Scene<'a> {
    async fn open(transport: Transport, args: &'a Args, cpus: &[usize], window: usize) -> Result<Self> {
        let options = ServeOptions::ours(transport.provider()).on(cpus).with_window_records(window);
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
        Ok(Self { args, transport, server, control, swarm, deliveries, next: 0 })
    }

    /// Sends for so many seconds, with this many clients that do not read meanwhile, and then read what they missed.
    async fn run(&mut self, stalled: usize, seconds: u32) -> Result<Run> {
        let Args { clients, rate, size, fill, .. } = *self.args;
        let first = self.next;
        let (kernel, process) = (tcp_memory()?, self.server.process());
        let mut not_reading = Vec::with_capacity(stalled);
        for number in 0..stalled {
            not_reading.push(Straggler::connect(&self.dial_stalled(number), first).await?);
        }
        let (watch, stop) = watch_memory(process)?;
        let before = self.stats().await?;
        // Without stalled clients it is for nobody, and takes the same memory in the log and the window.
        self.publish(Audience::User(STALLED.to_owned()), fill, None, FILL_SIZE).await?;
        self.behind(stalled as u64).await?;

        self.deliveries.clear();
        let (cpu, started) = (process.cpu_time()?, Instant::now());
        let count = u64::from(rate) * u64::from(seconds);
        self.publish(Audience::All, count, Some(rate), size).await?;
        let expected = count * clients as u64;
        let received = || self.deliveries.count() >= expected;
        until(LATE, "every event has been received", received).await?;
        let (cpu, elapsed) = (process.cpu_time()?.saturating_sub(cpu), started.elapsed());
        let (p50, p99) = (self.deliveries.ms(50.0), self.deliveries.ms(99.0));

        let after = self.stats().await?;
        if (after.behind, after.connections) != (stalled as u64, (stalled + clients) as u64) {
            return Err(format!("{stalled} should be behind of {}: {after:?}", stalled + clients).into());
        }
        let kernel = tcp_memory()?.saturating_sub(kernel);
        let (received, caught_up) = self.catch_up(not_reading).await?;
        if self.deliveries.count() != expected {
            return Err("healthy clients have received more than was sent".into());
        }
        self.swarm.check()?;
        drop(stop);
        Ok(Run {
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
            cpu: cpu.as_secs_f64() * 1e6 / expected as f64,
            busy: cpu.as_secs_f64() / elapsed.as_secs_f64(),
            p50,
            p99,
            growth: watch.await??,
            kernel,
            overflows: after.overflows - before.overflows,
            caught_up: caught_up.as_secs_f64(),
            received,
            end: self.next,
        })
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

    /// Publishes the next events.
    async fn publish(&mut self, to: Audience, count: u64, rate: Option<u32>, size: usize) -> Result<()> {
        self.control.call(&Command::Numbered { count, rate, series: vec![(to, self.next)], size }).await?;
        self.next += count;
        Ok(())
    }

    /// Waits until so many connections are behind.
    async fn behind(&mut self, count: u64) -> Result<()> {
        let end = Instant::now() + LATE;
        while self.stats().await?.behind != count {
            if Instant::now() > end {
                return Err(format!("{count} connections should be behind: {:?}", self.stats().await?).into());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }

    /// Has them all read until each has the last event; also says how long the slowest took.
    async fn catch_up(&self, stragglers: Vec<Straggler>) -> Result<(Vec<Sequence>, Duration)> {
        let mut reading = JoinSet::new();
        for straggler in stragglers {
            reading.spawn(straggler.catch_up(self.next));
        }
        let (mut received, mut slowest) = (Vec::new(), Duration::ZERO);
        while let Some(read) = reading.join_next().await {
            let (sequence, took) = read??;
            received.push(sequence);
            slowest = slowest.max(took);
        }
        Ok((received, slowest))
    }

    async fn stats(&mut self) -> Result<Stats> {
        let report = self.control.report().await?;
        Ok(report.stats.get(self.transport.provider()).cloned().unwrap_or_default())
    }
}

/// Looks at a process until the answered sender is dropped; the task answers by how much its memory grew at the most.
fn watch_memory(process: Process) -> Result<(JoinHandle<Result<u64>>, watch::Sender<()>)> {
    let (stop, mut stopped) = watch::channel(());
    let before = process.rss_about()?;
    let task = tokio::spawn(async move {
        let mut most = before;
        while timeout(LOOK, stopped.changed()).await.is_err() {
            most = most.max(process.rss_about()?);
        }
        Ok(most - before)
    });
    Ok((task, stop))
}

/// Prints one line, and says whether it is within the budgets.
fn print(transport: Transport, args: &Args, without: &[Run], with: &[Run]) -> bool {
    let each = |runs: &[Run], figure: fn(&Run) -> f64| runs.iter().map(figure).collect::<Vec<_>>();
    let pair = |figure: fn(&Run) -> f64| (each(without, figure), each(with, figure));
    let (cpu_without, cpu_with) = pair(|run| run.cpu);
    let (p50_without, p50_with) = pair(|run| run.p50);
    let (p99_without, p99_with) = pair(|run| run.p99);
    let (growth_without, growth_with) = pair(|run| mib(run.growth));
    let (_, kernel) = pair(|run| mib(run.kernel));
    let (busy_without, busy_with) = pair(|run| run.busy);
    let (cpu, p99) = (median_ratio(&cpu_with, &cpu_without), median_ratio(&p99_with, &p99_without));
    let (memory, kernel_memory) = (mib(memory_bound(args)), mib(kernel_bound(args)));
    let last = each(with, |run| run.caught_up);
    println!(
        "{:9} | {:23.2}  {:5.2}  {cpu:12.3}  {:3.0}% | {:14.2} {:5.2} | {:14.2} {:5.2}  {p99:12.3} | \
         {:22.2}  {:4.2}  {memory:5.1} | {:10.2}  {kernel_memory:5.1} | {:.2}",
        transport.provider(),
        median(&cpu_without),
        median(&cpu_with),
        median(&busy_with) * 100.0,
        median(&p50_without),
        median(&p50_with),
        median(&p99_without),
        median(&p99_with),
        median(&growth_without),
        median(&growth_with),
        median(&kernel),
        median(&last),
    );
    let mut within = true;
    let mut over = |is: bool, what: &str| {
        if is {
            println!("            OVER BUDGET: {what}");
            within = false;
        }
    };
    let most = |figures: &[f64]| figures.iter().copied().fold(0.0, f64::max);
    over(cpu > CPU_BUDGET, "CPU for each healthy delivery");
    over(p99 > P99_BUDGET, "the healthy clients' p99");
    over(most(&growth_with) > memory, &format!("memory, {:.2} MiB in one run", most(&growth_with)));
    over(most(&kernel) > kernel_memory, &format!("the kernel's memory, {:.2} MiB in one run", most(&kernel)));
    over(with.iter().any(|run| run.overflows < args.stalled as u64), "not every outbox has overflowed");
    if most(&busy_without).max(most(&busy_with)) > BUSY {
        println!("            warning: the server's processor was too busy for the times to mean much");
    }
    within
}

/// What a run with stalled clients may take of the server's memory: their outboxes and what their sessions have taken,
/// and what is published, once in the log and once in the window, or as much as these hold.
fn memory_bound(args: &Args) -> u64 {
    let (window, outbox) = (WindowConfig::default(), OutboxConfig::default());
    let count = u64::from(args.rate) * u64::from(args.seconds);
    let published = args.fill * (FILL_SIZE as u64 + RECORD) + count * (args.size as u64 + RECORD);
    MEMORY_BASE + args.stalled as u64 * (outbox.bytes() as u64 + BATCH) + 2 * published.min(window.bytes() as u64)
}

/// What the kernel may keep of what the stalled clients do not take: what is unsent, a write that began below that mark,
/// and what the client's side has received; all of it twice, for the kernel counts its bookkeeping.
fn kernel_bound(args: &Args) -> u64 {
    let unsent = WireConfig::default().unsent_low_water().unwrap_or_default();
    2 * args.stalled as u64 * (u64::from(unsent) + BATCH + u64::from(RECEIVE_BUFFER))
}
