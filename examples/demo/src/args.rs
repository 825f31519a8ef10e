use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use realtime_unified::disk::{DiskBackplane, DiskConfig};
use realtime_unified::nats::{NatsBackplane, NatsConfig};
use realtime_unified::redis::{RedisBackplane, RedisConfig};
use realtime_unified::{Drain, Error, NotificationServiceBuilder, Tls};

use crate::limits::LimitArgs;

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
    /// On SIGTERM or SIGINT, close the connections evenly over this many seconds and exit with code
    /// 0; a second signal exits immediately, with code 1. Default 5, and 0 with `--data`, where
    /// clients can only reconnect to the next process.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) drain: Option<u16>,
    /// Before that, be only not ready (/readyz) for this many seconds, while everything still
    /// works; default 2, and none with `--drain 0`.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) hold: Option<u16>,
    /// The records that each transport keeps for clients that reconnect or are slow; a client that
    /// misses more gets `lost`, or `expired` when it reconnects.
    #[arg(long, value_name = "RECORDS", default_value_t = 10_000)]
    pub(crate) window: usize,
    /// The name of this node, by which `/readyz` and `/api/nodes` show it; default: its random id.
    #[arg(long, value_name = "NAME")]
    pub(crate) node: Option<String>,
    /// End each login after this many seconds, unless its client refreshes it; the page does, when
    /// it is notified. Default: logins do not end.
    #[arg(long, value_name = "SECONDS")]
    pub(crate) token_life: Option<u16>,
    #[command(flatten)]
    pub(crate) limits: LimitArgs,
    /// Keep the log in this directory, so that clients resume after a restart. A process that still
    /// has the directory is waited for, for up to 30 seconds.
    #[arg(long, value_name = "DIRECTORY")]
    pub(crate) data: Option<PathBuf>,
    /// Keep the log in the Redis at this URL (`redis://[user:password@]host[:port]`), which all
    /// processes with the same URL share.
    #[arg(long, value_name = "URL", conflicts_with = "data")]
    pub(crate) redis: Option<String>,
    /// Keep the log in the NATS at this URL (`nats://[user:password@]host[:port]`), which all
    /// processes with the same URL share.
    #[arg(long, value_name = "URL", conflicts_with_all = ["data", "redis"])]
    pub(crate) nats: Option<String>,
    /// Serve HTTPS with this certificate, a PEM file with those of its issuers behind it. The files
    /// are read again on SIGHUP, and when they have changed.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The key of the certificate, a PEM file.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
}

/// The time to wait for the previous process to leave the directory.
const LOCK_WAIT: Duration = Duration::from_secs(30);
/// The longest delay before a client reconnects to the next process.
const RECONNECT: Duration = Duration::from_secs(1);

impl Args {
    pub(crate) fn drain(&self) -> Drain {
        let seconds = |seconds: u16| Duration::from_secs(seconds.into());
        let over = self.drain.unwrap_or(if self.data.is_some() { 0 } else { 5 });
        let mut drain = if over == 0 { Drain::now() } else { Drain::over(seconds(over)) };
        if self.data.is_some() {
            drain = drain.with_reconnect_within(RECONNECT);
        }
        self.hold.map_or(drain, |hold| drain.with_hold(seconds(hold)))
    }

    pub(crate) fn token_life(&self) -> Option<Duration> {
        self.token_life.map(|seconds| Duration::from_secs(seconds.into()))
    }

    /// Gives the service its log: in the directory, in NATS or in Redis, if one of them is named.
    pub(crate) async fn with_log(
        &self,
        builder: NotificationServiceBuilder,
    ) -> Result<NotificationServiceBuilder, Error> {
        if let Some(directory) = &self.data {
            let options = DiskConfig::default().with_lock_wait(LOCK_WAIT);
            return Ok(builder.backplane(DiskBackplane::open_with(directory, options)?));
        }
        if let Some(urls) = &self.nats {
            let nats = NatsBackplane::connect(urls, NatsConfig::default().with_prefix("realtime-demo")).await?;
            let directory = nats.directory();
            return Ok(builder.backplane(nats).directory(directory));
        }
        let Some(url) = &self.redis else { return Ok(builder) };
        let redis = RedisBackplane::connect(url, RedisConfig::default().with_prefix("realtime-demo")).await?;
        let directory = redis.directory();
        Ok(builder.backplane(redis).directory(directory))
    }

    /// Reads the certificate and its key, if they are named.
    pub(crate) fn tls(&self) -> std::io::Result<Option<Tls>> {
        let files = self.tls_cert.as_ref().zip(self.tls_key.as_ref());
        files.map(|(certificate, key)| Tls::from_pem_files(certificate, key)).transpose()
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
