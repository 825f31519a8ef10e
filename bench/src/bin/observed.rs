//! The server CPU that metrics add to a delivery: a build with them, whose metrics are rendered
//! each second, next to one without them, in one run. With `--spans`, what a propagator of traces
//! and a subscriber add besides. With `--instructions`, user instructions in place of the CPU.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::client::Transport;
use realtime_bench::contest::Contestant;
use realtime_bench::lane::{Lane, Plan};
use realtime_bench::program::{self, Setup};
use realtime_bench::report::Report;
use realtime_bench::server::{Kind, ServeOptions};
use realtime_bench::turns::{Options, Turns};

/// CPU, or instructions, for each delivery, as a multiple of that without metrics.
const BUDGET: f64 = 1.03;
/// The interval at which the metrics are rendered, in milliseconds: far more often than a
/// monitoring asks for them.
const SCRAPE: u64 = 1_000;
/// The same where instructions are counted, which takes minutes.
const NEVER: u64 = 86_400_000;
/// The number of events for each user, or for all, before instructions are counted, and meanwhile.
const COUNTED: usize = 5;
const TITLES: [&str; 7] =
    ["", "µs/delivery without", " with", "ratio (≤1.03)", "half of the rounds", "all", "lower quartiles"];

#[derive(Parser)]
struct Args {
    /// A program of this package that was built without the feature `metrics`
    #[arg(long, value_name = "PROGRAM")]
    plain: PathBuf,
    /// Let the server with metrics pass traces on too, with the spans from this level on (INFO if
    /// it is not named); needs the feature `otel`
    #[arg(long, value_name = "LEVEL", num_args = 0..=1, default_missing_value = "info")]
    spans: Option<String>,
    /// Count user instructions under callgrind instead, without rendering, and leave its files in
    /// this directory
    #[arg(long, value_name = "DIRECTORY")]
    instructions: Option<PathBuf>,
    /// Subscribers of each server
    #[arg(long, default_value_t = 1000)]
    subscribers: usize,
    /// Publishes under way at a time
    #[arg(long, default_value_t = 16)]
    under_way: usize,
    /// Only these transports
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Transport::ALL)]
    transports: Vec<Transport>,
    #[command(flatten)]
    turns: Options,
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup { pin: !args.turns.no_pin, sockets: args.subscribers * 2, seconds: 1200 };
    program::main(setup, async |args: Args, cpus| {
        if let Some(directory) = &args.instructions {
            return count(directory, &args, &cpus).await;
        }
        println!(
            "{} subscribers, {} bytes, W = {}, medians of {} rounds without-with-with-without of {} ms; server CPU",
            args.subscribers, args.turns.size, args.under_way, args.turns.rounds, args.turns.millis
        );
        let mut report = Report::default();
        report.table(18, &TITLES);
        for transport in &args.transports {
            for targeted in [false, true] {
                deliveries(*transport, targeted, &args, &cpus, &mut report).await?;
            }
        }
        Ok(report.holds())
    })
}

/// Returns the plans of the servers without metrics, and with them.
fn plans(transport: Transport, targeted: bool, args: &Args, cpus: &[usize]) -> [Plan; 2] {
    let plan = |name| {
        let contestant = Contestant { name, kind: Kind::Ours, transport };
        Plan { targeted, ..Plan::new(&contestant, args.subscribers, args.turns.size, cpus) }
    };
    let without = Plan { program: Some(args.plain.clone()), ..plan("without") };
    let with = plan("with");
    let scrape_ms = Some(if args.instructions.is_some() { NEVER } else { SCRAPE });
    let options = ServeOptions { scrape_ms, spans: args.spans.clone(), ..with.options.clone() };
    [without, Plan { options, ..with }]
}

fn title(transport: Transport, targeted: bool) -> String {
    format!("{} to {}", transport.provider(), if targeted { "one user" } else { "all" })
}

/// Measures events for all, or each for one user.
async fn deliveries(
    transport: Transport,
    targeted: bool,
    args: &Args,
    cpus: &[usize],
    report: &mut Report,
) -> Result<()> {
    let [without, with] = plans(transport, targeted, args, cpus);
    let mut without = Lane::open(&without).await?;
    let mut with = Lane::open(&with).await?;
    let under_way = if targeted { 1 } else { args.under_way };
    let turns = Turns::measure(&mut without, &mut with, under_way, &args.turns).await?;
    report.row(&[&[title(transport, targeted)][..], &turns.cells()].concat());
    report.within(turns.ratio(), BUDGET, "CPU for each delivery, as a ratio");
    without.stop().await?;
    with.stop().await
}

/// Counts the user instructions of a delivery, with each server in turn.
async fn count(directory: &Path, args: &Args, cpus: &[usize]) -> Result<bool> {
    std::fs::create_dir_all(directory)?;
    println!("{} subscribers, {} bytes, one publish at a time; user instructions", args.subscribers, args.turns.size);
    let mut report = Report::default();
    report.table(18, &["", "instructions/delivery without", " with", "ratio (≤1.03)"]);
    for transport in &args.transports {
        for targeted in [false, true] {
            let title = title(*transport, targeted);
            let mut counts = Vec::new();
            for plan in plans(*transport, targeted, args, cpus) {
                let output = directory.join(format!("{} {}", title, plan.name).replace(' ', "-"));
                let mut lane = Lane::open(&Plan { callgrind: Some(output), ..plan }).await?;
                // The first count contains what the first sends of a process cost more.
                lane.instructions(COUNTED).await?;
                counts.push(lane.instructions(COUNTED).await?);
                lane.stop().await?;
            }
            let ratio = counts[1] / counts[0];
            report.row(&[title, format!("{:.0}", counts[0]), format!("{:.0}", counts[1]), format!("{ratio:.3}")]);
            report.within(ratio, BUDGET, "instructions for each delivery, as a ratio");
        }
    }
    Ok(report.holds())
}
