//! Clients that stall for a while, fall behind and catch up.

use std::time::Duration;

use realtime_bench::Result;
use realtime_bench::child::ServerProcess;
use realtime_bench::client::Transport;
use realtime_bench::figures::{median, mib};
use realtime_bench::load::{self, Comparison, Load, MemoryWatch, Sample};
use realtime_bench::process::tcp_memory;
use realtime_bench::report::Report;
use realtime_bench::sequence::Sequence;
use realtime_bench::server::{Audience, Counters, ServeOptions};
use realtime_bench::straggler::Straggler;
use realtime_unified::config::{OutboxConfig, WindowConfig};
use realtime_unified::http::WireConfig;
use tokio::task::JoinSet;

use crate::{Args as All, STALLED};

/// The part of its processor that the server may use for the figures to mean something.
const BUSY: f64 = 0.6;
/// The bytes that a session may have taken from its outbox and not written yet.
const BATCH: u64 = 64 * 1024;
/// The additional memory of the server: temporary allocations.
const MEMORY_BASE: u64 = 4 * 1024 * 1024;
/// Bookkeeping of a record, in the log and in the window.
const RECORD: u64 = 512;
/// A stalled client's receive buffer, so that little fills it.
const RECEIVE_BUFFER: u32 = 16 * 1024;
/// Bytes of each event that only the stalled clients receive, to fill their sockets and outboxes.
const FILL_SIZE: usize = 8 * 1024;
/// The time that the connections may take to fall behind.
const LATE: Duration = Duration::from_secs(30);
/// Seconds of the runs that are not timed.
const SHORT: u32 = 2;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Clients that read
    #[arg(long, default_value_t = 2000)]
    pub(crate) clients: usize,
    /// Clients that stall
    #[arg(long, default_value_t = 100)]
    pub(crate) stalled: usize,
    /// For how long they stall
    #[arg(long, default_value_t = 10)]
    seconds: u32,
    /// Events a second, each to everyone
    #[arg(long, default_value_t = 10)]
    rate: u32,
    /// Events of 8 KiB that the stalled clients get before the others, so that they fall behind at
    /// once
    #[arg(long, default_value_t = 128)]
    fill: u64,
    /// Records in the window of a last run in which it does not hold what the stalled clients miss;
    /// 0 for none
    #[arg(long, default_value_t = 64)]
    small_window: usize,
    /// Only these transports
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Transport::Ws])]
    transports: Vec<Transport>,
}

/// The figures of one run.
struct Run {
    sample: Sample,
    /// The additional memory that the kernel had for all sockets while they were stalled, in bytes.
    kernel: u64,
    /// The number of times that a full outbox put its connection behind.
    overflows: u64,
    /// Seconds in which the stalled clients caught up.
    caught_up: f64,
    /// The events that each of them received in the end.
    received: Vec<Sequence>,
    /// The number after the last event.
    end: u64,
}

/// Measures each transport, and returns whether everything holds.
pub(crate) async fn measure(args: &Args, all: &All, cpus: &[usize]) -> Result<bool> {
    println!(
        "{} clients that read, {} events/s of {} bytes to all; {} that stall for {} s, {} events of {FILL_SIZE} \
         bytes more for them; write_stall 30 s, median of {} interleaved pairs",
        args.clients, args.rate, all.size, args.stalled, args.seconds, args.fill, all.pairs
    );
    let extra = ["RSS bound", "kernel MiB", "bound", "busy", "caught up after s"];
    let mut report = Report::default();
    report.table(9, &[&["transport"], &load::TITLES[..], &extra].concat());
    for transport in &args.transports {
        compare(*transport, args, all, cpus, &mut report).await?;
        if args.small_window > 0 {
            exceed(*transport, args, all, cpus, &mut report).await?;
        }
    }
    Ok(report.holds())
}

/// Runs with and without stalled clients, with a window that holds all that they miss.
async fn compare(transport: Transport, args: &Args, all: &All, cpus: &[usize], report: &mut Report) -> Result<()> {
    let mut load = open(transport, args, cpus, WindowConfig::default().records()).await?;
    // The first run warms up and is not counted.
    run(&mut load, args, all.size, 0, args.seconds.min(SHORT)).await?;
    let step = async |stalled| run(&mut load, args, all.size, stalled, args.seconds).await;
    let (without, mut with) = load::interleave(all.pairs, &[args.stalled], step).await?;
    let with = with.pop().unwrap_or_default();
    load.stop().await?;
    print(transport, args, all.size, (&without, &with), report);

    let each = args.fill + u64::from(args.rate) * u64::from(args.seconds);
    let received: Vec<_> = with.iter().flat_map(|run| run.received.iter().map(move |one| (run, one))).collect();
    let events: u64 = received.iter().map(|(_, one)| one.events).sum();
    let exact = |(run, one): &&(&Run, &Sequence)| {
        one.is_exact() && one.losses.is_empty() && one.events == each && one.next == run.end
    };
    let right = received.iter().filter(exact).count();
    println!(
        "            {right} of {} stalled clients got exactly their {each} events, once and in order ({events} in all); \
         outboxes overflowed {} times",
        received.len(),
        with.iter().map(|run| run.overflows).sum::<u64>()
    );
    report.require(right == received.len(), "they get all that the window has");
    Ok(())
}

/// Runs once with a window that is too small for what the stalled clients miss.
async fn exceed(transport: Transport, args: &Args, all: &All, cpus: &[usize], report: &mut Report) -> Result<()> {
    let mut load = open(transport, args, cpus, args.small_window).await?;
    let run = run(&mut load, args, all.size, args.stalled, args.seconds.min(SHORT)).await?;
    load.stop().await?;
    let window = args.small_window as u64;
    // A client that has lost its position continues after the oldest quarter of the window, and up
    // to an eighth more.
    let most = window - window / 4;
    let rest = most - window / 8..=most;
    let right = |one: &&Sequence| {
        let got = one.losses.last().map(|loss| one.events - loss.after);
        let whole = got.is_some_and(|got| rest.contains(&got)) && one.losses.iter().all(|loss| loss.joins);
        one.is_exact() && one.next == run.end && whole
    };
    let count = run.received.iter().filter(right).count();
    let spans: Vec<u64> = run.received.iter().flat_map(|one| &one.losses).map(|loss| loss.span).collect();
    println!(
        "            window of {window} records: {count} of {} were notified of the right loss ({} to {} records) and \
         got the rest",
        args.stalled,
        spans.iter().min().unwrap_or(&0),
        spans.iter().max().unwrap_or(&0)
    );
    report.require(count == args.stalled, "they are notified of what they lost, and get the rest");
    if let Some(wrong) = run.received.iter().find(|one| !right(one)) {
        println!("            such as {wrong:?} of {}", run.end);
    }
    Ok(())
}

async fn open(transport: Transport, args: &Args, cpus: &[usize], window: usize) -> Result<Load> {
    let options = ServeOptions { window_records: window, ..ServeOptions::ours(&[transport.provider()]).on(cpus) };
    Load::open(transport, args.clients, ServerProcess::start(&options).await?).await
}

/// Publishes for this many seconds, with this many clients that do not read meanwhile, and then
/// read what they missed.
async fn run(load: &mut Load, args: &Args, size: usize, stalled: usize, seconds: u32) -> Result<Run> {
    let Args { clients, rate, fill, .. } = *args;
    let kernel = tcp_memory()?;
    let mut not_reading = Vec::with_capacity(stalled);
    for number in 0..stalled {
        let dial = load.dial(STALLED, number, RECEIVE_BUFFER);
        not_reading.push(Straggler::connect(&dial, load.next).await?);
    }
    let memory = MemoryWatch::start(load.server.process)?;
    let before = load.stats().await?;
    // Without stalled clients it reaches no one, and takes the same memory in the log and the
    // window.
    load.publish(Audience::User(STALLED.to_owned()), fill, None, FILL_SIZE).await?;
    let all_behind = |of: &Counters| of.stats.values().map(|stats| stats.behind).sum::<u64>() == stalled as u64;
    load.control.until(LATE, "as many connections are behind as stall", all_behind).await?;

    let count = u64::from(rate) * u64::from(seconds);
    let sample = load.measure(count, rate, size).await?;
    let after = load.stats().await?;
    if (after.behind, after.connections) != (stalled as u64, (stalled + clients) as u64) {
        return Err(format!("{stalled} should be behind of {}: {after:?}", stalled + clients).into());
    }
    let kernel = tcp_memory()?.saturating_sub(kernel);
    let (received, caught_up) = catch_up(not_reading, load.next).await?;
    if load.deliveries.count() != count * clients as u64 {
        return Err("reading clients have received more than was sent".into());
    }
    load.swarm.check()?;
    Ok(Run {
        sample: Sample { growth: memory.stop().await?, ..sample },
        kernel,
        overflows: after.overflows - before.overflows,
        caught_up: caught_up.as_secs_f64(),
        received,
        end: load.next,
    })
}

/// Lets all of them read until each has the last event; returns the time that the slowest took too.
async fn catch_up(stragglers: Vec<Straggler>, end: u64) -> Result<(Vec<Sequence>, Duration)> {
    let mut reading = JoinSet::new();
    for straggler in stragglers {
        reading.spawn(straggler.catch_up(end));
    }
    let (mut received, mut slowest) = (Vec::new(), Duration::ZERO);
    while let Some(read) = reading.join_next().await {
        let (sequence, took) = read??;
        received.push(sequence);
        slowest = slowest.max(took);
    }
    Ok((received, slowest))
}

/// Prints one row, and requires what must hold.
fn print(transport: Transport, args: &Args, size: usize, (without, with): (&[Run], &[Run]), report: &mut Report) {
    let samples = |runs: &[Run]| runs.iter().map(|run| run.sample).collect::<Vec<_>>();
    let (base, stalled) = (samples(without), samples(with));
    let each = |figure: fn(&Run) -> f64| with.iter().map(figure).collect::<Vec<_>>();
    let busy = |runs: &[Sample]| median(&runs.iter().map(|run| run.busy).collect::<Vec<_>>());
    let most = |figures: &[f64]| figures.iter().copied().fold(0.0, f64::max);
    let (kernel, caught_up) = (each(|run| mib(run.kernel)), each(|run| run.caught_up));
    let (memory_bound, kernel_bound) = (mib(memory_bound(args, size)), mib(kernel_bound(args)));
    let comparison = Comparison::of(&base, &stalled);
    let mut cells = vec![transport.provider().to_owned()];
    cells.extend_from_slice(&comparison.cells);
    cells.extend([memory_bound, median(&kernel), kernel_bound].map(|figure| format!("{figure:.1}")));
    cells.extend([format!("{:.0}%", busy(&stalled) * 100.0), format!("{:.2}", median(&caught_up))]);
    report.row(&cells);
    comparison.judge(report);
    report.within(most(&each(|run| mib(run.sample.growth))), memory_bound, "MiB of the server's memory in a run");
    report.within(most(&kernel), kernel_bound, "MiB of the kernel's memory in a run");
    report.require(with.iter().all(|run| run.overflows >= args.stalled as u64), "every outbox overflows");
    if busy(&base).max(busy(&stalled)) > BUSY {
        println!("            warning: the server's processor was too busy for the times to mean much");
    }
}

/// Returns the most that a run with stalled clients may take of the server's memory: their outboxes
/// and what their sessions have taken, and what is published, once in the log and once in the
/// window, or as much as these hold.
fn memory_bound(args: &Args, size: usize) -> u64 {
    let (window, outbox) = (WindowConfig::default(), OutboxConfig::default());
    let count = u64::from(args.rate) * u64::from(args.seconds);
    let published = args.fill * (FILL_SIZE as u64 + RECORD) + count * (size as u64 + RECORD);
    MEMORY_BASE + args.stalled as u64 * (outbox.bytes() as u64 + BATCH) + 2 * published.min(window.bytes() as u64)
}

/// Returns the most that the kernel may keep of what the stalled clients do not read: what is
/// unsent, a write that began below that mark, and what the client's side has received; all of it
/// twice, for the kernel counts its bookkeeping.
fn kernel_bound(args: &Args) -> u64 {
    let unsent = WireConfig::default().unsent_low_water().unwrap_or_default();
    2 * args.stalled as u64 * (u64::from(unsent) + BATCH + u64::from(RECEIVE_BUFFER))
}
