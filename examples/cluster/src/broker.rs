//! The broker that the nodes share.

use std::io::ErrorKind;
use std::process::Stdio;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};

use crate::args::Args;
use crate::child;

/// The time that a Redis of our own has until it accepts connections.
const START: Duration = Duration::from_secs(10);

const MISSING: &str = "redis-server is not installed: install it (Debian: `apt-get install redis-server`, macOS: \
                       `brew install redis`), or name a server by --redis URL or --nats URL";

/// The broker: one that runs already, or a Redis of our own.
pub(crate) struct Broker {
    /// The demo's option that names it.
    option: &'static str,
    url: String,
    /// The process and its directory, if it is our own.
    own: Option<(Child, TempDir)>,
}

impl Broker {
    /// Starts a Redis, unless the arguments name a broker.
    pub(crate) async fn start(args: &Args) -> Result<Self, String> {
        if let Some(url) = &args.redis {
            return Ok(Self { option: "--redis", url: url.clone(), own: None });
        }
        if let Some(url) = &args.nats {
            return Ok(Self { option: "--nats", url: url.clone(), own: None });
        }
        let directory = TempDir::with_prefix("realtime-cluster-").map_err(|error| error.to_string())?;
        let port = free_port().await.map_err(|error| format!("there is no free port: {error}"))?;
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        command.arg("--dir").arg(directory.path());
        // In a group of its own: ctrl-C is for this program, which ends it last.
        command.stdin(Stdio::null()).stdout(Stdio::null()).process_group(0).kill_on_drop(true);
        let mut child = command.spawn().map_err(|error| match error.kind() {
            ErrorKind::NotFound => MISSING.to_owned(),
            _ => format!("cannot start redis-server: {error}"),
        })?;
        wait_for(&mut child, port).await?;
        Ok(Self { option: "--redis", url: format!("redis://127.0.0.1:{port}"), own: Some((child, directory)) })
    }

    /// Returns the address, without user and password.
    pub(crate) fn url(&self) -> String {
        match (self.url.split_once("://"), self.url.rsplit_once('@')) {
            (Some((scheme, _)), Some((_, host))) => format!("{scheme}://{host}"),
            _ => self.url.clone(),
        }
    }

    /// Returns the arguments of a node that uses it.
    pub(crate) fn node_args(&self) -> [String; 2] {
        [self.option.to_owned(), self.url.clone()]
    }

    /// Ends the Redis of our own, if there is one, and removes its directory.
    pub(crate) async fn stop(self) {
        if let Some((child, directory)) = self.own {
            child::end(child).await;
            drop(directory);
        }
    }
}

async fn free_port() -> std::io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0").await?.local_addr()?.port())
}

/// Waits until the server accepts connections.
async fn wait_for(child: &mut Child, port: u16) -> Result<(), String> {
    let end = Instant::now() + START;
    while TcpStream::connect(("127.0.0.1", port)).await.is_err() {
        if let Ok(Some(status)) = child.try_wait() {
            return Err(format!("redis-server has ended ({status})"));
        }
        if Instant::now() > end {
            return Err(format!("redis-server does not accept connections on port {port}"));
        }
        sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn url_is_shown_without_user_and_password() {
        let shown = |url: &str| Broker { option: "--redis", url: url.to_owned(), own: None }.url();
        assert_eq!(shown("redis://ann:secret@localhost:6379"), "redis://localhost:6379");
        assert_eq!(shown("nats://localhost"), "nats://localhost");
    }
}
