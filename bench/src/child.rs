//! A server or a relay in a process of its own: this program once more, with the argument `serve`
//! or `relay`; or another program, with the argument `become`.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, set_parent_process_death_signal};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::Result;
use crate::process::{self, Process};
use crate::server::control::Control;
use crate::server::{Addresses, ServeOptions};

/// The time that a process may take to print its first line.
const START: Duration = Duration::from_secs(20);
/// The time between two looks whether it has ended.
const LOOK: Duration = Duration::from_millis(5);

/// Starts this program with these arguments, under another one if that is not empty; returns the
/// first line that it prints too. Dropping the process kills it.
pub(crate) async fn start(program: &[OsString], arguments: &[&str]) -> Result<(Child, String)> {
    start_program(&std::env::current_exe()?, program, arguments).await
}

/// Starts `executable` as [`start`] does this program.
async fn start_program(executable: &Path, program: &[OsString], arguments: &[&str]) -> Result<(Child, String)> {
    let mut line = program.to_vec();
    line.push(executable.into());
    let mut command = Command::new(&line[0]);
    command.args(&line[1..]).args(arguments);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    let stdout = child.stdout.take().ok_or("the process has no standard output")?;
    let first = timeout(START, BufReader::new(stdout).lines().next_line()).await??;
    Ok((child, first.ok_or("the process has ended")?))
}

/// Another program that this one is to become.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Become {
    /// The program and its arguments.
    pub(crate) line: Vec<String>,
    /// The processors to run on; all if none is named.
    pub(crate) cpus: Vec<usize>,
}

/// Becomes another program, which ends when its parent does; with these options, as JSON.
pub(crate) fn become_as(options: &str) -> Result<()> {
    let Become { line, cpus } = serde_json::from_str(options)?;
    // Both outlive the exec.
    set_parent_process_death_signal(Some(Signal::KILL))?;
    if !cpus.is_empty() {
        process::run_on(&cpus)?;
    }
    let [program, arguments @ ..] = &line[..] else { return Err("no program is named".into()) };
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(format!("{program} does not start: {error}").into())
}

/// The program that a server is started as.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serving<'a> {
    /// Another program of this package; this one if `None`.
    pub program: Option<&'a Path>,
    /// A program that runs it, with its arguments; none if empty.
    pub under: &'a [OsString],
}

/// A running server process. Dropping this kills it, and it ends by itself when this process is
/// gone.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
    /// The addresses that it listens on.
    pub addresses: Addresses,
    /// The process, to be measured.
    pub process: Process,
}

impl ServerProcess {
    /// Starts one and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started or ends early.
    pub async fn start(options: &ServeOptions) -> Result<Self> {
        Self::start_as(Serving::default(), options).await
    }

    /// Starts one as `serving` says, and waits until it listens.
    ///
    /// # Errors
    /// When it cannot be started or ends early.
    pub async fn start_as(serving: Serving<'_>, options: &ServeOptions) -> Result<Self> {
        let options = serde_json::to_string(options)?;
        let this = std::env::current_exe()?;
        let program = serving.program.unwrap_or(&this);
        Self::of(start_program(program, serving.under, &["serve", &options]).await?)
    }

    /// Starts another program that serves, and waits until it listens.
    pub(crate) async fn start_other(program: &Become) -> Result<Self> {
        Self::of(start(&[], &["become", &serde_json::to_string(program)?]).await?)
    }

    fn of((child, first): (Child, String)) -> Result<Self> {
        let process = Process(child.id().ok_or("the server has ended")?);
        Ok(Self { child, addresses: serde_json::from_str(&first)?, process })
    }

    /// Opens a new control connection.
    ///
    /// # Errors
    /// When the server is gone.
    pub async fn control(&self) -> Result<Control> {
        Control::connect(self.addresses.control).await
    }

    /// Asks it to shut down, as a deploy does: SIGTERM.
    ///
    /// # Errors
    /// When it is gone.
    pub fn terminate(&self) -> Result<()> {
        self.signal(Signal::TERM)
    }

    /// Stops it where it is, until it continues.
    ///
    /// # Errors
    /// When it is gone.
    pub fn suspend(&self) -> Result<()> {
        self.signal(Signal::STOP)
    }

    /// Continues it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn resume(&self) -> Result<()> {
        self.signal(Signal::CONT)
    }

    fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(i32::try_from(self.process.0)?).ok_or("no process has this id")?;
        Ok(kill_process(pid, signal)?)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        // Waiting as the child's handle does would close its standard input, which ends it.
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            sleep(LOOK).await;
        }
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn stop(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}
