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
use realtime_bench::program::{self, Setup};
use realtime_bench::server::Kind;
use realtime_bench::table::Table;

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

/// The servers that are measured; the first one is the floor.
const CONTESTANTS: [Contestant; 7] = [
    Contestant::new("floor: try_write of one frame", Kind::Floor, Transport::Ws),
    Contestant::new("realtime-ws", Kind::Ours, Transport::Ws),
    Contestant::new("realtime-sse", Kind::Ours, Transport::Sse),
    Contestant::new("realtime-socketio", Kind::Ours, Transport::Socketio),
    Contestant::new("axum websocket + mpsc", Kind::AxumWsMpsc, Transport::Ws),
    Contestant::new("axum Sse + mpsc", Kind::AxumSseMpsc, Transport::Sse),
    Contestant::new("socketioxide to(user).emit", Kind::Socketioxide, Transport::Socketio),
];

/// The number of sends to each user before instructions are counted, and while they are.
const COUNTED: usize = 5;

fn main() -> ExitCode {
    let setup = |args: &Args| Setup {
        pin: !args.contest.no_pin,
        open_files: (args.users * CONTESTANTS.len() + 256) as u64,
        deadline: Duration::from_secs(1200),
    };
    program::main(setup, async |args: Args, cpus| {
        let contestants: Vec<_> =
            CONTESTANTS.into_iter().filter(|one| one.is_wanted(&args.contest.transports)).collect();
        let plan = |one: Contestant| Plan::new(&one, args.users, args.contest.size).targeted().on(&cpus);
        match &args.instructions {
            Some(directory) => count(&contestants, plan, directory).await,
            None => time(&contestants, plan, &args).await,
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

async fn time(contestants: &[Contestant], plan: impl Fn(Contestant) -> Plan, args: &Args) -> Result<bool> {
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
        let mut lane = Lane::open(&plan(*contestant).under_callgrind(output)).await?;
        // The first count contains what the first sends of a process cost more.
        lane.instructions(COUNTED).await?;
        counts.push(lane.instructions(COUNTED).await?);
        lane.stop().await?;
    }
    let table = Table::new(30, &["a send to one user", "instructions", "      ÷ peer"]);
    let mut within = true;
    for (number, Contestant { name, .. }) in contestants.iter().enumerate() {
        let (ratio, holds) = verdict(contestants, &counts, number, &bar);
        table.row(&[(*name).to_owned(), format!("{:.0}", counts[number]), ratio]);
        within &= holds;
    }
    Ok(within)
}
