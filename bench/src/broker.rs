//! A broker in a process of its own, with its files in a directory that ends with it.

use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::Result;
use crate::child::Become;
use crate::process::Process;
use crate::server::log::LogKind;

/// The time that it may take to answer.
const START: Duration = Duration::from_secs(10);
/// The time between two looks whether it does.
const LOOK: Duration = Duration::from_millis(10);

/// A running broker. Dropping this kills it, and it ends when this process does.
#[derive(Debug)]
pub struct Broker {
    _child: Child,
    _files: TempDir,
    /// The URL of the broker.
    pub url: String,
    /// The process, to be measured.
    pub process: Process,
}

impl Broker {
    /// Starts a Redis on these processors that keeps an append-only file, synced as `appendfsync`
    /// says.
    ///
    /// # Errors
    /// When there is no `redis-server`, or it does not answer.
    pub async fn redis(appendfsync: &str, cpus: &[usize]) -> Result<Self> {
        let port = free_port()?.to_string();
        let line = |files: &Path| {
            let options = ["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes", "--appendfsync", appendfsync];
            let place = ["--port", &port, "--dir", text(files)?];
            Ok(["redis-server"].into_iter().chain(options).chain(place).map(str::to_owned).collect())
        };
        let broker = Self::start(cpus, format!("redis://127.0.0.1:{port}"), line)?;
        broker.answers("PING\r\n", "+PONG").await?;
        Ok(broker)
    }

    /// Starts a NATS server on these processors, with JetStream as it is by default.
    ///
    /// # Errors
    /// When there is no `nats-server`, or it does not answer.
    pub async fn nats(cpus: &[usize]) -> Result<Self> {
        let port = free_port()?.to_string();
        let line = |files: &Path| {
            let config = files.join("nats.conf");
            std::fs::write(&config, "max_payload: 8MB\n")?;
            let program = nats_server();
            let options = ["-a", "127.0.0.1", "-p", &port, "-c", text(&config)?, "-js", "-sd", text(files)?];
            Ok([text(&program)?].into_iter().chain(options).map(str::to_owned).collect())
        };
        let broker = Self::start(cpus, format!("nats://127.0.0.1:{port}"), line)?;
        broker.answers("", "INFO").await?;
        Ok(broker)
    }

    fn start(cpus: &[usize], url: String, line: impl FnOnce(&Path) -> Result<Vec<String>>) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let program = Become { line: line(files.path())?, cpus: cpus.to_vec() };
        let mut command = Command::new(std::env::current_exe()?);
        command.args(["become", &serde_json::to_string(&program)?]).kill_on_drop(true);
        // NATS logs to its standard error.
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let process = Process(child.id().ok_or("the broker has ended")?);
        Ok(Self { _child: child, _files: files, url, process })
    }

    /// Waits until it answers a line with one that begins so.
    async fn answers(&self, line: &str, expected: &str) -> Result<()> {
        let (_, address) = self.url.split_once("://").ok_or("a URL without a scheme")?;
        let answer = async || {
            let mut stream = TcpStream::connect(address).await?;
            stream.write_all(line.as_bytes()).await?;
            let mut answer = vec![0; expected.len()];
            stream.read_exact(&mut answer).await?;
            std::io::Result::Ok(answer == expected.as_bytes())
        };
        let end = Instant::now() + START;
        while !answer().await.unwrap_or(false) {
            if Instant::now() > end {
                return Err(format!("nothing answers at {}: is the broker installed?", self.url).into());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

impl Drop for Broker {
    /// Before its files are removed.
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.process.0).ok().and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::KILL);
        }
    }
}

/// The brokers of logs that several nodes share.
#[derive(Debug)]
pub struct Brokers {
    /// A Redis, synced every second.
    pub redis: Broker,
    /// A NATS server.
    pub nats: Broker,
}

impl Brokers {
    /// Starts both on these processors.
    ///
    /// # Errors
    /// Those of [`Broker::redis`] and [`Broker::nats`].
    pub async fn start(cpus: &[usize]) -> Result<Self> {
        Ok(Self { redis: Broker::redis("everysec", cpus).await?, nats: Broker::nats(cpus).await? })
    }

    /// Returns the broker of a log.
    #[must_use]
    pub fn of(&self, log: LogKind) -> &Broker {
        if log == LogKind::Nats { &self.nats } else { &self.redis }
    }
}

/// Returns the NATS server to start: `NATS_SERVER`, Debian's, which only root's `PATH` leads to, or
/// the one on the `PATH`.
#[must_use]
pub fn nats_server() -> PathBuf {
    let of_debian = Path::new("/usr/sbin/nats-server");
    let found = if of_debian.exists() { of_debian } else { "nats-server".as_ref() };
    std::env::var_os("NATS_SERVER").map_or_else(|| found.to_owned(), PathBuf::from)
}

/// Returns a path as text.
///
/// # Errors
/// When it is not UTF-8.
pub fn text(path: &Path) -> Result<&str> {
    path.to_str().ok_or_else(|| "a path that is not UTF-8".into())
}

/// Returns a port that is free now.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
