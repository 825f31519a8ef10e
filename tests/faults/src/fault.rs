//! The faults that happen to the processes of a run.

use std::time::Duration;

use realtime_bench::Result;
use rustix::process::Signal;
use serde_json::json;
use tokio::time::{Instant, sleep};

use crate::api;
use crate::broker::{Broker, Kind, Sync};
use crate::checks::{node_id, wait_for_presence};
use crate::node::Node;
use crate::world::{Backend, REQUEST, World};

/// The time for which something is away: long enough for every node to notice.
const AWAY: Duration = Duration::from_secs(8);
/// The time for which a node is behind before clients come to it, while it still counts as ready.
const LAG: Duration = Duration::from_millis(500);
/// Bytes of an event that fills a disk, and the time between two of them.
const LARGE: usize = 800_000;
const TURN: Duration = Duration::from_millis(10);
/// The time between a copy of the files and the moment that brings it back.
const BEHIND: Duration = Duration::from_secs(3);
/// The time for which a node that was killed stays away once the directory has forgotten it.
const REST: Duration = Duration::from_millis(500);

/// A fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The broker is killed, and starts again with its files.
    BrokerKilled,
    /// The broker is stopped, and goes on.
    BrokerStopped,
    /// The clocks of two nodes differ by an hour from the third one's, and one is replaced.
    Clocks,
    /// The disk is full, and has space again.
    DiskFull,
    /// All data is removed while the broker runs.
    Flushed,
    /// The same as [`Fault::NodeCut`], and another node is killed, whose clients go to the one that
    /// is behind as well.
    NodeBehind,
    /// The broker is out of the reach of one node.
    NodeCut,
    /// A node is killed, and starts again.
    NodeKilled,
    /// A node is stopped, and goes on.
    NodeStopped,
    /// A node ends in order, and starts again.
    NodeTerminated,
    /// The broker is killed, and a replica takes its place that was behind.
    Promoted,
    /// The broker is killed, and starts again with an older copy of its files.
    RolledBack,
    /// The same, and all nodes are killed and start again too.
    RolledBackWithNodes,
    /// The broker is killed, and starts again without files.
    Wiped,
}

/// The times of a fault and of its effect, for the checks after it.
#[derive(Clone, Copy, Debug)]
pub struct Struck {
    /// The beginning of the fault.
    pub begin: Instant,
    /// The moment from which everything could work again.
    pub end: Instant,
    /// The time until the directory was true, where a node was killed.
    pub presence: Option<Duration>,
}

impl Fault {
    /// Returns every fault that can happen to a backend, in the order in which they are run.
    #[must_use]
    pub fn of(backend: Backend) -> Vec<Self> {
        let of_brokers = [
            Self::BrokerKilled,
            Self::BrokerStopped,
            Self::NodeCut,
            Self::NodeBehind,
            Self::NodeKilled,
            Self::NodeStopped,
            Self::Clocks,
            Self::Flushed,
            Self::Wiped,
            Self::RolledBack,
            Self::RolledBackWithNodes,
            Self::Promoted,
        ];
        match backend {
            Backend::Broker(Kind::Redis) => of_brokers.into(),
            Backend::Broker(Kind::Nats) => {
                of_brokers.into_iter().filter(|fault| !matches!(fault, Self::Flushed | Self::Promoted)).collect()
            }
            Backend::Disk => vec![Self::NodeTerminated, Self::NodeKilled, Self::NodeStopped, Self::DiskFull],
        }
    }

    /// Returns its name in tables and arguments.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BrokerKilled => "broker-killed",
            Self::BrokerStopped => "broker-stopped",
            Self::Clocks => "clocks",
            Self::DiskFull => "disk-full",
            Self::Flushed => "flushed",
            Self::NodeBehind => "node-behind",
            Self::NodeCut => "node-cut",
            Self::NodeKilled => "node-killed",
            Self::NodeStopped => "node-stopped",
            Self::NodeTerminated => "node-terminated",
            Self::Promoted => "promoted",
            Self::RolledBack => "rolled-back",
            Self::RolledBackWithNodes => "rolled-back-with-nodes",
            Self::Wiped => "wiped",
        }
    }

    /// Returns whether the log keeps everything that a sender got a receipt for.
    #[must_use]
    pub fn keeps(self, backend: Backend, sync: Sync) -> bool {
        match self {
            // NATS writes to its files before it acknowledges, and only syncs later.
            Self::BrokerKilled => sync == Sync::Always || backend == Backend::Broker(Kind::Nats),
            _ => !self.loses(),
        }
    }

    /// Returns whether the log certainly loses something.
    #[must_use]
    pub fn loses(self) -> bool {
        matches!(self, Self::Flushed | Self::Promoted | Self::RolledBack | Self::RolledBackWithNodes | Self::Wiped)
    }

    /// Returns whether no connection may end.
    #[must_use]
    pub fn keeps_connections(self, backend: Backend, sync: Sync) -> bool {
        match self {
            Self::BrokerKilled => self.keeps(backend, sync),
            Self::BrokerStopped | Self::DiskFull | Self::NodeCut | Self::NodeStopped => true,
            _ => false,
        }
    }

    /// Returns the nodes that turn not ready, and ready again by themselves.
    #[must_use]
    pub fn disturbs(self, nodes: usize) -> std::ops::Range<usize> {
        match self {
            Self::BrokerKilled | Self::BrokerStopped | Self::DiskFull => 0..nodes,
            Self::NodeBehind | Self::NodeCut | Self::NodeStopped => 0..1,
            _ => 0..0,
        }
    }

    /// Lets it happen, and returns when it is over.
    ///
    /// # Errors
    /// When a process does not do what it is asked to.
    pub async fn strike(self, world: &mut World) -> Result<Struck> {
        let begin = Instant::now();
        let mut presence = None;
        match self {
            Self::BrokerKilled => {
                world.broker()?.kill().await?;
                sleep(AWAY).await;
                world.broker()?.restart().await?;
            }
            Self::BrokerStopped => {
                world.broker()?.signal(Signal::STOP)?;
                sleep(AWAY).await;
                world.broker()?.signal(Signal::CONT)?;
            }
            Self::DiskFull => {
                let disk = world.disk.as_ref().ok_or("this run has no small disk")?;
                disk.fill()?;
                use_up(world, begin + AWAY).await?;
                disk.free()?;
            }
            Self::Flushed => {
                world.broker()?.command("FLUSHALL").await?;
            }
            Self::NodeBehind => {
                let last = world.nodes.len() - 1;
                world.proxies[0].hold(true);
                sleep(LAG).await;
                world.kill_node(last).await?;
                sleep(AWAY).await;
                world.proxies[0].hold(false);
                world.start_node(last).await?;
            }
            Self::NodeCut => {
                world.proxies[0].hold(true);
                sleep(AWAY).await;
                world.proxies[0].hold(false);
            }
            Self::NodeStopped => {
                world.stop_node(0, true)?;
                sleep(AWAY).await;
                world.stop_node(0, false)?;
            }
            Self::Clocks | Self::NodeKilled => presence = kill_node(world).await?,
            Self::NodeTerminated => {
                terminate_node(world).await?;
            }
            Self::Promoted => promote(world).await?,
            Self::RolledBack => roll_back(world, false).await?,
            Self::RolledBackWithNodes => roll_back(world, true).await?,
            Self::Wiped => {
                let broker = world.broker()?;
                broker.kill().await?;
                broker.wipe()?;
                broker.restart().await?;
            }
        }
        // The other nodes go on while one is away.
        let end = if presence.is_some() { begin } else { Instant::now() };
        Ok(Struck { begin, end, presence })
    }
}

/// Sends large events to nobody until then, for the store has allocated space ahead.
async fn use_up(world: &World, until: Instant) -> Result<()> {
    let node = world.seats[0].address().ok_or("the node does not run")?;
    let data = "x".repeat(LARGE);
    let body = json!({ "target": { "user": "nobody" }, "event": "large", "data": data });
    while Instant::now() < until {
        // Taken or refused: both are expected.
        api::post(node, "/api/send", &body, REQUEST).await;
        sleep(TURN).await;
    }
    Ok(())
}

/// Kills the last node, waits until the directory is true, and starts the node again. A node that
/// is alone starts again immediately.
async fn kill_node(world: &mut World) -> Result<Option<Duration>> {
    let last = world.nodes.len() - 1;
    let presence = if let Some(other) = world.cluster.other_than(&world.seats[last].name) {
        let gone = node_id(&other, &world.seats[last].name).await?;
        world.kill_node(last).await?;
        let presence = wait_for_presence(world, &other, Some(&gone)).await?;
        sleep(REST).await;
        Some(presence)
    } else {
        world.kill_node(last).await?;
        None
    };
    world.start_node(last).await?;
    Ok(presence)
}

/// Starts a second process of the last node, which waits for the first one, and ends that; returns
/// when that was asked to end.
///
/// # Errors
/// When it does not end in order.
pub async fn terminate_node(world: &mut World) -> Result<Instant> {
    let last = world.nodes.len() - 1;
    let mut next = Node::spawn(&world.options[last])?;
    let mut old = world.nodes[last].take().ok_or("the node does not run")?;
    let asked = Instant::now();
    old.signal(Signal::TERM)?;
    let address = next.address().await?;
    world.nodes[last] = Some(next);
    world.seats[last].occupy(Some(address));
    let status = old.ended().await?;
    if status.success() { Ok(asked) } else { Err(format!("a node that was asked to end: {status}").into()) }
}

async fn roll_back(world: &mut World, with_nodes: bool) -> Result<()> {
    let older = world.directory.path().join("older");
    world.broker()?.copy_files(&older)?;
    sleep(BEHIND).await;
    world.broker()?.kill().await?;
    if with_nodes {
        for number in 0..world.nodes.len() {
            world.kill_node(number).await?;
        }
    }
    world.broker()?.roll_back(&older)?;
    world.broker()?.restart().await?;
    if with_nodes {
        for number in 0..world.nodes.len() {
            world.start_node(number).await?;
        }
    }
    Ok(())
}

/// Replaces the broker by a replica that stopped to follow it a while ago.
async fn promote(world: &mut World) -> Result<()> {
    let directory = world.directory.path().join("replica");
    let primary = world.broker()?.address;
    let replica = Broker::start(Kind::Redis, directory, Sync::Always).await?;
    replica.command(&format!("REPLICAOF {} {}", primary.ip(), primary.port())).await?;
    // Long enough to have a copy.
    sleep(BEHIND).await;
    // Nothing listens there, and it stays a replica with what it has.
    replica.command("REPLICAOF 127.0.0.1 1").await?;
    sleep(BEHIND).await;
    world.broker()?.kill().await?;
    replica.command("REPLICAOF NO ONE").await?;
    world.proxies.iter().for_each(|proxy| proxy.lead_to(replica.address));
    world.broker = Some(replica);
    Ok(())
}
