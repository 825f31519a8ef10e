//! Memory of idle connections, for each transport, beside its budget.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::child::ServerProcess;
use realtime_bench::client::{Dial, Transport};
use realtime_bench::figures::{kib_each, mib};
use realtime_bench::program::{self, Setup, until};
use realtime_bench::server::Audience;
use realtime_bench::server::ServeOptions;
use realtime_bench::server::control::Command;
use realtime_bench::swarm::{Observer, Swarm};
use tokio::time::sleep;

/// How long a fresh server, and one that has just sent, is left alone before its memory is read.
const SETTLE: Duration = Duration::from_secs(2);

#[derive(Parser)]
struct Args {
    /// Connections for each transport
    #[arg(long, default_value_t = 5000)]
    connections: usize,
    /// How long they are idle before the memory is read, in milliseconds
    #[arg(long, default_value_t = 3000)]
    idle_ms: u64,
    /// Only these transports
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Transport::ALL)]
    transports: Vec<Transport>,
}

#[derive(Default)]
struct Received(AtomicU64);

impl Observer for Received {
    fn received(&self, _: u64, _: &[u8]) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// What an idle connection may take, in KiB.
const fn budget(transport: Transport) -> f64 {
    match transport {
        Transport::Socketio => 36.0,
        Transport::Sse => 24.0,
        Transport::Ws => 8.0,
    }
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup {
        pin: false,
        open_files: args.connections as u64 + 256,
        deadline: Duration::from_secs(300),
    };
    program::main(setup, async |args: Args, _| {
        println!("{} connections for each transport, each with a user and a tenant", args.connections);
        println!("transport  RSS before     after  KiB/connection  budget  after one event of 1 KiB each");
        let mut within = true;
        for transport in &args.transports {
            within &= measure(*transport, &args).await?;
        }
        Ok(within)
    })
}

async fn measure(transport: Transport, args: &Args) -> Result<bool> {
    let count = args.connections;
    let server = ServerProcess::start(&ServeOptions::ours(transport.provider())).await?;
    let mut control = server.control().await?;
    sleep(SETTLE).await;
    let before = server.process().rss()?;

    let received = Arc::new(Received::default());
    let address = server.addresses().http;
    let dial = |number| Dial {
        transport,
        server: address,
        user: Some(format!("user-{number}")),
        number,
        receive_buffer: None,
    };
    let swarm = Swarm::connect(count, dial, &received).await?;
    sleep(Duration::from_millis(args.idle_ms)).await;
    let idle = server.process().rss()?;
    let there = control.report().await?.connections();
    if there != count as u64 {
        return Err(format!("{there} of {count} connections are there").into());
    }

    control.call(&Command::Burst { count: 1, size: 1024, to: Audience::All }).await?;
    until(Duration::from_secs(20), "every client has the event", || received.0.load(Ordering::Relaxed) == count as u64)
        .await?;
    sleep(SETTLE).await;
    let used = server.process().rss()?;
    swarm.check()?;
    drop(swarm);
    server.stop().await?;

    let each = kib_each(before, idle, count);
    let budget = budget(transport);
    println!(
        "{:9}  {:6.1} MiB  {:5.1} MiB  {each:14.2}  {budget:6}  {:.2} KiB/connection{}",
        transport.provider(),
        mib(before),
        mib(idle),
        kib_each(before, used, count),
        if each > budget { "   OVER BUDGET" } else { "" },
    );
    Ok(each <= budget)
}
