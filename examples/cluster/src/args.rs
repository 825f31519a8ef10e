use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;

/// Realtime cluster: several demo nodes on one broker, behind one port with a page.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The address of the page and of the proxy in front of the nodes, on this machine; port 0
    /// takes a free one.
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,
    /// The number of nodes.
    #[arg(long, value_name = "COUNT", default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub(crate) nodes: u8,
    /// Use the Redis at this URL; default: a `redis-server` that this program starts, with its data
    /// in a temporary directory.
    #[arg(long, value_name = "URL", conflicts_with = "nats")]
    pub(crate) redis: Option<String>,
    /// Use the NATS at this URL.
    #[arg(long, value_name = "URL")]
    pub(crate) nats: Option<String>,
    /// The program of a node; default: the demo beside this program, built first if cargo runs
    /// this.
    #[arg(long, value_name = "PATH")]
    pub(crate) demo: Option<PathBuf>,
}

impl Args {
    /// Rejects an address that other machines reach.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.listen.ip().is_loopback() {
            return Ok(());
        }
        Err(format!("{} can be reached from other machines, and anyone there could kill nodes", self.listen))
    }
}
