//! The cost of a log on disk: server CPU of a send next to the log in memory, and appends a second,
//! to a log in Redis too.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use futures_util::future::join_all;
use realtime_bench::Result;
use realtime_bench::broker::{Broker, text};
use realtime_bench::client::Transport;
use realtime_bench::contest::Contestant;
use realtime_bench::figures::{least, median, median_ratio, mib};
use realtime_bench::lane::{Lane, Plan};
use realtime_bench::program::{self, Setup};
use realtime_bench::report::Report;
use realtime_bench::server::Kind;
use realtime_bench::server::log::LogKind;
use realtime_unified::spi::{Backplane, Record};
use realtime_unified::{Event, EventId, Target};
use tempfile::TempDir;
use tokio::time::Instant;

#[derive(Parser)]
struct Args {
    /// Clients of each server: one table for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1, 1000])]
    clients: Vec<usize>,
    /// Sends under way at a time
    #[arg(long, default_value_t = 16)]
    under_way: usize,
    /// Tasks that append at a time, without a server
    #[arg(long, value_delimiter = ',', default_values_t = [1, 64])]
    appenders: Vec<usize>,
    /// Bytes of JSON in each event
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// The number of times that each log is measured, one after the other
    #[arg(long, default_value_t = 10)]
    rounds: usize,
    /// The time that one measurement takes, in milliseconds
    #[arg(long, default_value_t = 400)]
    millis: u64,
    /// Leave out the log in Redis, which needs `redis-server`
    #[arg(long)]
    no_redis: bool,
    /// Leave out the log in NATS, which needs `nats-server`
    #[arg(long)]
    no_nats: bool,
    /// Let servers and clients share all processors
    #[arg(long)]
    no_pin: bool,
}

/// The name of a log at its broker.
const NAME: &str = "bench";

/// The logs, the one in memory first.
const LOGS: [(&str, LogKind); 3] = [
    ("in memory", LogKind::Memory),
    ("on disk, synced every 100 ms", LogKind::Disk),
    ("on disk, synced always", LogKind::DiskAlways),
];

/// The ways in which a Redis syncs its append-only file: to the log in it, appends alone are
/// measured.
const SYNCS: [(&str, &str); 2] =
    [("in Redis, appendfsync everysec", "everysec"), ("in Redis, appendfsync always", "always")];

/// The bytes of the records that fill a log, their number, and how many are appended at a time.
const FILL_BYTES: usize = 1024;
const FILL_RECORDS: usize = 150_000;
const FILL_TASKS: usize = 64;
/// The most that the files of a log of 64 MiB may take, in MiB.
const FILES_BUDGET: f64 = 2.0 * 64.0 + 192.0;
/// The longest time to open it again, in seconds.
const OPEN_BUDGET: f64 = 2.0;

/// The most CPU of a delivery with the log on disk, synced every 100 ms, as a multiple of the log
/// in memory.
fn budget(clients: usize) -> f64 {
    if clients == 1 { 1.5 } else { 1.2 }
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup {
        pin: !args.no_pin,
        sockets: LOGS.len() * args.clients.iter().max().unwrap_or(&0),
        seconds: 600,
    };
    program::main(setup, async |args: Args, cpus| {
        let mut report = Report::default();
        for clients in &args.clients {
            sends(*clients, &args, &cpus, &mut report).await?;
        }
        appends(&args, &mut report).await?;
        reopened(&mut report).await?;
        Ok(report.holds())
    })
}

/// Measures sends to everyone over a server with each log, in turns.
async fn sends(clients: usize, args: &Args, cpus: &[usize], report: &mut Report) -> Result<()> {
    let mut lanes = Vec::new();
    for (name, log) in LOGS {
        let contestant = Contestant { name, kind: Kind::Ours, transport: Transport::Ws };
        let mut plan = Plan::new(&contestant, clients, args.size, cpus);
        let directory = tempfile::tempdir()?;
        plan.options.log = log;
        plan.options.log_at = Some(text(directory.path())?.to_owned());
        lanes.push((Lane::open(&plan).await?, directory));
    }
    println!(
        "\n{clients} clients, {} bytes, {} sends under way, {} interleaved rounds of {} ms",
        args.size, args.under_way, args.rounds, args.millis
    );
    let mut cpu = vec![Vec::new(); lanes.len()];
    for round in 0..=args.rounds {
        for ((lane, _), cpu) in lanes.iter_mut().zip(&mut cpu) {
            let sample = lane.measure(args.under_way, Duration::from_millis(args.millis)).await?;
            // The first one warms up.
            if round > 0 {
                cpu.push(sample.cpu);
            }
        }
    }
    report.table(30, &["the log", "CPU µs/delivery, best", "median", "÷ memory"]);
    for ((name, log), figures) in LOGS.iter().zip(&cpu) {
        let ratio = median_ratio(figures, &cpu[0]);
        let cells = [least(figures), median(figures), ratio].map(|figure| format!("{figure:.2}"));
        report.row(&[&[(*name).to_owned()], &cells[..]].concat());
        if *log == LogKind::Disk {
            report.within(ratio, budget(clients), "CPU of a delivery, as a ratio");
        }
    }
    for (lane, directory) in lanes {
        lane.stop().await?;
        drop(directory);
    }
    Ok(())
}

/// Measures appends alone, without a server and without a tail.
async fn appends(args: &Args, report: &mut Report) -> Result<()> {
    println!("\nappends of {} bytes, {} ms each", args.size, args.millis);
    report.table(30, &["the log", "tasks", "appends/s"]);
    for tasks in &args.appenders {
        for (name, log) in LOGS {
            let directory = TempDir::new()?;
            let log = log.open(text(directory.path())?, NAME).await?;
            let rate = appends_a_second(&log.backplane, *tasks, args).await?;
            report.row(&[name.to_owned(), tasks.to_string(), format!("{rate:.0}")]);
        }
        for (name, sync) in SYNCS {
            if args.no_redis {
                continue;
            }
            let broker = Broker::redis(sync, &[]).await?;
            let log = LogKind::Redis.open(&broker.url, NAME).await?;
            let rate = appends_a_second(&log.backplane, *tasks, args).await?;
            report.row(&[name.to_owned(), tasks.to_string(), format!("{rate:.0}")]);
        }
        if !args.no_nats {
            let broker = Broker::nats(&[]).await?;
            let log = LogKind::Nats.open(&broker.url, NAME).await?;
            let rate = appends_a_second(&log.backplane, *tasks, args).await?;
            report.row(&["in NATS".to_owned(), tasks.to_string(), format!("{rate:.0}")]);
        }
    }
    Ok(())
}

async fn appends_a_second(backplane: &Arc<dyn Backplane>, tasks: usize, args: &Args) -> Result<f64> {
    let epoch = backplane.state().await?.epoch;
    let event = Event::json("event", &"x".repeat(args.size))?;
    let begun = Instant::now();
    let end = begun + Duration::from_millis(args.millis);
    let appending = (0..tasks).map(|_| {
        let (backplane, event) = (Arc::clone(backplane), event.clone());
        tokio::spawn(async move {
            let mut appended = 0_u32;
            while Instant::now() < end {
                let record = Record::of_event(EventId::random(), Target::all(), event.clone());
                backplane.append(epoch, Arc::new(record), None).await?;
                appended += 1;
            }
            Ok::<_, realtime_unified::spi::AppendError>(appended)
        })
    });
    let mut appended = 0;
    for task in appending.collect::<Vec<_>>() {
        appended += task.await??;
    }
    Ok(f64::from(appended) / begun.elapsed().as_secs_f64())
}

/// Fills a log on disk three times over with its default bounds, and measures its files and how
/// long it takes to open it again.
async fn reopened(report: &mut Report) -> Result<()> {
    let directory = TempDir::new()?;
    let log = LogKind::Disk.open(text(directory.path())?, NAME).await?.backplane;
    let epoch = log.state().await?.epoch;
    let event = Event::json("event", &"x".repeat(FILL_BYTES))?;
    for _ in 0..FILL_RECORDS / FILL_TASKS {
        let appends = (0..FILL_TASKS).map(|_| {
            let record = Record::of_event(EventId::random(), Target::all(), event.clone());
            log.append(epoch, Arc::new(record), None)
        });
        join_all(appends).await.into_iter().collect::<Result<Vec<_>, _>>()?;
    }
    let state = log.state().await?;
    drop(log);
    let files = mib(size_of_files(directory.path())?);
    let begun = Instant::now();
    let log = LogKind::Disk.open(text(directory.path())?, NAME).await?.backplane;
    let time = begun.elapsed().as_secs_f64();
    let kept = log.state().await?.last.get() - state.start.get();
    println!("\nfilled three times over and opened again");
    report.table(30, &["records kept", "files, MiB", "opened in, s"]);
    report.row(&[kept.to_string(), format!("{files:.0}"), format!("{time:.2}")]);
    report.within(files, FILES_BUDGET, "MiB of files");
    report.within(time, OPEN_BUDGET, "seconds to open it");
    Ok(())
}

/// Returns the bytes of all files in a directory.
fn size_of_files(directory: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(directory)? {
        let entry = entry?;
        bytes += if entry.file_type()?.is_dir() { size_of_files(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
