//! The server process: what is measured, or what it is measured against.

use std::io::Read as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

use crate::{Result, peer, process};

pub mod control;
mod ours;
mod report;

pub use report::Report;

/// Open files that a server should be able to have.
const OPEN_FILES: u64 = 1024;

/// What a server process is started with.
#[derive(Clone, Debug, clap::Args)]
pub struct ServeOptions {
    /// What serves
    #[arg(long, value_enum, default_value = "ours")]
    pub kind: Kind,
    /// Our providers to mount and to publish over; the peers have only one transport
    #[arg(long, value_delimiter = ',', default_value = "sse,ws,socket")]
    pub providers: Vec<String>,
    /// How long one of our connections may take nothing, in milliseconds
    #[arg(long, default_value_t = 30_000)]
    pub write_stall_ms: u64,
    /// The processors to run on; all if none is named
    #[arg(long, value_delimiter = ',')]
    pub cpus: Vec<usize>,
    /// End when standard input ends, as it does when the parent process is gone
    #[arg(long)]
    pub with_parent: bool,
}

/// Servers there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Kind {
    /// axum's `Sse` over a `tokio::sync::broadcast`.
    AxumSse,
    /// The floor: one `try_write` of one pre-encoded WebSocket frame for each connection and message.
    Floor,
    /// The providers of this workspace.
    Ours,
    /// socketioxide's `io.to(room).emit`.
    Socketioxide,
    /// tokio-tungstenite over a `tokio::sync::broadcast`.
    Tungstenite,
}

/// Where a server process listens: its first line on standard output, as JSON.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// For clients.
    pub http: SocketAddr,
    /// For [`control`].
    pub control: SocketAddr,
}

/// Who gets what a server is told to publish.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Audience {
    /// Every connection.
    All,
    /// The connections of one user; only with our server.
    User(String),
}

/// A running server, seen from its control port.
#[async_trait]
pub trait Publisher: Send + Sync + 'static {
    /// Publishes one event [`EVENT`](crate::payload::EVENT) with this JSON; done when the server's own call is.
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()>;

    /// What it has seen so far; the peers say nothing.
    fn report(&self) -> Report {
        Report::default()
    }
}

impl ServeOptions {
    /// Our server with one provider, ending with its parent.
    pub fn ours(provider: &str) -> Self {
        Self {
            kind: Kind::Ours,
            providers: vec![provider.to_owned()],
            write_stall_ms: 30_000,
            cpus: Vec::new(),
            with_parent: true,
        }
    }

    /// A peer, ending with its parent.
    pub fn peer(kind: Kind) -> Self {
        Self { kind, providers: Vec::new(), ..Self::ours("") }
    }

    /// On these processors.
    #[must_use]
    pub fn on(mut self, cpus: &[usize]) -> Self {
        self.cpus = cpus.to_vec();
        self
    }

    /// With this write stall.
    #[must_use]
    pub fn with_write_stall(mut self, limit: Duration) -> Self {
        self.write_stall_ms = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self
    }

    /// The same as arguments of a command line.
    pub fn arguments(&self) -> Vec<String> {
        let kind = self.kind.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default();
        let mut arguments = vec![
            format!("--kind={kind}"),
            format!("--providers={}", self.providers.join(",")),
            format!("--write-stall-ms={}", self.write_stall_ms),
        ];
        if !self.cpus.is_empty() {
            let cpus: Vec<_> = self.cpus.iter().map(usize::to_string).collect();
            arguments.push(format!("--cpus={}", cpus.join(",")));
        }
        if self.with_parent {
            arguments.push("--with-parent".to_owned());
        }
        arguments
    }
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
        std::thread::spawn(|| {
            let _ = std::io::stdin().read_to_end(&mut Vec::new());
            std::process::exit(0);
        });
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(serve(options))
}

async fn serve(options: &ServeOptions) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let commands = TcpListener::bind("127.0.0.1:0").await?;
    let addresses = Addresses { http: listener.local_addr()?, control: commands.local_addr()? };
    let publisher: Arc<dyn Publisher> = match options.kind {
        Kind::AxumSse => peer::axum_sse::start(listener),
        Kind::Floor => peer::floor::start(listener),
        Kind::Ours => ours::start(listener, options).await?,
        Kind::Socketioxide => peer::socketioxide::start(listener),
        Kind::Tungstenite => peer::tungstenite::start(listener),
    };
    println!("{}", serde_json::to_string(&addresses)?);
    control::serve(commands, publisher).await
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
        let options = ServeOptions::ours("ws").on(&[0, 2]).with_write_stall(Duration::from_secs(2));
        let line = Line::parse_from([vec!["serve".to_owned()], options.arguments()].concat());
        assert_eq!(format!("{:?}", line.options), format!("{options:?}"));
    }
}
