use std::net::SocketAddr;
use std::time::Duration;

use clap::Parser;
use realtime_unified::Drain;

/// Realtime demo: Server-Sent Events, WebSocket and Socket.IO side by side.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    /// The address to listen on; port 0 takes a free one. It is printed on stdout.
    #[arg(long, default_value = "127.0.0.1:3000", overrides_with = "listen")]
    pub(crate) listen: SocketAddr,
    /// Listen on an address that other machines reach. Any client there can then be any user: the
    /// demo asks for no password.
    #[arg(long)]
    pub(crate) allow_remote: bool,
    /// On SIGTERM or SIGINT, close the connections evenly over this many seconds and exit with
    /// code 0; a second signal exits immediately, with code 1.
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    pub(crate) drain: u16,
    /// Before that, be only not ready (/readyz) for this many seconds, while everything still
    /// works; default 2, and none with `--drain 0`.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) hold: Option<u16>,
    /// The records that each transport keeps for clients that reconnect or are slow; a client that
    /// misses more gets `lost`, or `expired` when it reconnects.
    #[arg(long, value_name = "RECORDS", default_value_t = 10_000)]
    pub(crate) window: usize,
}

impl Args {
    pub(crate) fn drain(&self) -> Drain {
        let seconds = |seconds: u16| Duration::from_secs(seconds.into());
        let drain = if self.drain == 0 { Drain::now() } else { Drain::over(seconds(self.drain)) };
        self.hold.map_or(drain, |hold| drain.with_hold(seconds(hold)))
    }

    /// Rejects an address that other machines reach, unless it is allowed.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.listen.ip().is_loopback() || self.allow_remote {
            return Ok(());
        }
        Err(format!(
            "{} can be reached from other machines, and the demo lets any client be any user; add --allow-remote if you want that",
            self.listen
        ))
    }
}
