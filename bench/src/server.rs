//! The server process: this workspace's providers or a peer.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::net::{TcpListener, TcpSocket};
use tokio::signal::unix::{SignalKind, signal};

use realtime_unified::config::WindowConfig;
use realtime_unified::stats::Stats;

use self::log::LogKind;
pub use crate::payload::EVENT;
use crate::{Result, peer, process};

pub mod control;
pub mod log;
mod ours;
mod scrape;
mod spans;
mod steady;

/// The number of open files that a server should be able to have.
const OPEN_FILES: u64 = 1024;

/// The number of connections that may wait to be accepted. tokio's own bound is 128, which many
/// clients that connect at the same time exceed; the kernel then drops their first packet, and they
/// try again a second later.
const BACKLOG: u32 = 4096;

/// The arguments of a server process.
#[derive(Clone, Debug, clap::Args, Serialize, Deserialize)]
pub struct ServeOptions {
    /// The server
    #[arg(long, value_enum, default_value = "ours")]
    pub kind: Kind,
    /// Our providers to mount and to publish over; the peers have only one transport
    #[arg(long, value_delimiter = ',', default_value = "sse,ws,socket")]
    pub providers: Vec<String>,
    /// The time that one of our connections may accept no bytes, in milliseconds
    #[arg(long, default_value_t = 30_000)]
    pub write_stall_ms: u64,
    /// The way in which a publish goes over several of our providers
    #[arg(long, value_enum, default_value = "each")]
    pub over: Over,
    /// The most records in a provider's window
    #[arg(long, default_value_t = WindowConfig::default().records())]
    pub window_records: usize,
    /// Our log
    #[arg(long, value_enum, default_value = "memory")]
    pub log: LogKind,
    /// The place of our log: its directory on disk, or the URL of its broker
    #[arg(long)]
    pub log_at: Option<String>,
    /// The name of our log at its broker
    #[arg(long, default_value = "bench")]
    pub log_name: String,
    /// On SIGTERM, close our connections evenly over this many milliseconds and end with code 0
    #[arg(long)]
    pub drain_ms: Option<u64>,
    /// Render our metrics every so many milliseconds; needs the feature `metrics`
    #[arg(long)]
    pub scrape_ms: Option<u64>,
    /// Pass traces on, with the spans from this level on; needs the feature `otel`
    #[arg(long, value_name = "LEVEL")]
    pub spans: Option<String>,
    /// The processors to run on; all if none is named
    #[arg(long, value_delimiter = ',')]
    pub cpus: Vec<usize>,
    /// End when standard input ends, as it does when the parent process is gone
    #[arg(long)]
    pub with_parent: bool,
}

/// The kinds of servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Kind {
    /// axum's `Sse` over a `tokio::sync::broadcast`.
    AxumSse,
    /// axum's `Sse` over a `tokio::sync::mpsc` for each user.
    AxumSseMpsc,
    /// axum's websockets over a `tokio::sync::mpsc` for each user.
    AxumWsMpsc,
    /// The floor: one `try_write` of one pre-encoded WebSocket frame for each connection and
    /// message.
    Floor,
    /// The providers of this workspace.
    Ours,
    /// A plain fan-out of pre-encoded frames, in the shape of our WebSocket provider.
    Plain,
    /// socketioxide's `io.to(room).emit`.
    Socketioxide,
    /// tokio-tungstenite over a `tokio::sync::broadcast`.
    Tungstenite,
}

/// The way a publish goes over several of our providers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Over {
    /// A send for each of them, one after the other.
    Each,
    /// A send over the first one alone.
    First,
    /// One send over all of them.
    Record,
}

/// The addresses of a server process: its first line on standard output, as JSON.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// The address for clients.
    pub http: SocketAddr,
    /// The address for [`control`].
    pub control: SocketAddr,
}

/// The counters of a server since it started.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Counters {
    /// The calls of the hook for closed connections, by close reason.
    pub disconnected: BTreeMap<String, u64>,
    /// Each provider's own counters.
    pub stats: BTreeMap<String, Stats>,
}

impl Counters {
    /// Returns the number of current connections, over all providers.
    #[must_use]
    pub fn connections(&self) -> u64 {
        self.stats.values().map(|stats| stats.connections).sum()
    }

    /// Returns the calls of the hook for closed connections, for any reason.
    #[must_use]
    pub fn hooks_ended(&self) -> u64 {
        self.disconnected.values().sum()
    }
}

/// The audience of a publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Every connection.
    All,
    /// The members of one room; only with our server.
    Room(String),
    /// The connections of one user; not with the peers that have one broadcast.
    User(String),
}

/// Returns the name of the user with this number.
#[must_use]
pub fn user_name(number: usize) -> String {
    format!("user-{number}")
}

/// A running server, seen from its control port.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Publishes one event `EVENT` with this JSON; returns when the
    /// server's own call does.
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()>;

    /// Joins a user to a room; the peers cannot.
    async fn join(&self, _user: &str, _room: &str) -> Result<()> {
        Err("this server cannot join users to rooms".into())
    }

    /// Disconnects the clients over this duration, and returns when none is left; the peers do
    /// nothing.
    async fn drain(&self, _over: Duration) {}

    /// Returns the counters so far; the peers have none.
    fn report(&self) -> Counters {
        Counters::default()
    }
}

impl ServeOptions {
    /// Creates the options of our server with these providers, ending with its parent.
    #[must_use]
    pub fn ours(providers: &[&str]) -> Self {
        Self {
            kind: Kind::Ours,
            providers: providers.iter().map(|&name| name.to_owned()).collect(),
            write_stall_ms: 30_000,
            over: Over::Each,
            window_records: WindowConfig::default().records(),
            log: LogKind::Memory,
            log_at: None,
            log_name: "bench".to_owned(),
            drain_ms: None,
            scrape_ms: None,
            spans: None,
            cpus: Vec::new(),
            with_parent: true,
        }
    }

    /// Sets the processors.
    #[must_use]
    pub fn on(self, cpus: &[usize]) -> Self {
        Self { cpus: cpus.to_vec(), ..self }
    }
}

/// Serves with these options, as JSON.
pub(crate) fn run_as(options: &str) -> Result<()> {
    run(&serde_json::from_str(options)?)
}

/// Serves until the process ends.
///
/// # Errors
/// When it cannot be started.
pub fn run(options: &ServeOptions) -> Result<()> {
    // Threads inherit it, so before there are any.
    if !options.cpus.is_empty() {
        process::run_on(&options.cpus)?;
    }
    process::raise_open_files(OPEN_FILES)?;
    if options.with_parent {
        process::end_with_parent();
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: &ServeOptions) -> Result<()> {
    let listener = TcpSocket::new_v4()?;
    listener.bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    let listener = listener.listen(BACKLOG)?;
    let commands = TcpListener::bind("127.0.0.1:0").await?;
    let addresses = Addresses { http: listener.local_addr()?, control: commands.local_addr()? };
    let publisher: Arc<dyn Publisher> = match options.kind {
        Kind::AxumSse => peer::axum_sse::start(listener),
        Kind::AxumSseMpsc => peer::mailboxes::start_sse(listener),
        Kind::AxumWsMpsc => peer::mailboxes::start_ws(listener),
        Kind::Floor => peer::floor::start(listener),
        Kind::Ours => ours::start(listener, options).await?,
        Kind::Plain => peer::plain::start(listener),
        Kind::Socketioxide => peer::socketioxide::start(listener),
        Kind::Tungstenite => peer::tungstenite::start(listener),
    };
    println!("{}", serde_json::to_string(&addresses)?);
    let commands = control::serve(commands, Arc::clone(&publisher));
    let Some(over) = options.drain_ms.map(Duration::from_millis) else { return commands.await };
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        ended = commands => ended,
        // Open control connections continue meanwhile.
        _ = terminate.recv() => {
            publisher.drain(over).await;
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: ServeOptions,
    }

    #[test]
    fn options_survive_the_command_line() {
        let line = "serve --providers=ws,sse --over=record --write-stall-ms=2000 --window-records=64 --drain-ms=1000";
        let line = format!("{line} --cpus=0,2 --with-parent");
        let options = ServeOptions {
            write_stall_ms: 2_000,
            window_records: 64,
            drain_ms: Some(1_000),
            ..ServeOptions::ours(&["ws", "sse"])
        };
        let options = ServeOptions { over: Over::Record, ..options.on(&[0, 2]) };
        let parsed = Line::parse_from(line.split(' ')).options;
        let passed: ServeOptions = serde_json::from_str(&serde_json::to_string(&options).unwrap()).unwrap();
        assert_eq!(format!("{parsed:?}"), format!("{options:?}"));
        assert_eq!(format!("{passed:?}"), format!("{options:?}"));
    }
}
