use std::net::SocketAddr;

use clap::Parser;

/// Realtime demo: Server-Sent Events, WebSocket and Socket.IO side by side.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// Where to listen; port 0 takes a free one. The address is printed on stdout.
    #[arg(long, default_value = "127.0.0.1:3000")]
    pub(crate) listen: SocketAddr,
    /// Listen on an address that other machines reach. Everybody there can then be any user: the demo asks for no password.
    #[arg(long)]
    pub(crate) allow_remote: bool,
}

impl Args {
    /// Refuses to show the demo's open door to other machines unasked.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.listen.ip().is_loopback() || self.allow_remote {
            return Ok(());
        }
        Err(format!(
            "{} can be reached from other machines, and the demo lets everybody be any user; add --allow-remote if you want that",
            self.listen
        ))
    }
}
