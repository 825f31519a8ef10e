//! A server under a steady load: clients that read everything, and what serving them costs while
//! others misbehave.

use std::sync::Arc;
use std::time::Duration;

use realtime_unified::stats::Stats;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::Result;
use crate::child::ServerProcess;
use crate::client::{Dial, Transport};
use crate::deliveries::Deliveries;
use crate::figures::{median, median_ratio, mib};
use crate::process::Process;
use crate::program::until;
use crate::report::Report;
use crate::server::Audience;
use crate::server::control::{Command, Control};
use crate::swarm::Swarm;

/// The most CPU for each delivery, as a multiple of a run without misbehaving clients.
pub const CPU_BUDGET: f64 = 1.2;
/// The highest 99th percentile of the delivery times, as a multiple of a run without misbehaving
/// clients.
pub const P99_BUDGET: f64 = 1.5;
/// The time that everything may take to be delivered.
const DELIVER: Duration = Duration::from_secs(30);
/// The time between two looks at the server's memory.
const LOOK: Duration = Duration::from_millis(50);
/// The titles of the cells of a [`Comparison`].
pub const TITLES: [&str; 10] = [
    "CPU µs/delivery without",
    "with",
    "ratio (≤1.2)",
    "p50 ms without",
    "with",
    "p99 ms without",
    "with",
    "ratio (≤1.5)",
    "RSS growth MiB without",
    "with",
];

/// One server with clients that read everything.
pub struct Load {
    /// The clients' transport.
    pub transport: Transport,
    /// The server.
    pub server: ServerProcess,
    /// A control connection to it.
    pub control: Control,
    /// The clients.
    pub swarm: Swarm,
    /// Their deliveries.
    pub deliveries: Arc<Deliveries>,
    clients: usize,
    /// The number of the next event.
    pub next: u64,
}

/// The figures of one run.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Microseconds of server CPU for each delivery to a reading client.
    pub cpu: f64,
    /// The share of a processor that the server used.
    pub busy: f64,
    /// The median of the delivery times, in milliseconds.
    pub p50: f64,
    /// Their 99th percentile, in milliseconds.
    pub p99: f64,
    /// The most that the server's memory grew during the run, in bytes.
    pub growth: u64,
}

/// A watch on the server's memory.
#[derive(Debug)]
pub struct MemoryWatch {
    task: JoinHandle<Result<u64>>,
    stop: watch::Sender<()>,
}

impl Load {
    /// Connects the clients to a server of this workspace with one provider.
    ///
    /// # Errors
    /// When one cannot connect.
    pub async fn open(transport: Transport, clients: usize, server: ServerProcess) -> Result<Self> {
        let control = server.control().await?;
        let deliveries = Arc::new(Deliveries::default());
        let address = server.addresses.http;
        let swarm = Swarm::connect(clients, |number| Dial::new(transport, address, number), &deliveries).await?;
        Ok(Self { transport, server, control, swarm, deliveries, clients, next: 0 })
    }

    /// Returns the dial of a client that is not one of the swarm, with a receive buffer of this
    /// many bytes.
    pub fn dial(&self, user: &str, number: usize, receive_buffer: u32) -> Dial {
        let dial = Dial::new(self.transport, self.server.addresses.http, number);
        Dial { user: Some(user.to_owned()), receive_buffer: Some(receive_buffer), ..dial }
    }

    /// Returns the provider's counters.
    ///
    /// # Errors
    /// When the server is gone.
    pub async fn stats(&mut self) -> Result<Stats> {
        let report = self.control.report().await?;
        Ok(report.stats.get(self.transport.provider()).cloned().unwrap_or_default())
    }

    /// Publishes the next numbered events; as fast as possible if `rate` is `None`.
    ///
    /// # Errors
    /// When the server is gone.
    pub async fn publish(&mut self, to: Audience, count: u64, rate: Option<u32>, size: usize) -> Result<()> {
        self.control.call(&Command::Numbered { count, rate, series: vec![(to, self.next)], size }).await?;
        self.next += count;
        Ok(())
    }

    /// Publishes `count` events to everyone, `rate` a second, waits until every client of the swarm
    /// has them, and returns the figures without the memory's growth.
    ///
    /// # Errors
    /// When the server or a client is gone, or an event does not arrive.
    pub async fn measure(&mut self, count: u64, rate: u32, size: usize) -> Result<Sample> {
        let process = self.server.process;
        self.deliveries.clear();
        let (cpu, started) = (process.cpu_time()?, Instant::now());
        self.publish(Audience::All, count, Some(rate), size).await?;
        let expected = count * self.clients as u64;
        until(DELIVER, "every event has been received", || self.deliveries.count() >= expected).await?;
        let (cpu, elapsed) = (process.cpu_time()?.saturating_sub(cpu), started.elapsed());
        self.swarm.check()?;
        Ok(Sample {
            #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
            cpu: cpu.as_secs_f64() * 1e6 / expected as f64,
            busy: cpu.as_secs_f64() / elapsed.as_secs_f64(),
            p50: self.deliveries.ms(50.0),
            p99: self.deliveries.ms(99.0),
            growth: 0,
        })
    }

    /// Closes the clients and the server.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn stop(self) -> Result<()> {
        drop(self.swarm);
        self.server.stop().await
    }
}

impl MemoryWatch {
    /// Starts to look at a process's memory.
    ///
    /// # Errors
    /// When the process is gone.
    pub fn start(process: Process) -> Result<Self> {
        let (stop, mut stopped) = watch::channel(());
        let before = process.rss_about()?;
        let task = tokio::spawn(async move {
            let mut most = before;
            while timeout(LOOK, stopped.changed()).await.is_err() {
                most = most.max(process.rss_about()?);
            }
            Ok(most - before)
        });
        Ok(Self { task, stop })
    }

    /// Stops, and returns the most that the memory grew, in bytes.
    ///
    /// # Errors
    /// When the process was gone before.
    pub async fn stop(self) -> Result<u64> {
        drop(self.stop);
        self.task.await?
    }
}

/// Runs `pairs` times without misbehaving clients and with each of these numbers of them,
/// interleaved. The side that comes first alternates, so that a drift of the machine does not count
/// for one alone.
///
/// # Errors
/// Those of `run`.
pub async fn interleave<R>(
    pairs: usize,
    numbers: &[usize],
    mut run: impl AsyncFnMut(usize) -> Result<R>,
) -> Result<(Vec<R>, Vec<Vec<R>>)> {
    let mut without = Vec::new();
    let mut with: Vec<Vec<R>> = numbers.iter().map(|_| Vec::new()).collect();
    for pair in 0..pairs {
        if pair % 2 == 0 {
            without.push(run(0).await?);
        }
        for (runs, number) in with.iter_mut().zip(numbers) {
            runs.push(run(*number).await?);
        }
        if pair % 2 == 1 {
            without.push(run(0).await?);
        }
    }
    Ok((without, with))
}

/// Runs without and with misbehaving clients, compared. A ratio is the median of the pairs' ratios.
#[derive(Debug)]
pub struct Comparison {
    /// The cells under [`TITLES`].
    pub cells: Vec<String>,
    cpu: f64,
    p99: f64,
}

impl Comparison {
    /// Compares the runs, pair by pair.
    #[must_use]
    pub fn of(without: &[Sample], with: &[Sample]) -> Self {
        let pair = |figure: fn(&Sample) -> f64| {
            let each = |runs: &[Sample]| runs.iter().map(figure).collect::<Vec<_>>();
            let (without, with) = (each(without), each(with));
            let cells = [median(&without), median(&with)].map(|median| format!("{median:.2}"));
            (cells, median_ratio(&with, &without))
        };
        let ((cpus, cpu), (p50s, _)) = (pair(|run| run.cpu), pair(|run| run.p50));
        let ((p99s, p99), (growths, _)) = (pair(|run| run.p99), pair(|run| mib(run.growth)));
        let ratio = |ratio: f64| [format!("{ratio:.3}")];
        let cells = [&cpus[..], &ratio(cpu), &p50s, &p99s, &ratio(p99), &growths].concat();
        Self { cells, cpu, p99 }
    }

    /// Requires that the ratios are within their budgets.
    pub fn judge(&self, report: &mut Report) {
        report.within(self.cpu, CPU_BUDGET, "CPU for each delivery to a reading client, as a ratio");
        report.within(self.p99, P99_BUDGET, "the reading clients' p99, as a ratio");
    }
}
