//! The server CPU that metrics add to a delivery: a build with them, whose metrics are rendered
//! each second, next to one without them, in one run. With `--spans`, what a propagator of traces
//! and a subscriber from INFO on add besides.

use std::path::PathBuf;
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

/// CPU for each delivery, as a multiple of that without metrics.
const BUDGET: f64 = 1.03;
/// The interval at which the metrics are rendered, in milliseconds: far more often than a
/// monitoring asks for them.
const SCRAPE: u64 = 1_000;
const TITLES: [&str; 7] =
    ["", "µs/delivery without", " with", "ratio (≤1.03)", "half of the rounds", "all", "lower quartiles"];

#[derive(Parser)]
struct Args {
    /// A program of this package that was built without the feature `metrics`
    #[arg(long, value_name = "PROGRAM")]
    plain: PathBuf,
    /// Let the server with metrics pass traces on too, and log at INFO; needs the feature `otel`
    #[arg(long)]
    spans: bool,
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

/// Measures events for all, or each for one user.
async fn deliveries(
    transport: Transport,
    targeted: bool,
    args: &Args,
    cpus: &[usize],
    report: &mut Report,
) -> Result<()> {
    let plan = |name| {
        let contestant = Contestant { name, kind: Kind::Ours, transport };
        Plan { targeted, ..Plan::new(&contestant, args.subscribers, args.turns.size, cpus) }
    };
    let without = plan("without");
    let with = plan("with");
    let options = ServeOptions { scrape_ms: Some(SCRAPE), spans: args.spans, ..with.options.clone() };
    let mut without = Lane::open(&Plan { program: Some(args.plain.clone()), ..without }).await?;
    let mut with = Lane::open(&Plan { options, ..with }).await?;
    let under_way = if targeted { 1 } else { args.under_way };
    let turns = Turns::measure(&mut without, &mut with, under_way, &args.turns).await?;
    let name = format!("{} to {}", transport.provider(), if targeted { "one user" } else { "all" });
    report.row(&[&[name][..], &turns.cells()].concat());
    report.within(turns.ratio(), BUDGET, "CPU for each delivery, as a ratio");
    without.stop().await?;
    with.stop().await
}
