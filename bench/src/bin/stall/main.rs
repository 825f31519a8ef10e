//! The cost of clients that stop reading for the others, for each transport: those that never read
//! again and are closed, and those that catch up.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use realtime_bench::program::{self, Setup};

mod behind;
mod closed;

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    question: Question,
    /// Bytes of JSON in each event
    #[arg(long, global = true, default_value_t = 1024)]
    size: usize,
    /// The number of times that the runs are repeated
    #[arg(long, global = true, default_value_t = 5)]
    pairs: usize,
    /// Let server and clients share all processors
    #[arg(long, global = true)]
    no_pin: bool,
}

#[derive(Subcommand)]
enum Question {
    /// They stall for a while and then catch up
    Behind(behind::Args),
    /// They never read again, and are closed after `write_stall`
    Closed(closed::Args),
}

/// The user of clients that stall.
const STALLED: &str = "stalled";

fn main() -> ExitCode {
    let setup = |args: &Args| {
        let (sockets, seconds) = match &args.question {
            Question::Behind(question) => (question.clients + question.stalled, 900),
            Question::Closed(question) => (question.clients + 1024, 240),
        };
        Setup { pin: !args.no_pin, sockets, seconds }
    };
    program::main(setup, async |args: Args, cpus| match &args.question {
        Question::Behind(question) => behind::measure(question, &args, &cpus).await,
        Question::Closed(question) => closed::measure(question, &args, &cpus).await,
    })
}
