use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use realtime_core::spi::{Backplane, Log, OfflineWorker, Runtime};
use realtime_core::{
    BoxError, MemoryBackplane, MemoryDirectory, NodeId, NodeInfo, OfflineConfig, OfflineEvent, OfflineSink,
    OfflineStats, RealtimeProvider,
};
use realtime_testkit::conformance::{Setup, VisitorAuthenticator, VisitorPolicy};

use super::CoreProvider;

/// A sink that records its calls; clones share them.
#[derive(Clone, Default)]
pub struct Sink(Arc<Mutex<Calls>>);

#[derive(Default)]
struct Calls {
    seen: Vec<OfflineEvent>,
    under_way: usize,
    most: usize,
    /// The ways in which the next calls end; a call without one succeeds.
    faults: Vec<Fault>,
    takes: Duration,
}

/// The way in which a call ends.
#[derive(Clone, Copy)]
pub enum Fault {
    Error,
    Hang,
    Panic,
}

impl Sink {
    /// Makes the next calls end in these ways.
    pub fn failing(faults: &[Fault]) -> Self {
        let sink = Self::default();
        sink.0.lock().unwrap().faults = faults.iter().rev().copied().collect();
        sink
    }

    /// Makes each call take so long.
    pub fn slow(takes: Duration) -> Self {
        let sink = Self::default();
        sink.0.lock().unwrap().takes = takes;
        sink
    }

    /// Returns the calls so far, those that failed included.
    pub fn calls(&self) -> Vec<OfflineEvent> {
        self.0.lock().unwrap().seen.clone()
    }

    /// Returns the texts of the calls so far.
    pub fn texts(&self) -> Vec<String> {
        self.calls().iter().map(|event| event.json().unwrap()).collect()
    }

    /// Returns the number of calls so far.
    pub fn count(&self) -> usize {
        self.0.lock().unwrap().seen.len()
    }

    /// Returns the most calls that were under way at a time.
    pub fn most(&self) -> usize {
        self.0.lock().unwrap().most
    }
}

/// Counts a call as under way until it is dropped.
struct UnderWay(Sink);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().under_way -= 1;
    }
}

#[async_trait]
impl OfflineSink for Sink {
    async fn offline(&self, event: &OfflineEvent) -> Result<(), BoxError> {
        let (fault, takes) = {
            let mut calls = self.0.lock().unwrap();
            calls.seen.push(event.clone());
            calls.under_way += 1;
            calls.most = calls.most.max(calls.under_way);
            (calls.faults.pop(), calls.takes)
        };
        let _under_way = UnderWay(self.clone());
        if !takes.is_zero() {
            tokio::time::sleep(takes).await;
        }
        match fault {
            None => Ok(()),
            Some(Fault::Error) => Err("no".into()),
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Panic) => panic!("the sink's own"),
        }
    }
}

/// Nodes that share a log and a directory.
#[derive(Default)]
pub struct Nodes {
    pub log: MemoryBackplane,
    pub directory: Arc<MemoryDirectory>,
}

/// A node with an offline sink.
pub struct NodeWithSink {
    pub provider: CoreProvider,
    pub worker: OfflineWorker,
    log: Log,
}

impl Nodes {
    /// Starts a node with this sink.
    pub async fn start(&self, sink: &Sink) -> NodeWithSink {
        self.start_on(self.log.clone(), sink, OfflineConfig::default()).await
    }

    /// Starts a node with this sink, on this log.
    pub async fn start_on(&self, log: impl Backplane, sink: &Sink, config: OfflineConfig) -> NodeWithSink {
        let node = NodeInfo::new(NodeId::random()).with_offline_sink();
        let log = Log::of_node(node, Arc::new(log), Arc::clone(&self.directory) as _);
        let runtime = Runtime::new(log.clone(), Arc::new(VisitorAuthenticator)).with_policy(VisitorPolicy);
        let worker = OfflineWorker::start(&log, Arc::new(sink.clone()), config);
        let provider = CoreProvider::full(Setup::default());
        provider.attach(runtime).await.unwrap();
        NodeWithSink { provider, worker, log }
    }
}

impl NodeWithSink {
    /// Returns what the node has counted.
    pub fn stats(&self) -> OfflineStats {
        self.log.stats().offline.unwrap()
    }
}

/// Lets simulated time pass.
pub async fn pass(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}
