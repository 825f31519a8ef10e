//! The server CPU that log, window and outboxes add to a plain fan-out of pre-encoded frames, and
//! that of a send over several providers, in one run.

use std::process::ExitCode;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::client::Transport;
use realtime_bench::contest::{Contestant, FanOut};
use realtime_bench::figures::{least, median, median_ratio};
use realtime_bench::lane::{Lane, Plan};
use realtime_bench::program::{self, Setup};
use realtime_bench::report::Report;
use realtime_bench::server::{Kind, Over, ServeOptions};
use realtime_bench::turns::{Options, Turns};

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
    #[command(flatten)]
    turns: Options,
}

fn main() -> ExitCode {
    let setup = |args: &Args| {
        let subscribers = args.fan_out.subscribers.iter().max().unwrap_or(&0);
        Setup { pin: !args.turns.no_pin, sockets: (subscribers * 2).max(USERS * 3), seconds: 1200 }
    };
    program::main(setup, async |args: Args, cpus| {
        println!(
            "{} bytes, medians of {} rounds plain-ours-ours-plain of {} ms each; server CPU",
            args.turns.size, args.turns.rounds, args.turns.millis
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
    let plan = |name, kind| {
        Plan::new(&Contestant { name, kind, transport: Transport::Ws }, subscribers, args.turns.size, cpus)
    };
    let mut plain = Lane::open(&plan("plain", Kind::Plain)).await?;
    let mut ours = Lane::open(&plan("ours", Kind::Ours)).await?;
    for &under_way in &args.fan_out.under_way {
        let turns = Turns::measure(&mut plain, &mut ours, under_way, &args.turns).await?;
        report.row(&[&[subscribers.to_string(), under_way.to_string()][..], &turns.cells()].concat());
        if subscribers >= BUDGET_FROM {
            report.within(turns.ratio(), BUDGET, "CPU for each delivery, as a ratio");
        }
    }
    plain.stop().await?;
    ours.stop().await
}

/// Measures sends to users over three providers, in the three ways there are, in turns.
async fn sends(args: &Args, cpus: &[usize], report: &mut Report) -> Result<()> {
    let ways = [("one provider", Over::First), ("three sends", Over::Each), ("one record", Over::Record)];
    let mut lanes = Vec::new();
    for (name, over) in ways {
        let plan =
            Plan::new(&Contestant { name, kind: Kind::Ours, transport: Transport::Ws }, USERS, args.turns.size, cpus);
        let options = ServeOptions { over, ..ServeOptions::ours(&Transport::ALL.map(Transport::provider)) };
        let transports = if over == Over::First { plan.transports } else { Transport::ALL.to_vec() };
        lanes.push(Lane::open(&Plan { options: options.on(cpus), transports, targeted: true, ..plan }).await?);
    }
    let mut connected = vec![Vec::new(); lanes.len()];
    let mut absent = connected.clone();
    for round in 0..=args.turns.rounds {
        for (number, lane) in lanes.iter_mut().enumerate() {
            let received = lane.measure(1, args.turns.time()).await?.cpu;
            let alone = lane.measure_absent(ABSENT, args.turns.size).await?;
            if round > 0 {
                connected[number].push(received);
                absent[number].push(alone);
            }
        }
    }
    for lane in lanes {
        lane.stop().await?;
    }
    println!("\na send to one user of three providers, {} rounds; server CPU µs, best (median)", args.turns.rounds);
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
