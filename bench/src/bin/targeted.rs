//! Server CPU, or user instructions, of an event for one user: our transports, the floor, and
//! peers, in one interleaved run.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::client::Transport;
use realtime_bench::contest::{Contest, Contestant, Options, verdict};
use realtime_bench::lane::{Lane, Plan};
use realtime_bench::program;
use realtime_bench::report::Report;
use realtime_bench::server::Kind;

#[derive(Parser)]
struct Args {
    /// Users of each server, each with one connection
    #[arg(long, default_value_t = 1000)]
    users: usize,
    #[command(flatten)]
    contest: Options,
    /// The time that one measurement takes, in milliseconds
    #[arg(long, default_value_t = 300)]
    millis: u64,
    /// Count user instructions under callgrind instead, and leave its files in this directory
    #[arg(long, value_name = "DIRECTORY")]
    instructions: Option<PathBuf>,
}

/// The peers that ours are measured next to.
const PEERS: [Contestant; 3] = [
    Contestant { name: "axum websocket + mpsc", kind: Kind::AxumWsMpsc, transport: Transport::Ws },
    Contestant { name: "axum Sse + mpsc", kind: Kind::AxumSseMpsc, transport: Transport::Sse },
    Contestant { name: "socketioxide to(user).emit", kind: Kind::Socketioxide, transport: Transport::Socketio },
];

/// The number of sends to each user before instructions are counted, and while they are.
const COUNTED: usize = 5;

fn main() -> ExitCode {
    let setup = |args: &Args| args.contest.setup(args.users);
    program::main(setup, async |args: Args, cpus| {
        let contestants = args.contest.contestants(PEERS);
        let plan = |one: Contestant| Plan { targeted: true, ..Plan::new(&one, args.users, args.contest.size, &cpus) };
        match &args.instructions {
            Some(directory) => count(&contestants, plan, directory).await,
            None => time(contestants, plan, &args).await,
        }
    })
}

/// Returns the most that a send over this transport may cost, as a multiple of its peer's.
#[expect(clippy::unnecessary_wraps, reason = "where these are compared, not all have a bar")]
fn bar(transport: Transport) -> Option<f64> {
    Some(match transport {
        Transport::Socketio => 1.15,
        Transport::Sse => 1.1,
        Transport::Ws => 0.8,
    })
}

async fn time(contestants: Vec<Contestant>, plan: impl Fn(Contestant) -> Plan, args: &Args) -> Result<bool> {
    let mut contest = Contest::open(contestants, plan).await?;
    println!(
        "{} users, {} bytes, {} interleaved rounds of {} ms",
        args.users, args.contest.size, args.contest.rounds, args.millis
    );
    let figures = contest.run(1, args.contest.rounds, Duration::from_millis(args.millis)).await?;
    let within = contest.print("a send to one user", &figures, bar);
    contest.stop().await?;
    Ok(within)
}

async fn count(contestants: &[Contestant], plan: impl Fn(Contestant) -> Plan, directory: &Path) -> Result<bool> {
    std::fs::create_dir_all(directory)?;
    let mut counts = Vec::new();
    for (number, contestant) in contestants.iter().enumerate() {
        let output = directory.join(format!("{number}-{}", contestant.name.replace([' ', ':', '(', ')', '+'], "-")));
        let mut lane = Lane::open(&Plan { callgrind: Some(output), ..plan(*contestant) }).await?;
        // The first count contains what the first sends of a process cost more.
        lane.instructions(COUNTED).await?;
        counts.push(lane.instructions(COUNTED).await?);
        lane.stop().await?;
    }
    let mut report = Report::default();
    report.table(30, &["a send to one user", "instructions", "      ÷ peer"]);
    let mut within = true;
    for (number, Contestant { name, .. }) in contestants.iter().enumerate() {
        let (ratio, holds) = verdict(contestants, &counts, number, &bar);
        report.row(&[(*name).to_owned(), format!("{:.0}", counts[number]), ratio]);
        within &= holds;
    }
    Ok(within)
}
