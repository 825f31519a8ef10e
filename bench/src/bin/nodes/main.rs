//! Several nodes: the time from a publish on one node to the receive on another, next to the
//! official Socket.IO server and its adapters, and the rate at which a node can follow the log.

use std::process::ExitCode;

use clap::Parser;
use realtime_bench::program::{self, Setup};
use realtime_bench::report::Report;

mod delivered;
mod follow;

#[derive(Parser)]
struct Args {
    /// The parts to measure
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = [Part::Delivered, Part::Follow])]
    parts: Vec<Part>,
    #[command(flatten)]
    delivered: delivered::Args,
    #[command(flatten)]
    follow: follow::Args,
    /// Let servers and clients share all processors
    #[arg(long)]
    no_pin: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// The time and the CPU of an event from one node to a client of another
    Delivered,
    /// The CPU of an event that a node follows the log for, and has no client of
    Follow,
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup { pin: !args.no_pin, sockets: args.delivered.sockets(), seconds: 1200 };
    program::main(setup, async |args: Args, cpus| {
        let mut report = Report::default();
        if args.parts.contains(&Part::Delivered) {
            delivered::run(&args.delivered, &cpus, &mut report).await?;
        }
        if args.parts.contains(&Part::Follow) {
            follow::run(&args.follow, &cpus, &mut report).await?;
        }
        Ok(report.holds())
    })
}
