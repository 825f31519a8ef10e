//! A broker of a run's own: its process, and its files.

use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use realtime_bench::Result;
use realtime_bench::broker::nats_server;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::process::Child;
use tokio::time::{Instant, sleep, timeout};

use crate::node::{command, signal};

/// The time that a broker may take to answer.
const START: Duration = Duration::from_secs(20);
/// The time between two attempts to reach it.
const LOOK: Duration = Duration::from_millis(10);

/// A kind of broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `nats-server` with JetStream.
    Nats,
    /// `redis-server` with an append-only file.
    Redis,
}

/// When a broker has what it acknowledged on its disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sync {
    /// Before it acknowledges.
    Always,
    /// Within a second or more, as the broker does by default.
    Later,
}

/// A running broker. Dropping this kills it.
#[derive(Debug)]
pub struct Broker {
    kind: Kind,
    child: Child,
    directory: PathBuf,
    /// The address that it listens on, which it keeps.
    pub address: SocketAddr,
    arguments: Vec<String>,
}

impl Broker {
    /// Starts one with its files in a new directory.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn start(kind: Kind, directory: PathBuf, sync: Sync) -> Result<Self> {
        fs::create_dir_all(&directory)?;
        let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let arguments = arguments(kind, &directory, address.port(), sync)?;
        let child = spawn(kind, &directory, &arguments)?;
        let mut broker = Self { kind, child, directory, address, arguments };
        broker.wait().await?;
        Ok(broker)
    }

    /// Returns the option of a node that connects to this address instead of the broker's own.
    #[must_use]
    pub fn option(&self, address: SocketAddr) -> [String; 2] {
        match self.kind {
            Kind::Nats => ["--nats".to_owned(), format!("nats://{address}")],
            Kind::Redis => ["--redis".to_owned(), format!("redis://{address}")],
        }
    }

    /// Kills it: it writes nothing more.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn kill(&mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }

    /// Starts it again, with the files that it has.
    ///
    /// # Errors
    /// When it does not answer in time.
    pub async fn restart(&mut self) -> Result<()> {
        self.child = spawn(self.kind, &self.directory, &self.arguments)?;
        self.wait().await
    }

    /// Sends a signal to it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn signal(&self, which: Signal) -> Result<()> {
        signal(&self.child, which)
    }

    /// Removes the files of a broker that does not run.
    ///
    /// # Errors
    /// When the system fails to.
    pub fn wipe(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.files())?)
    }

    /// Copies the files, as they are now.
    ///
    /// # Errors
    /// When the system fails to.
    pub fn copy_files(&self, to: &Path) -> Result<()> {
        copy(&self.files(), to)
    }

    /// Replaces the files of a broker that does not run by a copy.
    ///
    /// # Errors
    /// When the system fails to.
    pub fn roll_back(&self, from: &Path) -> Result<()> {
        self.wipe()?;
        copy(from, &self.files())
    }

    /// Sends a command of words to Redis, and returns the first line of its answer.
    ///
    /// # Errors
    /// When it is an error, or none came.
    pub async fn command(&self, words: &str) -> Result<String> {
        let answer = timeout(START, line(self.address, &format!("{words}\r\n"))).await??;
        if answer.starts_with('-') { Err(format!("{words}: {answer}").into()) } else { Ok(answer) }
    }

    fn files(&self) -> PathBuf {
        self.directory.join(match self.kind {
            Kind::Nats => "jetstream",
            Kind::Redis => "appendonlydir",
        })
    }

    /// Waits until it has read its files and answers.
    async fn wait(&mut self) -> Result<()> {
        let (question, expected) = match self.kind {
            Kind::Nats => ("", "INFO"),
            Kind::Redis => ("PING\r\n", "+PONG"),
        };
        let end = Instant::now() + START;
        while !line(self.address, question).await.is_ok_and(|answer| answer.starts_with(expected)) {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("the broker has ended: {status}").into());
            }
            if Instant::now() > end {
                return Err("the broker does not answer".into());
            }
            sleep(LOOK).await;
        }
        Ok(())
    }
}

fn arguments(kind: Kind, directory: &Path, port: u16, sync: Sync) -> Result<Vec<String>> {
    let text = match kind {
        Kind::Nats => {
            let config = directory.join("nats.conf");
            // A server before 2.10 has no such option. What it acknowledged is with the kernel, so
            // that `kill -9` loses nothing of it.
            let always = sync == Sync::Always && nats_minor()? >= 10;
            let always = if always { "jetstream { sync_interval: always }\n" } else { "" };
            fs::write(&config, format!("max_payload: 8MB\n{always}"))?;
            format!("-c {} -a 127.0.0.1 -p {port} -js -sd {}", config.display(), directory.display())
        }
        Kind::Redis => {
            let fsync = if sync == Sync::Always { "always" } else { "everysec" };
            format!(
                "--port {port} --bind 127.0.0.1 --dir {} --save  --appendonly yes --appendfsync {fsync} \
                 --maxmemory-policy noeviction --repl-diskless-sync-delay 0",
                directory.display()
            )
        }
    };
    // Two spaces make the empty value of `--save`.
    Ok(text.split(' ').map(str::to_owned).collect())
}

/// Returns the minor version of the NATS server, such as 10 of `nats-server: v2.10.29`.
fn nats_minor() -> Result<u32> {
    let output = std::process::Command::new(nats_server()).arg("--version").output()?;
    let version = String::from_utf8_lossy(&output.stdout);
    let minor = version.split('.').nth(1).and_then(|minor| minor.parse().ok());
    minor.ok_or_else(|| format!("no version of a NATS server: {version}").into())
}

fn spawn(kind: Kind, directory: &Path, arguments: &[String]) -> Result<Child> {
    let program = match kind {
        Kind::Nats => nats_server(),
        Kind::Redis => "redis-server".into(),
    };
    let log = File::options().create(true).append(true).open(directory.join("broker.log"))?;
    let mut command = command(program.as_os_str());
    command.args(arguments).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    command.spawn().map_err(|error| format!("{} does not start: {error}", program.display()).into())
}

/// Writes a question, and reads the first line of the answer.
async fn line(address: SocketAddr, question: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(question.as_bytes()).await?;
    let mut answer = Vec::new();
    while !answer.ends_with(b"\n") {
        answer.push(stream.read_u8().await?);
    }
    Ok(String::from_utf8(answer)?.trim_end().to_owned())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}
