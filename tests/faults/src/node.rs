//! A node: a process of the demo.

use std::ffi::OsStr;
use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use realtime_bench::Result;
use realtime_bench::process::Process;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// The time that a node may take to listen, one that waits for the directory of another included.
const START: Duration = Duration::from_secs(40);
/// The time that a node may take to end.
const END: Duration = Duration::from_secs(30);
/// The library that shifts a process's clock, where Debian installs it.
pub const FAKETIME: &str = "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1";

/// The options of a node.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// The name.
    pub name: String,
    /// The arguments that say where the log is.
    pub log: Vec<String>,
    /// The shift of its clock, as `+1h`.
    pub clock: Option<&'static str>,
    /// Further arguments.
    pub more: Vec<String>,
    /// The directory of its output.
    pub output: PathBuf,
}

/// A running node. Dropping this kills it.
#[derive(Debug)]
pub struct Node {
    child: Child,
    stdout: BufReader<ChildStdout>,
}

impl Node {
    /// Starts one; it does not listen yet.
    ///
    /// # Errors
    /// When the system fails to.
    pub fn spawn(options: &NodeOptions) -> Result<Self> {
        let output = options.output.join(format!("{}.log", options.name));
        let log = File::options().create(true).append(true).open(output)?;
        let mut command = command(demo()?.as_os_str());
        command.args(["--listen", "127.0.0.1:0", "--node", &options.name]);
        command.args(&options.log).args(&options.more);
        if let Some(clock) = options.clock {
            command.env("LD_PRELOAD", FAKETIME).env("FAKETIME", clock).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn()?;
        let stdout = child.stdout.take().ok_or("the node has no standard output")?;
        Ok(Self { child, stdout: BufReader::new(stdout) })
    }

    /// Waits until it listens, and returns its address.
    ///
    /// # Errors
    /// When it ends instead.
    pub async fn address(&mut self) -> Result<SocketAddr> {
        let mut line = String::new();
        timeout(START, self.stdout.read_line(&mut line)).await.map_err(|_| "the node does not listen in time")??;
        let (_, address) = line.trim_end().split_once("http://").ok_or("the node has ended")?;
        Ok(address.parse()?)
    }

    /// Returns the process, to be measured.
    ///
    /// # Errors
    /// When it has ended.
    pub fn process(&self) -> Result<Process> {
        Ok(Process(self.child.id().ok_or("the node has ended")?))
    }

    /// Sends a signal to it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, which: Signal) -> Result<()> {
        signal(&self.child, which)
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Waits until it has ended by itself.
    ///
    /// # Errors
    /// When it does not.
    pub async fn ended(&mut self) -> Result<ExitStatus> {
        Ok(timeout(END, self.child.wait()).await.map_err(|_| "the node does not end in time")??)
    }
}

/// Returns a command for a process that ends with this one.
pub(crate) fn command(program: &OsStr) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL"]).arg(program).kill_on_drop(true);
    command
}

/// Sends a signal to a child.
pub(crate) fn signal(child: &Child, which: Signal) -> Result<()> {
    let pid = child.id().and_then(|id| Pid::from_raw(id.cast_signed())).ok_or("the process has ended")?;
    Ok(kill_process(pid, which)?)
}

/// Returns the demo: `REALTIME_DEMO`, or what was built next to this program.
fn demo() -> Result<PathBuf> {
    if let Some(named) = std::env::var_os("REALTIME_DEMO") {
        return Ok(named.into());
    }
    let this = std::env::current_exe()?;
    let built = this.parent().unwrap_or(Path::new(".")).join("realtime-demo");
    if built.is_file() {
        return Ok(built);
    }
    Err(format!("no demo at {}: cargo build -p realtime-demo, in the same profile", built.display()).into())
}
