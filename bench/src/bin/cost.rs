//! What log, window and outboxes add to a plain fan-out of pre-encoded frames, and what a send over several providers costs:
//! server CPU, in one run.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::client::Transport;
use realtime_bench::contest::Contestant;
use realtime_bench::figures::{least, median, median_ratio, quartiles};
use realtime_bench::lane::{Lane, MOST_UNDER_WAY, Plan};
use realtime_bench::program::{self, Setup};
use realtime_bench::server::{Kind, Over};

/// CPU for each delivery, as a multiple of the plain fan-out's.
const BUDGET: f64 = 1.1;
/// The least number of subscribers that the budget is for: with fewer, the price of a publish counts, not of a delivery.
const BUDGET_FROM: usize = 1000;

/// CPU of a send over three providers as one record, as a multiple of three sends over one each: three frames and three
/// windows are in both, and they are most of what a send costs.
const BUDGET_RECORD: f64 = 0.75;
/// Users that are connected where a send reaches somebody.
const USERS: usize = 999;
/// Sends in one measurement where it reaches nobody.
const UNHEARD: u32 = 5_000;

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
        open_files: ((args.subscribers.iter().max().unwrap_or(&0) * 2).max(USERS * 3) + 256) as u64,
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
        within &= sends(&args, &cpus).await?;
        Ok(within)
    })
}

async fn table(subscribers: usize, args: &Args, cpus: &[usize]) -> Result<bool> {
    let plan = |name, kind| Plan::new(&Contestant::new(name, kind, Transport::Ws), subscribers, args.size).on(cpus);
    let mut plain = Lane::open(&plan("plain", Kind::Plain)).await?;
    let mut ours = Lane::open(&plan("ours", Kind::Ours)).await?;
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

/// Measures sends to users over three providers, in the three ways there are, in turns; says whether they are within budget.
async fn sends(args: &Args, cpus: &[usize]) -> Result<bool> {
    let ways = [("one provider", Over::First), ("three sends", Over::Each), ("one record", Over::Record)];
    let mut lanes = Vec::new();
    for (name, over) in ways {
        let mut plan = Plan::new(&Contestant::new(name, Kind::Ours, Transport::Ws), USERS, args.size).targeted();
        plan.options = plan.options.over(&Transport::ALL.map(Transport::provider), over).on(cpus);
        if over != Over::First {
            plan.transports = Transport::ALL.to_vec();
        }
        lanes.push(Lane::open(&plan).await?);
    }
    let mut connected = vec![Vec::new(); lanes.len()];
    let mut unheard = connected.clone();
    for round in 0..=args.rounds {
        for (number, lane) in lanes.iter_mut().enumerate() {
            let heard = lane.measure(1, Duration::from_millis(args.millis)).await?.cpu;
            let alone = lane.unheard(UNHEARD, args.size).await?;
            if round > 0 {
                connected[number].push(heard);
                unheard[number].push(alone);
            }
        }
    }
    for lane in lanes {
        lane.stop().await?;
    }
    println!("\na send to one user of three providers, {} rounds; server CPU µs, best (median)", args.rounds);
    println!("                       |      one provider |       three sends |        one record | ÷ three sends");
    let within = send_row("who has one connection", &connected, None);
    Ok(send_row("who has no connection", &unheard, Some(BUDGET_RECORD)) && within)
}

/// Prints one line, and says whether it is within the budget.
fn send_row(to: &str, cpu: &[Vec<f64>], budget: Option<f64>) -> bool {
    let cells: Vec<_> = cpu.iter().map(|cpu| format!("{:7.2} ({:7.2})", least(cpu), median(cpu))).collect();
    let ratio = least(&cpu[2]) / least(&cpu[1]);
    let over = budget.is_some_and(|budget| ratio > budget);
    let verdict = if over { " OVER BUDGET" } else { "" };
    println!("{to:22} | {} | {ratio:.2} ({:.2}){verdict}", cells.join(" | "), median_ratio(&cpu[2], &cpu[1]));
    !over
}
