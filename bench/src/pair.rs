//! A node that publishes, without clients, and one that delivers; or one node that does both.

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use crate::broker::{Broker, Brokers, text};
use crate::child::ServerProcess;
use crate::client::{Dial, Transport};
use crate::deliveries::Deliveries;
use crate::process::Process;
use crate::program::until;
use crate::server::ServeOptions;
use crate::server::control::{Command, Control};
use crate::server::log::LogKind;
use crate::socketio::{self, Adapter};
use crate::swarm::Swarm;
use crate::{Error, Result};

/// The time that everything may take to be delivered.
const DELIVER: Duration = Duration::from_secs(30);

/// The servers of a pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Nodes {
    /// One server of this workspace, with this log.
    Alone(LogKind),
    /// Two servers of this workspace, with this log at a broker.
    Ours(LogKind),
    /// Two official Socket.IO servers.
    SocketIo(Adapter),
}

impl Nodes {
    /// Returns the broker whose CPU time is measured; Redis, which is idle, for nodes without one.
    fn broker(self, brokers: &Brokers) -> &Broker {
        if let Self::Ours(log) = self { brokers.of(log) } else { &brokers.redis }
    }
}

/// The plan of a pair.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The name in tables and errors.
    pub name: &'static str,
    /// The servers.
    pub nodes: Nodes,
    /// The clients' transport.
    pub transport: Transport,
}

/// A steady load.
#[derive(Clone, Copy, Debug)]
pub struct Steady {
    /// `true` if every event is for everyone, `false` if each is for the next user.
    pub to_all: bool,
    /// Events a second.
    pub rate: u32,
    /// The number of events.
    pub count: u64,
    /// Bytes of JSON in each.
    pub size: usize,
}

/// Two servers, or one, with the clients of the one that delivers.
pub struct Pair {
    name: &'static str,
    /// The one that publishes, then the other one.
    servers: Vec<ServerProcess>,
    broker: Process,
    control: Control,
    swarm: Swarm,
    deliveries: Arc<Deliveries>,
    clients: usize,
    _files: TempDir,
}

/// The figures of one run.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// The median of the times from publish to receive, in milliseconds.
    pub p50: f64,
    /// Their 99th percentile.
    pub p99: f64,
    /// Microseconds of CPU for each event, of the server that publishes.
    pub publisher: f64,
    /// Of the other one; zero if there is none.
    pub receiver: f64,
    /// Of the broker.
    pub broker: f64,
}

impl Pair {
    /// Starts the servers on these processors, and connects the clients, each with a user of its
    /// own.
    ///
    /// # Errors
    /// When one does not start, or a client cannot connect.
    pub async fn open(plan: &Plan, brokers: &Brokers, clients: usize, cpus: &[usize]) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let servers = start(plan, brokers, text(files.path())?, cpus).await;
        let servers = servers.map_err(|error| format!("{}: {error}", plan.name))?;
        let (Some(first), Some(last)) = (servers.first(), servers.last()) else { return Err("no servers".into()) };
        let control = first.control().await?;
        let deliveries = Arc::new(Deliveries::default());
        let address = last.addresses.http;
        let dial = |number| Dial::new(plan.transport, address, number);
        let swarm = Swarm::connect(clients, dial, &deliveries).await;
        let swarm = swarm.map_err(|error| format!("{}: {error}", plan.name))?;
        let broker = plan.nodes.broker(brokers).process;
        Ok(Self { name: plan.name, servers, broker, control, swarm, deliveries, clients, _files: files })
    }

    /// Publishes, and waits until every client has what is for it.
    ///
    /// # Errors
    /// When a server or a client is gone, or an event does not arrive.
    pub async fn measure(&mut self, load: &Steady) -> Result<Sample> {
        let name = self.name;
        let failed = |error: Error| format!("{name}: {error}");
        self.deliveries.clear();
        let before = self.spent()?;
        let &Steady { to_all, rate, count, size } = load;
        let users = (!to_all).then_some(self.clients);
        self.control.call(&Command::Steady { count, rate, size, users }).await.map_err(failed)?;
        let expected = if to_all { count * self.clients as u64 } else { count };
        let arrived = || self.deliveries.count() >= expected;
        until(DELIVER, "every event has been received", arrived).await.map_err(failed)?;
        let after = self.spent()?;
        self.swarm.check().map_err(failed)?;
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let each = |which: usize| after[which].saturating_sub(before[which]).as_secs_f64() * 1e6 / count as f64;
        let (p50, p99) = (self.deliveries.ms(50.0), self.deliveries.ms(99.0));
        Ok(Sample { p50, p99, publisher: each(0), receiver: each(1), broker: each(2) })
    }

    /// Returns the CPU time so far of the server that publishes, of the other one, and of the
    /// broker.
    fn spent(&self) -> Result<[Duration; 3]> {
        let of = |number: usize| self.servers.get(number).map_or(Ok(Duration::ZERO), |one| one.process.cpu_time());
        Ok([of(0)?, of(1)?, self.broker.cpu_time()?])
    }

    /// Closes the clients and the servers.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn stop(self) -> Result<()> {
        drop(self.swarm);
        for server in self.servers {
            server.stop().await?;
        }
        Ok(())
    }
}

/// Starts the servers of a plan; a log on disk is in this directory.
async fn start(plan: &Plan, brokers: &Brokers, directory: &str, cpus: &[usize]) -> Result<Vec<ServerProcess>> {
    let url = &*plan.nodes.broker(brokers).url;
    let (count, log, at) = match plan.nodes {
        Nodes::Alone(log) => (1, log, directory),
        Nodes::Ours(log) => (2, log, url),
        Nodes::SocketIo(adapter) => {
            let node = || socketio::start(adapter, url, cpus);
            return Ok(vec![node().await?, node().await?]);
        }
    };
    let provider = plan.transport.provider();
    let options = ServeOptions::ours(&[provider]).on(cpus);
    let log_name = format!("bench-{provider}");
    let options = ServeOptions { log, log_at: Some(at.to_owned()), log_name, ..options };
    let mut servers = Vec::new();
    for _ in 0..count {
        servers.push(ServerProcess::start(&options).await?);
    }
    Ok(servers)
}
