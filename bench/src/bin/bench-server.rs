//! The server of the benchmarks by itself, to be looked at with a profiler: its addresses are the
//! first line it prints.

use std::process::ExitCode;

use clap::Parser;
use realtime_bench::program::exit_code;
use realtime_bench::server::{self, ServeOptions};

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: ServeOptions,
}

fn main() -> ExitCode {
    exit_code(server::run(&Args::parse().options).map(|()| true))
}
