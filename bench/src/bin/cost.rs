//! The server CPU that log, window and outboxes add to a plain fan-out of pre-encoded frames, and
//! that of a send over several providers, in one run.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::client::Transport;
use realtime_bench::contest::{Contestant, FanOut};
use realtime_bench::figures::{least, median, median_ratio, quartiles};
use realtime_bench::lane::{Lane, Plan};
use realtime_bench::program::{self, Setup};
use realtime_bench::report::Report;
use realtime_bench::server::{Kind, Over, ServeOptions};

/// CPU for each delivery, as a multiple of the plain fan-out's.
const BUDGET: f64 = 1.1;
/// The least number of subscribers that the budget is for: with fewer, the price of a publish
/// counts, not of a delivery.
const BUDGET_FROM: usize = 1000;

/// CPU of a send over three providers as one record, as a multiple of three sends over one each:
/// three frames and three windows are in both, and they are most of what a send costs.
const BUDGET_RECORD: f64 = 0.75;
/// The number of users that are connected where a send reaches one.
const USERS: usize = 999;
/// The number of sends in one measurement where none reaches a client.
const ABSENT: u32 = 5_000;
/// The columns of the first table.
const TITLES: [&str; 8] = [
    "subscribers",
    " W",
    "µs/delivery plain",
    "    ours",
    "ratio (≤1.1 from 1000)",
    "half of the rounds",
    "all",
    "lower quartiles",
];

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    fan_out: FanOut,
    /// Bytes of JSON in each event
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// The number of times that both are measured: plain, ours, ours, plain
    #[arg(long, default_value_t = 40)]
    rounds: usize,
    /// The time that one measurement takes, in milliseconds
    #[arg(long, default_value_t = 150)]
    millis: u64,
    /// Let servers and clients share all processors
    #[arg(long)]
    no_pin: bool,
}

fn main() -> ExitCode {
    let setup = |args: &Args| {
        let subscribers = args.fan_out.subscribers.iter().max().unwrap_or(&0);
        Setup { pin: !args.no_pin, sockets: (subscribers * 2).max(USERS * 3), seconds: 1200 }
    };
    program::main(setup, async |args: Args, cpus| {
        println!(
            "{} bytes, medians of {} rounds plain-ours-ours-plain of {} ms each; server CPU",
            args.size, args.rounds, args.millis
        );
        let mut report = Report::default();
        report.table(11, &TITLES);
        for subscribers in &args.fan_out.subscribers {
            deliveries(*subscribers, &args, &cpus, &mut report).await?;
        }
        sends(&args, &cpus, &mut report).await?;
        Ok(report.holds())
    })
}

/// Measures the plain fan-out and this workspace's server with this many subscribers.
async fn deliveries(subscribers: usize, args: &Args, cpus: &[usize], report: &mut Report) -> Result<()> {
    let plan =
        |name, kind| Plan::new(&Contestant { name, kind, transport: Transport::Ws }, subscribers, args.size, cpus);
    let mut plain = Lane::open(&plan("plain", Kind::Plain)).await?;
    let mut ours = Lane::open(&plan("ours", Kind::Ours)).await?;
    for &under_way in &args.fan_out.under_way {
        let (base, cost) = turns(under_way, args, &mut plain, &mut ours).await?;
        let ratios: Vec<f64> = cost.iter().zip(&base).map(|(cost, base)| cost / base).collect();
        let (ratio, (low, high)) = (median(&ratios), quartiles(&ratios));
        // Other programs only add to a time, so the quieter rounds say more.
        let quiet = quartiles(&cost).0 / quartiles(&base).0;
        report.row(&[
            subscribers.to_string(),
            under_way.to_string(),
            format!("{:.2}", median(&base)),
            format!("{:.2}", median(&cost)),
            format!("{ratio:.3}"),
            format!("{low:.2} to {high:.2}"),
            format!("{:.2} to {:.2}", least(&ratios), ratios.iter().copied().fold(0.0, f64::max)),
            format!("{quiet:.3}"),
        ]);
        if subscribers >= BUDGET_FROM {
            report.within(ratio, BUDGET, "CPU for each delivery, as a ratio");
        }
    }
    plain.stop().await?;
    ours.stop().await
}

/// Measures both in turns, and returns the CPU of each round, of the plain one and of ours.
async fn turns(under_way: usize, args: &Args, plain: &mut Lane, ours: &mut Lane) -> Result<(Vec<f64>, Vec<f64>)> {
    let time = Duration::from_millis(args.millis);
    let (mut base, mut cost) = (Vec::new(), Vec::new());
    // The first round warms up and is not counted.
    for round in 0..=args.rounds {
        // In this order a drift of the machine within a round counts for both alike.
        let first = plain.measure(under_way, time).await?.cpu;
        let between = ours.measure(under_way, time).await?.cpu + ours.measure(under_way, time).await?.cpu;
        let around = first + plain.measure(under_way, time).await?.cpu;
        if round > 0 {
            base.push(around / 2.0);
            cost.push(between / 2.0);
        }
    }
    Ok((base, cost))
}

/// Measures sends to users over three providers, in the three ways there are, in turns.
async fn sends(args: &Args, cpus: &[usize], report: &mut Report) -> Result<()> {
    let ways = [("one provider", Over::First), ("three sends", Over::Each), ("one record", Over::Record)];
    let mut lanes = Vec::new();
    for (name, over) in ways {
        let plan = Plan::new(&Contestant { name, kind: Kind::Ours, transport: Transport::Ws }, USERS, args.size, cpus);
        let options = ServeOptions { over, ..ServeOptions::ours(&Transport::ALL.map(Transport::provider)) };
        let transports = if over == Over::First { plan.transports } else { Transport::ALL.to_vec() };
        lanes.push(Lane::open(&Plan { options: options.on(cpus), transports, targeted: true, ..plan }).await?);
    }
    let mut connected = vec![Vec::new(); lanes.len()];
    let mut absent = connected.clone();
    for round in 0..=args.rounds {
        for (number, lane) in lanes.iter_mut().enumerate() {
            let received = lane.measure(1, Duration::from_millis(args.millis)).await?.cpu;
            let alone = lane.measure_absent(ABSENT, args.size).await?;
            if round > 0 {
                connected[number].push(received);
                absent[number].push(alone);
            }
        }
    }
    for lane in lanes {
        lane.stop().await?;
    }
    println!("\na send to one user of three providers, {} rounds; server CPU µs, best (median)", args.rounds);
    let titles = ["", "    one provider", "     three sends", "      one record", "÷ three sends"];
    report.table(22, &titles);
    send_row(report, "who has one connection", &connected);
    let ratio = send_row(report, "who has no connection", &absent);
    report.within(ratio, BUDGET_RECORD, "one record where it reaches no one, as a ratio");
    Ok(())
}

/// Prints one row, and returns one record's best as a multiple of three sends' best.
fn send_row(report: &Report, to: &str, cpu: &[Vec<f64>]) -> f64 {
    let mut cells = vec![to.to_owned()];
    cells.extend(cpu.iter().map(|cpu| format!("{:.2} ({:.2})", least(cpu), median(cpu))));
    let ratio = least(&cpu[2]) / least(&cpu[1]);
    cells.push(format!("{ratio:.2} ({:.2})", median_ratio(&cpu[2], &cpu[1])));
    report.row(&cells);
    ratio
}
