//! The server of the benchmarks by itself, to be looked at with a profiler: its addresses are the
//! first line it prints.

use std::process::ExitCode;

use clap::Parser;
use realtime_bench::server::{self, ServeOptions};

#[derive(Parser)]
struct Args {
    #[command(flatten)]
    options: ServeOptions,
}

fn main() -> ExitCode {
    match server::run(&Args::parse().options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
