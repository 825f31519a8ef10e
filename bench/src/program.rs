//! The frame of every measuring program.

use std::future::Future;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use tokio::time::{Instant, sleep, timeout};

use crate::{Result, child, process, relay, server};

/// The time between two looks at a condition.
const LOOK: Duration = Duration::from_millis(2);

/// The load average above which other programs are running.
const BUSY: f64 = 0.7;

/// The number of files that a program opens besides its clients' sockets.
const OTHER_FILES: u64 = 256;

/// The needs of a program.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    /// `true` if the servers get a processor of their own, where there are two or more.
    pub pin: bool,
    /// The number of sockets that this process opens.
    pub sockets: usize,
    /// The most seconds that the whole run may take.
    pub seconds: u64,
}

/// Runs a measuring program, or a server, a relay or another program if the first argument says so.
/// `measure` receives the processors for its servers (none: all of them) and returns whether every
/// figure is within its budget.
pub fn main<A: Parser, F: Future<Output = Result<bool>>>(
    setup: impl FnOnce(&A) -> Setup,
    measure: impl FnOnce(A, Vec<usize>) -> F,
) -> ExitCode {
    let mut arguments = std::env::args().skip(1);
    exit_code(match (arguments.next().as_deref(), arguments.next()) {
        (Some("serve"), Some(options)) => server::run_as(&options).map(|()| true),
        (Some("become"), Some(options)) => child::become_as(&options).map(|()| true),
        (Some("relay"), Some(options)) => relay::run(&options).map(|()| true),
        _ => {
            let arguments = A::parse();
            let setup = setup(&arguments);
            run(setup, |cpus| measure(arguments, cpus))
        }
    })
}

/// Returns the exit code of a program; prints the error.
#[must_use]
pub fn exit_code(result: Result<bool>) -> ExitCode {
    let holds = result.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        false
    });
    if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE }
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
    process::raise_open_files(setup.sockets as u64 + OTHER_FILES)?;
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
        let measured = timeout(Duration::from_secs(setup.seconds), measure(cpus)).await;
        measured.map_err(|_| format!("the run took longer than {} s", setup.seconds))?
    })
}
