//! Memory of idle connections, for each transport, next to the budget.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::child::ServerProcess;
use realtime_bench::client::Transport;
use realtime_bench::figures::{kib_each, mib};
use realtime_bench::load::Load;
use realtime_bench::program::{self, Setup, until};
use realtime_bench::report::Report;
use realtime_bench::server::control::Command;
use realtime_bench::server::{Audience, ServeOptions};
use tokio::time::sleep;

/// The time for which a fresh server, and one that has just sent, is left alone before its memory
/// is read.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Parser)]
struct Args {
    /// Connections for each transport
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// The time for which they are idle before the memory is read, in milliseconds
    #[arg(long, default_value_t = 3000)]
    idle_ms: u64,
    /// Only these transports
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Transport::ALL)]
    transports: Vec<Transport>,
}

/// Returns what an idle connection may take, in KiB.
const fn budget(transport: Transport) -> f64 {
    match transport {
        Transport::Socketio => 36.0,
        Transport::Sse => 24.0,
        Transport::Ws => 8.0,
    }
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup { pin: false, sockets: args.connections, seconds: 300 };
    program::main(setup, async |args: Args, _| {
        println!("{} connections for each transport, each with a user and a tenant", args.connections);
        let mut report = Report::default();
        let titles =
            ["transport", "RSS before MiB", "after", "KiB/connection", "budget", "after one event of 1 KiB each"];
        report.table(9, &titles);
        for transport in &args.transports {
            measure(*transport, &args, &mut report).await?;
        }
        Ok(report.holds())
    })
}

async fn measure(transport: Transport, args: &Args, report: &mut Report) -> Result<()> {
    let count = args.connections;
    let server = ServerProcess::start(&ServeOptions::ours(&[transport.provider()])).await?;
    let process = server.process;
    sleep(SETTLE).await;
    let before = process.rss()?;

    let mut load = Load::open(transport, count, server).await?;
    sleep(Duration::from_millis(args.idle_ms)).await;
    let idle = process.rss()?;
    let connected = load.control.report().await?.connections();
    if connected != count as u64 {
        return Err(format!("{connected} of {count} connections are there").into());
    }

    load.control.call(&Command::Burst { count: 1, size: 1024, to: Audience::All }).await?;
    let received = || load.deliveries.count() == count as u64;
    until(Duration::from_secs(20), "every client has the event", received).await?;
    sleep(SETTLE).await;
    let used = process.rss()?;
    load.swarm.check()?;
    load.stop().await?;

    let (each, budget) = (kib_each(before, idle, count), budget(transport));
    report.row(&[
        transport.provider().to_owned(),
        format!("{:.1}", mib(before)),
        format!("{:.1}", mib(idle)),
        format!("{each:.2}"),
        budget.to_string(),
        format!("{:.2}", kib_each(before, used, count)),
    ]);
    report.within(each, budget, "KiB for each idle connection");
    Ok(())
}
