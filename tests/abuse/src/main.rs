//! `abuse`: attacks on a running demo, one after the other, while clients beside them are watched.

mod attack;
mod attacker;
mod attacks;
mod counters;
mod judge;
mod watch;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use realtime_bench::program::exit_code;
use realtime_bench::{Result, process};

use crate::attack::Attack;
use crate::judge::Length;

/// Sockets, those of the attackers included.
const FILES: u64 = 16 * 1024;

/// Attacks a demo in a process of its own, and requires that clients beside do not notice it.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    /// Only the attacks with these names
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// The length of each attack, in seconds; some need more
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Print the figures without judging the times, which mean little beside other programs
    #[arg(long)]
    report: bool,
    /// Only the attacks that need no long time, as short as they may be, and `--report` without a
    /// look at the memory
    #[arg(long, conflicts_with_all = ["only", "seconds", "report"])]
    short: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Makes one attack, and prints how often it tried
    #[command(hide = true)]
    Attack { name: String, server: SocketAddr, seconds: u64 },
}

fn main() -> ExitCode {
    exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<bool> {
    process::raise_open_files(FILES)?;
    match &args.command {
        Some(Command::Attack { name, server, seconds }) => {
            let attack = attacks::named(name)?;
            attacker::run(attack, *server, Duration::from_secs(*seconds)).map(|()| true)
        }
        None if args.short => judge::run(&attacks::short(), Length::SHORT),
        None => {
            let length = Length::full(Duration::from_secs(args.seconds), !args.report);
            judge::run(&chosen(&args.only)?, length)
        }
    }
}

fn chosen(names: &[String]) -> Result<Vec<Attack>> {
    if names.is_empty() {
        return Ok(attacks::all());
    }
    names.iter().map(|name| attacks::named(name)).collect()
}
