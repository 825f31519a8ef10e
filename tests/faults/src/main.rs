//! `faults`: runs of real processes with faults, and rolling deploys.

use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use realtime_bench::program::exit_code;
use realtime_bench::report::Report;
use realtime_bench::{Result, process};
use realtime_faults::broker::{Kind, Sync};
use realtime_faults::deploy;
use realtime_faults::fault::Fault;
use realtime_faults::run::{Plan, TITLES, WIDTH};
use realtime_faults::world::Backend;

/// The clients of the short form.
const SHORT: usize = 60;

/// Faults of real processes: what each client got, compared with what was sent.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Where the log is; without it Redis and disk
    #[arg(value_enum)]
    backend: Vec<BackendName>,
    /// Only the faults with these names
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The number of clients
    #[arg(long, default_value_t = 300)]
    clients: usize,
    /// The four most telling faults with 60 clients, within a minute
    #[arg(long)]
    short: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Replaces three nodes one after the other, and a node on disk, under load
    Deploy(deploy::Args),
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum BackendName {
    Disk,
    Nats,
    Redis,
}

fn main() -> ExitCode {
    let args = Args::parse();
    exit_code(run(&args))
}

fn run(args: &Args) -> Result<bool> {
    process::raise_open_files(8_192)?;
    println!("load average {:.1}", process::load()?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        match &args.command {
            Some(Command::Deploy(args)) => deploy::run(args).await,
            None => run_all(&plans(args)?).await,
        }
    })
}

fn plans(args: &Args) -> Result<Vec<Plan>> {
    if args.short {
        let (redis, sync, clients) = (Backend::Broker(Kind::Redis), Sync::Always, SHORT);
        let at = |backend, fault| Plan { backend, fault, sync, clients };
        return Ok(vec![
            at(redis, Fault::BrokerKilled),
            at(redis, Fault::NodeKilled),
            at(redis, Fault::RolledBack),
            at(Backend::Disk, Fault::NodeKilled),
        ]);
    }
    let names = if args.backend.is_empty() { &[BackendName::Redis, BackendName::Disk] } else { &args.backend[..] };
    let backends = names.iter().map(|name| match name {
        BackendName::Disk => Backend::Disk,
        BackendName::Nats => Backend::Broker(Kind::Nats),
        BackendName::Redis => Backend::Broker(Kind::Redis),
    });
    let mut plans: Vec<_> = backends.flat_map(|backend| Plan::all(backend, args.clients)).collect();
    if !args.only.is_empty() {
        plans.retain(|plan| args.only.iter().any(|name| name == plan.fault.name()));
    }
    if plans.is_empty() { Err("no such fault of these backends".into()) } else { Ok(plans) }
}

/// Runs one after the other, and returns whether everything holds.
async fn run_all(plans: &[Plan]) -> Result<bool> {
    let mut report = Report::default();
    report.table(WIDTH, &TITLES);
    for plan in plans {
        if let Some(why) = plan.skipped() {
            println!("{}: skipped, {why}", plan.name());
        } else if let Err(error) = plan.run(&mut report).await {
            report.require(false, &format!("{}: {error}", plan.name()));
        }
    }
    Ok(report.holds())
}
