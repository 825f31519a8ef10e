//! Clients that never read again: they are closed after `write_stall`.

use std::time::Duration;

use realtime_bench::Result;
use realtime_bench::child::ServerProcess;
use realtime_bench::client::{Client, Transport};
use realtime_bench::figures::mib;
use realtime_bench::load::{self, Comparison, Load, MemoryWatch, Sample};
use realtime_bench::report::Report;
use realtime_bench::server::control::Command;
use realtime_bench::server::{Audience, ServeOptions};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use crate::STALLED;

/// The delay after `write_stall` with which a stalled connection may be gone, as a part of it: what
/// the clocks' steps allow.
const SLACK: f64 = 0.25;
/// The memory for a stalled connection: the two lanes of its outbox and what the
/// kernel's bound leaves.
const MEMORY_EACH: u64 = 640 * 1024;
/// The additional memory: what is published in a run stays in the log and the window.
const MEMORY_BASE: u64 = 4 * 1024 * 1024;
/// A stalled client's receive buffer, so that little fills it.
const RECEIVE_BUFFER: u32 = 4096;
/// The number and size of the events for the stalled clients before a run: 512 KiB, more than the
/// kernel takes for a client that does not read.
const FILL: (u32, usize) = (32, 16 * 1024);
/// The time between two requests for the server's counters.
const ASK: Duration = Duration::from_millis(50);

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Clients that read
    #[arg(long, default_value_t = 200)]
    pub(crate) clients: usize,
    /// Clients that stop reading: one run for each number, next to one without
    #[arg(long, value_delimiter = ',', default_values_t = [1, 20])]
    stalled: Vec<usize>,
    /// Events a second, each to everyone
    #[arg(long, default_value_t = 100)]
    rate: u32,
    /// The server's `write_stall`, in milliseconds; a run takes as long
    #[arg(long, default_value_t = 2000)]
    write_stall_ms: u32,
    /// Only these transports
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Transport::ALL)]
    transports: Vec<Transport>,
}

/// The figures of one run.
struct Run {
    sample: Sample,
    seen: Seen,
    /// The number of connections that ended, as the server's hooks were notified.
    hooks: u64,
}

/// The stalled connections as the server's counters show them, in time since they stalled.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// The time at which one of them was last there.
    there: Duration,
    /// The time at which all of them were first seen to be gone.
    gone: Option<Duration>,
}

/// Measures each transport, and returns whether every figure is within its budget.
pub(crate) async fn measure(args: &Args, all: &crate::Args, cpus: &[usize]) -> Result<bool> {
    println!(
        "{} clients that read, {} events/s of {} bytes to all, write_stall {} ms, median of {} interleaved pairs",
        args.clients, args.rate, all.size, args.write_stall_ms, all.pairs
    );
    let titles = [&["transport", "stalled"], &load::TITLES[..], &["gone after s", "hooks called"]].concat();
    let mut report = Report::default();
    report.table(9, &titles);
    for transport in &args.transports {
        let options = ServeOptions::ours(&[transport.provider()]).on(cpus);
        let options = ServeOptions { write_stall_ms: args.write_stall_ms.into(), ..options };
        let mut load = Load::open(*transport, args.clients, ServerProcess::start(&options).await?).await?;
        // The first run warms up and is not counted.
        run(&mut load, args, all.size, 0).await?;
        let step = async |stalled| run(&mut load, args, all.size, stalled).await;
        let (without, with) = load::interleave(all.pairs, &args.stalled, step).await?;
        let reasons = load.control.report().await?.disconnected;
        load.stop().await?;
        for (runs, stalled) in with.iter().zip(&args.stalled) {
            print(*transport, args, *stalled, (&without, runs), &mut report);
        }
        println!("            reasons given to the hooks: {reasons:?}");
    }
    Ok(report.holds())
}

/// Publishes for as long as a write may stall, with this many clients that have just stopped
/// reading.
async fn run(load: &mut Load, args: &Args, size: usize, stalled: usize) -> Result<Run> {
    let Args { clients, rate, write_stall_ms: millis, .. } = *args;
    let hooks = load.control.report().await?.hooks_ended();
    let mut not_reading = Vec::with_capacity(stalled);
    for number in 0..stalled {
        not_reading.push(Client::connect(&load.dial(STALLED, number, RECEIVE_BUFFER)).await?);
    }
    let memory = MemoryWatch::start(load.server.process)?;
    let started = Instant::now();
    if stalled > 0 {
        let (count, size) = FILL;
        load.control.call(&Command::Burst { count, size, to: Audience::User(STALLED.to_owned()) }).await?;
    }
    let limit = Duration::from_millis(millis.into());
    let seen = watch(load, clients as u64, started, limit).await?;
    let sample = load.measure(u64::from(rate) * u64::from(millis) / 1000, rate, size).await?;
    let seen = seen.await??;
    let growth = memory.stop().await?;
    drop(not_reading);
    let hooks = load.control.report().await?.hooks_ended() - hooks;
    Ok(Run { sample: Sample { growth, ..sample }, seen, hooks })
}

/// Looks at the server until only the reading clients are left, and for at least `write_stall`.
async fn watch(load: &Load, reading: u64, started: Instant, write_stall: Duration) -> Result<JoinHandle<Result<Seen>>> {
    let mut control = load.server.control().await?;
    Ok(tokio::spawn(async move {
        let mut seen = Seen::default();
        while seen.gone.is_none() || started.elapsed() < write_stall {
            let asked = started.elapsed();
            if control.report().await?.connections() != reading {
                seen.there = asked;
                if asked > write_stall * 4 {
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

/// Prints one row, and requires what must hold.
fn print(transport: Transport, args: &Args, stalled: usize, (without, with): (&[Run], &[Run]), report: &mut Report) {
    let samples = |runs: &[Run]| runs.iter().map(|run| run.sample).collect::<Vec<_>>();
    let latest = |figure: fn(&Seen) -> Duration| with.iter().map(|run| figure(&run.seen)).max().unwrap_or_default();
    let hooks: u64 = with.iter().map(|run| run.hooks).sum();
    let stalls = stalled * with.len();
    let mut cells = vec![transport.provider().to_owned(), stalled.to_string()];
    let comparison = Comparison::of(&samples(without), &samples(with));
    cells.extend_from_slice(&comparison.cells);
    let gone = latest(|seen| seen.gone.unwrap_or_default());
    cells.extend([format!("{:.2}", gone.as_secs_f64()), format!("{hooks}/{stalls}")]);
    report.row(&cells);
    comparison.judge(report);
    // Not by `gone`: on a busy machine the look that sees it may come late.
    let there = latest(|seen| seen.there).as_secs_f64();
    let limit = f64::from(args.write_stall_ms) / 1000.0 * (1.0 + SLACK);
    report.within(there, limit, "seconds for which a stalled connection was there");
    report.require(hooks == stalls as u64, "every hook is called");
    let most = with.iter().map(|run| run.sample.growth).max().unwrap_or_default();
    report.within(mib(most), mib(MEMORY_BASE + MEMORY_EACH * stalled as u64), "MiB of the server's memory in a run");
}
