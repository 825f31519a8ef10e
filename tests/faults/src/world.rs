//! A run's processes, clients and senders.

use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use realtime_bench::program::until;
use realtime_bench::{Result, lock};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use crate::api;
use crate::broker::{Broker, Kind, Sync};
use crate::client::Follower;
use crate::cluster::{Cluster, Seat};
use crate::disk::SmallDisk;
use crate::history::{Ledger, Outcome, Seen};
use crate::node::{Node, NodeOptions};
use crate::population::{Audience, Population, room_name, user_name};
use crate::proxy::Proxy;
use crate::sender::{Lane, Sending};

/// The time that a request to a node may take while nothing is wrong.
pub const REQUEST: Duration = Duration::from_secs(5);
/// The time that all clients may take to connect.
const ARRIVE: Duration = Duration::from_secs(60);
/// The time that a node may take to be ready.
const READY: Duration = Duration::from_secs(30);
/// The time in which senders end, those that send again with a key included.
const ENDED: Duration = Duration::from_secs(40);
/// The time in which the last events reach everyone.
const REACHED: Duration = Duration::from_secs(30);
/// The time for which nothing should arrive then.
const SILENCE: Duration = Duration::from_millis(500);
/// The number of attempts to send the last events.
const ATTEMPTS: usize = 40;

/// Where the log of a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// On the disk of the only node.
    Disk,
    /// At a broker that all nodes share.
    Broker(Kind),
}

/// The setup of a run.
#[derive(Clone, Debug)]
pub struct Setup {
    /// Where the log is.
    pub backend: Backend,
    /// The number of nodes.
    pub nodes: usize,
    /// The number of clients.
    pub clients: usize,
    /// When the broker has what it acknowledged on its disk.
    pub sync: Sync,
    /// `true` if each node reaches the broker through a proxy.
    pub proxied: bool,
    /// The shifts of the nodes' clocks, from the first node on.
    pub clocks: Vec<&'static str>,
    /// `true` if the server joins half of the users to their rooms.
    pub join: bool,
    /// `true` if the disk is small.
    pub small_disk: bool,
    /// The time between two events of a sender; each node has two.
    pub pace: Duration,
}

/// A run's processes, clients and senders; dropping this ends them.
pub struct World {
    /// The nodes, as clients find them.
    pub cluster: Arc<Cluster>,
    /// The places of the nodes.
    pub seats: Vec<Arc<Seat>>,
    /// The nodes that run.
    pub nodes: Vec<Option<Node>>,
    /// The options with which the nodes are started.
    pub options: Vec<NodeOptions>,
    /// The proxy in front of the broker of each node, if there are any.
    pub proxies: Vec<Proxy>,
    /// The broker.
    pub broker: Option<Broker>,
    /// The small disk.
    pub disk: Option<SmallDisk>,
    /// The users.
    pub population: Arc<Population>,
    /// The state that the senders share.
    pub sending: Arc<Sending>,
    /// The clients' histories.
    pub seen: Vec<Arc<Mutex<Vec<Seen>>>>,
    /// The number of clients that are connected.
    pub connected: Arc<AtomicU64>,
    clients: JoinSet<()>,
    lanes: JoinSet<()>,
    /// The directory of all files.
    pub directory: TempDir,
}

impl World {
    /// Starts broker, nodes and clients, and returns when all clients are connected.
    ///
    /// # Errors
    /// When they do not start, or connect.
    pub async fn start(setup: &Setup) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("realtime-faults-").tempdir()?;
        let broker = match setup.backend {
            Backend::Disk => None,
            Backend::Broker(kind) => Some(Broker::start(kind, directory.path().join("broker"), setup.sync).await?),
        };
        let disk = if setup.small_disk { SmallDisk::mount(&directory.path().join("data"))? } else { None };
        let population = Arc::new(Population::new(setup.clients, setup.join));
        let cluster = Arc::new(Cluster::default());
        let sending = Sending {
            cluster: Arc::clone(&cluster),
            population: Arc::clone(&population),
            ledger: Ledger::default(),
            run: std::process::id().into(),
            pace: setup.pace,
            stop: AtomicBool::new(false),
            attempts: Mutex::default(),
        };
        let mut world = Self {
            cluster,
            seats: Vec::new(),
            nodes: Vec::new(),
            options: Vec::new(),
            proxies: Vec::new(),
            broker,
            disk,
            seen: population.people.iter().map(|_| Arc::default()).collect(),
            population,
            sending: Arc::new(sending),
            connected: Arc::default(),
            clients: JoinSet::new(),
            lanes: JoinSet::new(),
            directory,
        };
        for number in 0..setup.nodes {
            world.add_node(setup, number).await?;
        }
        world.join_rooms().await?;
        world.gather().await?;
        Ok(world)
    }

    /// Adds a node that has a place of its own.
    async fn add_node(&mut self, setup: &Setup, number: usize) -> Result<()> {
        let log = match &self.broker {
            None => vec!["--data".to_owned(), self.data().join("log").display().to_string()],
            Some(broker) => {
                let mut address = broker.address;
                if setup.proxied {
                    let proxy = Proxy::start(address).await?;
                    address = proxy.address;
                    self.proxies.push(proxy);
                }
                broker.option(address).to_vec()
            }
        };
        let name = format!("node-{}", number + 1);
        self.seats.push(self.cluster.add(&name));
        let clock = setup.clocks.get(number).copied();
        let output = self.directory.path().to_owned();
        self.options.push(NodeOptions { name, log, clock, more: Vec::new(), output });
        self.nodes.push(None);
        self.start_node(number).await
    }

    /// Returns the directory of a node's own log.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// Starts a node in its place, and waits until it is ready.
    ///
    /// # Errors
    /// When it is not in time.
    pub async fn start_node(&mut self, number: usize) -> Result<()> {
        let mut node = Node::spawn(&self.options[number])?;
        let address = node.address().await.map_err(|error| self.explain(number, &error.to_string()))?;
        self.nodes[number] = Some(node);
        self.seats[number].occupy(Some(address));
        let seat = &self.seats[number];
        until(READY, &format!("{} is ready", seat.name), || seat.is_ready()).await
    }

    /// Kills a node.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn kill_node(&mut self, number: usize) -> Result<()> {
        if let Some(mut node) = self.nodes[number].take() {
            node.kill().await?;
        }
        self.seats[number].occupy(None);
        Ok(())
    }

    /// Stops a node's process, or lets it go on.
    ///
    /// # Errors
    /// When it is gone.
    pub fn stop_node(&self, number: usize, stopped: bool) -> Result<()> {
        let node = self.nodes[number].as_ref().ok_or("the node does not run")?;
        self.seats[number].stops.fetch_add(1, Ordering::AcqRel);
        node.signal(if stopped { Signal::STOP } else { Signal::CONT })
    }

    /// Returns the broker.
    ///
    /// # Errors
    /// When there is none.
    pub fn broker(&mut self) -> Result<&mut Broker> {
        self.broker.as_mut().ok_or_else(|| "this run has no broker".into())
    }

    /// Adds the last lines of a node's output to an error.
    fn explain(&self, number: usize, error: &str) -> String {
        let name = &self.options[number].name;
        let output = std::fs::read_to_string(self.directory.path().join(format!("{name}.log"))).unwrap_or_default();
        let lines: Vec<_> = output.lines().rev().take(5).collect();
        format!("{name}: {error}; its last lines, the newest first:\n{}", lines.join("\n"))
    }

    /// Joins half of the users to their rooms.
    async fn join_rooms(&self) -> Result<()> {
        let node = self.seats[0].address().ok_or("no node runs")?;
        let joins = stream::iter(self.population.joined().map(|person| async move {
            let body = json!({ "user": user_name(person.user), "room": room_name(person.room) });
            api::post(node, "/api/rooms/join", &body, REQUEST).await.json()
        }));
        joins.buffer_unordered(16).try_collect::<Vec<_>>().await?;
        Ok(())
    }

    /// Starts the clients, and waits until all are connected.
    async fn gather(&mut self) -> Result<()> {
        for (number, person) in self.population.people.iter().enumerate() {
            let follower = Follower::new(*person, number, &self.cluster, &self.seen[number], &self.connected);
            self.clients.spawn(async move {
                // Not all in the same moment.
                sleep(Duration::from_millis(3 * number as u64)).await;
                follower.run().await;
            });
        }
        self.all_connected(ARRIVE).await
    }

    /// Waits until all clients are connected.
    ///
    /// # Errors
    /// When they are not in time.
    pub async fn all_connected(&self, limit: Duration) -> Result<()> {
        let all = self.population.people.len() as u64;
        let connected = || self.connected.load(Ordering::Acquire);
        let reached = until(limit, &format!("{all} clients connected"), || connected() >= all).await;
        reached.map_err(|error| format!("{error} ({} are)", connected()).into())
    }

    /// Starts two senders for each node, one of them with idempotency keys.
    pub fn begin_sending(&mut self) {
        (0..self.seats.len()).for_each(|seat| self.begin_lanes(seat));
    }

    fn begin_lanes(&mut self, seat: usize) {
        for keyed in [false, true] {
            let lane = self.lane(2 * seat + usize::from(keyed), keyed, seat);
            self.lanes.spawn(lane.run());
        }
    }

    /// Starts a further node with its senders, and ends this one in order; returns when it was
    /// asked to end, and its exit status.
    ///
    /// # Errors
    /// When one does not start, or the other does not end.
    pub async fn replace_node(&mut self, setup: &Setup, old: usize) -> Result<(Instant, ExitStatus)> {
        self.add_node(setup, self.seats.len()).await?;
        self.begin_lanes(self.seats.len() - 1);
        let mut node = self.nodes[old].take().ok_or("the node does not run")?;
        let asked = Instant::now();
        node.signal(Signal::TERM)?;
        let status = node.ended().await?;
        self.seats[old].retired.store(true, Ordering::Release);
        self.seats[old].occupy(None);
        Ok((asked, status))
    }

    fn lane(&self, number: usize, keyed: bool, seat: usize) -> Lane {
        Lane { sending: Arc::clone(&self.sending), number, seat: Arc::clone(&self.seats[seat]), keyed }
    }

    /// Ends the senders, and waits until the last events, one through each node, have reached
    /// everyone.
    ///
    /// # Errors
    /// When they do not.
    pub async fn end_quietly(&mut self) -> Result<()> {
        self.sending.stop.store(true, Ordering::Release);
        let ended = async { while self.lanes.join_next().await.is_some() {} };
        timeout(ENDED, ended).await.map_err(|_| "the senders do not end")?;
        self.all_connected(REACHED).await?;
        let mut last = Vec::new();
        for seat in (0..self.seats.len()).filter(|seat| self.seats[*seat].address().is_some()) {
            let lane = self.lane(1000 + seat, true, seat);
            for attempt in 0.. {
                let number = lane.send(Audience::All).await;
                if matches!(self.sending.ledger.all()[number].outcome, Outcome::Ok(_)) {
                    last.push(number);
                    break;
                }
                if attempt > ATTEMPTS {
                    return Err(self.explain(seat, "the last event is not taken").into());
                }
                sleep(Duration::from_millis(250)).await;
            }
        }
        let reached = until(REACHED, "the last events at every client", || self.missing(&last) == 0).await;
        reached.map_err(|error| format!("{error}: {} clients have not", self.missing(&last)))?;
        sleep(SILENCE).await;
        Ok(())
    }

    /// Returns the number of clients that do not have all of these events.
    fn missing(&self, last: &[usize]) -> usize {
        let has = |seen: &Vec<Seen>, wanted: usize| {
            let mut newest = seen.iter().rev().take(50 + last.len());
            newest.any(|seen| matches!(seen, Seen::Event { number, .. } if *number == wanted))
        };
        let lacks = |seen: &&Arc<Mutex<Vec<Seen>>>| {
            let seen = lock(seen);
            !last.iter().all(|number| has(&seen, *number))
        };
        self.seen.iter().filter(lacks).count()
    }

    /// Returns the clients' histories.
    #[must_use]
    pub fn histories(&self) -> Vec<Vec<Seen>> {
        self.seen.iter().map(|seen| lock(seen).clone()).collect()
    }

    /// Ends clients and processes.
    pub async fn end(mut self) {
        self.clients.shutdown().await;
        self.cluster.close();
        for node in self.nodes.iter_mut().flatten() {
            // Whatever is left of it is removed with the directory.
            let _ = node.kill().await;
        }
        if let Some(broker) = &mut self.broker {
            let _ = broker.kill().await;
        }
        drop(self.disk.take());
    }
}
