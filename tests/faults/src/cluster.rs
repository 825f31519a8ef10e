//! The nodes of a run, and which of them are ready, as a load balancer would see it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_bench::lock;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::api::{self, Reply};

/// The time between two questions whether a node is ready.
const ASK: Duration = Duration::from_millis(100);
/// The time that a node may take to answer.
const ANSWER: Duration = Duration::from_secs(1);

/// The nodes.
#[derive(Debug, Default)]
pub struct Cluster {
    seats: Mutex<Vec<Arc<Seat>>>,
    turn: AtomicUsize,
}

/// The place of one node, and of those that replace it.
#[derive(Debug)]
pub struct Seat {
    /// The name of its nodes.
    pub name: String,
    address: Mutex<Option<SocketAddr>>,
    ready: AtomicBool,
    /// Each change of its readiness.
    changes: Mutex<Vec<(Instant, bool)>>,
    /// Counts how often its process was stopped by a signal or let go on: odd while it is stopped.
    pub stops: AtomicUsize,
    /// `true` once no node will have this place again.
    pub retired: AtomicBool,
    watch: Mutex<Option<JoinHandle<()>>>,
}

impl Cluster {
    /// Adds the place of a node.
    pub fn add(&self, name: &str) -> Arc<Seat> {
        let seat = Arc::new(Seat {
            name: name.to_owned(),
            address: Mutex::default(),
            ready: AtomicBool::default(),
            changes: Mutex::default(),
            stops: AtomicUsize::default(),
            retired: AtomicBool::default(),
            watch: Mutex::default(),
        });
        let watched = Arc::clone(&seat);
        *lock(&seat.watch) = Some(tokio::spawn(async move { watched.watch().await }));
        lock(&self.seats).push(Arc::clone(&seat));
        seat
    }

    /// Returns all places.
    #[must_use]
    pub fn seats(&self) -> Vec<Arc<Seat>> {
        lock(&self.seats).clone()
    }

    /// Returns the address of a ready node, each time another one; `home` comes first if it is
    /// ready.
    #[must_use]
    pub fn pick(&self, home: Option<usize>) -> Option<SocketAddr> {
        let seats = lock(&self.seats);
        let begin = home.unwrap_or_else(|| self.turn.fetch_add(1, Ordering::Relaxed));
        let count = seats.len();
        let mut ready = (0..count).map(|n| &seats[(begin + n) % count]).filter(|seat| seat.is_ready());
        ready.find_map(|seat| seat.address())
    }

    /// Returns the first place whose node runs, this one excepted.
    #[must_use]
    pub fn other_than(&self, name: &str) -> Option<Arc<Seat>> {
        let runs = |seat: &&Arc<Seat>| seat.name != name && seat.address().is_some();
        lock(&self.seats).iter().find(runs).map(Arc::clone)
    }

    /// Stops watching.
    pub fn close(&self) {
        for seat in lock(&self.seats).iter() {
            if let Some(watch) = lock(&seat.watch).take() {
                watch.abort();
            }
        }
    }
}

impl Seat {
    /// Sets the address of the node, or that there is none.
    pub fn occupy(&self, address: Option<SocketAddr>) {
        *lock(&self.address) = address;
        if address.is_none() {
            self.set_ready(false);
        }
    }

    /// Returns the address of the node, if there is one.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        *lock(&self.address)
    }

    /// Returns whether the node was ready at the last look.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::Acquire)
    }

    /// Returns when it changed to this readiness first, after a moment.
    #[must_use]
    pub fn became(&self, ready: bool, after: Instant) -> Option<Instant> {
        lock(&self.changes).iter().find(|(at, is)| *is == ready && *at >= after).map(|(at, _)| *at)
    }

    fn set_ready(&self, ready: bool) {
        if self.ready.swap(ready, Ordering::AcqRel) != ready {
            lock(&self.changes).push((Instant::now(), ready));
        }
    }

    async fn watch(&self) {
        let mut asking = interval(ASK);
        asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            asking.tick().await;
            let Some(address) = self.address() else { continue };
            let ready = matches!(api::get(address, "/readyz", ANSWER).await, Reply::Answer(200, _));
            // A node that was replaced meanwhile has the last word.
            if self.address() == Some(address) {
                self.set_ready(ready);
            }
        }
    }
}
