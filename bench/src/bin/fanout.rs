//! Server CPU for each delivery of a fan-out: our transports, the floor, and peers, in one
//! interleaved run.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::client::Transport;
use realtime_bench::contest::{Contest, Contestant, FanOut, Options};
use realtime_bench::lane::Plan;
use realtime_bench::program;
use realtime_bench::server::Kind;

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    fan_out: FanOut,
    #[command(flatten)]
    contest: Options,
    /// The time that one measurement takes, in milliseconds
    #[arg(long, default_value_t = 400)]
    millis: u64,
}

/// The peers that ours are measured next to.
const PEERS: [Contestant; 3] = [
    Contestant { name: "tokio-tungstenite + broadcast", kind: Kind::Tungstenite, transport: Transport::Ws },
    Contestant { name: "axum Sse + broadcast", kind: Kind::AxumSse, transport: Transport::Sse },
    Contestant { name: "socketioxide to(room).emit", kind: Kind::Socketioxide, transport: Transport::Socketio },
];

/// The most that a delivery may cost with one subscriber and one publish at a time, as a multiple
/// of the peer's.
const BAR_ALONE: f64 = 1.1;
/// The same over Socket.IO, with more subscribers.
const BAR_SOCKETIO: f64 = 1.15;

fn main() -> ExitCode {
    let setup = |args: &Args| args.contest.setup(*args.fan_out.subscribers.iter().max().unwrap_or(&0));
    program::main(setup, async |args: Args, cpus| {
        let mut within = true;
        for subscribers in &args.fan_out.subscribers {
            within &= table(*subscribers, &args, &cpus).await?;
        }
        Ok(within)
    })
}

async fn table(subscribers: usize, args: &Args, cpus: &[usize]) -> Result<bool> {
    let plan = |one: Contestant| Plan::new(&one, subscribers, args.contest.size, cpus);
    let mut contest = Contest::open(args.contest.contestants(PEERS), plan).await?;
    println!(
        "\n{subscribers} subscribers, {} bytes, {} interleaved rounds of {} ms",
        args.contest.size, args.contest.rounds, args.millis
    );
    let mut within = true;
    for &under_way in &args.fan_out.under_way {
        let figures = contest.run(under_way, args.contest.rounds, Duration::from_millis(args.millis)).await?;
        let bar = |transport| match (subscribers, under_way) {
            (1, 1) => Some(BAR_ALONE),
            (2.., _) if transport == Transport::Socketio => Some(BAR_SOCKETIO),
            _ => None,
        };
        within &= contest.print(&format!("a delivery, W = {under_way}"), &figures, bar);
    }
    contest.stop().await?;
    Ok(within)
}
