//! What log, window and outboxes add to a plain fan-out of pre-encoded frames: server CPU for each delivery, in one run.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::client::Transport;
use realtime_bench::figures::{median, quartiles};
use realtime_bench::lane::{Lane, MOST_UNDER_WAY};
use realtime_bench::program::{self, Setup};
use realtime_bench::server::Kind;

/// CPU for each delivery, as a multiple of the plain fan-out's.
const BUDGET: f64 = 1.1;
/// The least number of subscribers that the budget is for: with fewer, the price of a publish counts, not of a delivery.
const BUDGET_FROM: usize = 1000;

#[derive(Parser)]
struct Args {
    /// Subscribers of each server: one table for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 1])]
    subscribers: Vec<usize>,
    /// Publishes under way at a time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    under_way: Vec<usize>,
    /// Bytes of JSON in each event
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// How often both are measured: plain, ours, ours, plain
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// How long one measurement takes, in milliseconds
    #[arg(long, default_value_t = 150)]
    millis: u64,
    /// Let servers and clients share all processors
    #[arg(long)]
    no_pin: bool,
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup {
        pin: !args.no_pin,
        open_files: (args.subscribers.iter().max().unwrap_or(&0) * 2 + 256) as u64,
        deadline: Duration::from_secs(1200),
    };
    program::main(setup, async |args: Args, cpus| {
        if args.under_way.iter().any(|under_way| !(1..=MOST_UNDER_WAY).contains(under_way)) {
            return Err(format!("1 to {MOST_UNDER_WAY} publishes can be under way").into());
        }
        println!(
            "{} bytes, medians of {} rounds plain-ours-ours-plain of {} ms each; server CPU",
            args.size, args.rounds, args.millis
        );
        println!(
            "subscribers   W | µs/delivery plain    ours | ratio (≤{BUDGET} from {BUDGET_FROM})  half of the rounds  all"
        );
        let mut within = true;
        for subscribers in &args.subscribers {
            within &= table(*subscribers, &args, &cpus).await?;
        }
        Ok(within)
    })
}

async fn table(subscribers: usize, args: &Args, cpus: &[usize]) -> Result<bool> {
    let open = |name, kind| Lane::open(name, kind, Transport::Ws, subscribers, args.size, cpus);
    let mut plain = open("plain", Kind::Plain).await?;
    let mut ours = open("ours", Kind::Ours).await?;
    let mut within = true;
    for under_way in &args.under_way {
        within &= row(subscribers, *under_way, args, &mut plain, &mut ours).await?;
    }
    plain.stop().await?;
    ours.stop().await?;
    Ok(within)
}

/// Measures both in turns, prints one line, and says whether it is within the budget.
async fn row(subscribers: usize, under_way: usize, args: &Args, plain: &mut Lane, ours: &mut Lane) -> Result<bool> {
    let time = Duration::from_millis(args.millis);
    let (mut base, mut cost, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    // The first round warms up and is not counted.
    for round in 0..=args.rounds {
        // In this order a drift of the machine within a round counts for both alike.
        let first = plain.measure(under_way, time).await?.cpu;
        let between = ours.measure(under_way, time).await?.cpu + ours.measure(under_way, time).await?.cpu;
        let around = first + plain.measure(under_way, time).await?.cpu;
        if round > 0 {
            base.push(around / 2.0);
            cost.push(between / 2.0);
            ratios.push(between / around);
        }
    }
    let ratio = median(&ratios);
    let (low, high) = quartiles(&ratios);
    let least = ratios.iter().copied().fold(f64::INFINITY, f64::min);
    let most = ratios.iter().copied().fold(0.0, f64::max);
    // What else runs here only adds to a time, so the quieter rounds say more.
    let quiet = quartiles(&cost).0 / quartiles(&base).0;
    println!(
        "{subscribers:11}  {under_way:2} | {:17.2}  {:6.2} | {ratio:22.3}  {low:10.2} to {high:.2}  {least:6.2} to {most:.2} | {quiet:.3}",
        median(&base),
        median(&cost),
    );
    let over = subscribers >= BUDGET_FROM && ratio > BUDGET;
    if over {
        println!("             OVER BUDGET: CPU for each delivery");
    }
    Ok(!over)
}
