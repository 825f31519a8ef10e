//! The frame of every measuring program.

use std::ffi::OsString;
use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::time::{Instant, sleep, timeout};

use crate::server::{self, ServeOptions};
use crate::{Result, process};

/// The time between two looks at a condition.
const LOOK: Duration = Duration::from_millis(2);

/// The load average above which other programs are running.
const BUSY: f64 = 0.7;

/// The needs of a program.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// `true` if the servers get a processor of their own, where there are two or more.
    pub pin: bool,
    /// The number of files that this process opens.
    pub open_files: u64,
    /// The longest duration of the whole run.
    pub deadline: Duration,
}

/// The arguments of a server process.
#[derive(Debug, Parser)]
struct Serve {
    #[command(flatten)]
    options: ServeOptions,
}

/// Runs a measuring program, or the server if the first argument says so. `measure` receives the
/// processors for its servers (none: all of them) and returns whether every figure is within its
/// budget.
pub fn main<A: Parser, F: Future<Output = Result<bool>>>(
    setup: impl FnOnce(&A) -> Setup,
    measure: impl FnOnce(A, Vec<usize>) -> F,
) -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let result = if arguments.get(1).is_some_and(|first| first == "serve") {
        server::run(&Serve::parse_from(&arguments[1..]).options).map(|()| true)
    } else {
        let arguments = A::parse_from(arguments);
        let setup = setup(&arguments);
        run(setup, |cpus| measure(arguments, cpus))
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Waits until a condition holds.
///
/// # Errors
/// When it does not within `limit`; `what` names the condition.
pub async fn until(limit: Duration, what: &str, mut holds: impl FnMut() -> bool) -> Result<()> {
    let end = Instant::now() + limit;
    while !holds() {
        if Instant::now() > end {
            return Err(format!("not within {limit:?}: {what}").into());
        }
        sleep(LOOK).await;
    }
    Ok(())
}

fn run<F: Future<Output = Result<bool>>>(setup: Setup, measure: impl FnOnce(Vec<usize>) -> F) -> Result<bool> {
    process::raise_open_files(setup.open_files)?;
    let load = process::load()?;
    if load > BUSY {
        eprintln!("warning: the load average is {load}: times measured next to other programs mean little");
    }
    let mut cpus = Vec::new();
    if setup.pin
        && let [first, others @ ..] = process::allowed_cpus()?.as_slice()
        && !others.is_empty()
    {
        process::run_on(others)?;
        cpus.push(*first);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let measured = timeout(setup.deadline, measure(cpus)).await;
        measured.map_err(|_| format!("the run took longer than {:?}", setup.deadline))?
    })
}
