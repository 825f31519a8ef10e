//! One run: warm up, fault, recovery, quiet end, verdict.

use std::time::Duration;

use realtime_bench::Result;
use realtime_bench::report::Report;
use tokio::time::{sleep, timeout};

use crate::broker::Sync;
use crate::checks::{self, OUTCOME, PRESENCE, Readiness};
use crate::fault::{Fault, Struck};
use crate::node::FAKETIME;
use crate::oracle::{Verdict, Wrong, judge};
use crate::world::{Backend, Setup, World};

/// The time before the fault.
const WARM_UP: Duration = Duration::from_secs(2);
/// The time after it in which sending goes on.
const GO_ON: Duration = Duration::from_secs(4);
/// The time in which live connections end in a log that lost something, with a margin.
const NOTICED: Duration = Duration::from_millis(3_500);
/// The time that a whole run may take.
const LONGEST: Duration = Duration::from_secs(150);
/// The time between two events of a sender.
const PACE: Duration = Duration::from_millis(100);
/// The titles of the table.
pub const TITLES: [&str; 19] = [
    "run",
    "s",
    "Ok",
    "refused",
    "unknown",
    "delivered",
    "epoch",
    "notified",
    "silent",
    "doubled",
    "disorder",
    "ref. del.",
    "stray",
    "life",
    "lost",
    "send s",
    "red s",
    "green s",
    "recovery s",
];
/// The width of the column of names.
pub const WIDTH: usize = 34;

/// The plan of a run.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Where the log is.
    pub backend: Backend,
    /// The fault.
    pub fault: Fault,
    /// When the broker has what it acknowledged on its disk.
    pub sync: Sync,
    /// The number of clients.
    pub clients: usize,
}

/// The measurements and the verdict of a run.
struct Measured {
    verdict: Verdict,
    struck: Struck,
    readiness: Readiness,
    /// Connections that ended since the fault.
    ends: usize,
    /// From the end of the fault to the last end of a connection.
    last_end: Duration,
    longest: Duration,
    /// From the end of the fault to each client's first later event, sorted.
    recoveries: Vec<Duration>,
    /// From the quiet end to a directory that is true.
    settled: Duration,
}

impl Plan {
    /// Returns all runs of a backend.
    #[must_use]
    pub fn all(backend: Backend, clients: usize) -> Vec<Self> {
        let mut plans = Vec::new();
        for fault in Fault::of(backend) {
            let plan = Self { backend, fault, sync: Sync::Always, clients };
            plans.push(plan);
            if fault == Fault::BrokerKilled {
                plans.push(Self { sync: Sync::Later, ..plan });
            }
        }
        plans
    }

    /// Returns the name in tables.
    #[must_use]
    pub fn name(&self) -> String {
        let at = match self.backend {
            Backend::Disk => "disk".to_owned(),
            Backend::Broker(kind) => format!("{kind:?}").to_lowercase(),
        };
        let later = if self.sync == Sync::Later { " (synced later)" } else { "" };
        format!("{at} {}{later}", self.fault.name())
    }

    /// Returns why it cannot be run here, if it cannot.
    #[must_use]
    pub fn skipped(&self) -> Option<&'static str> {
        let lacks_clock = self.fault == Fault::Clocks && !std::path::Path::new(FAKETIME).exists();
        lacks_clock.then_some("libfaketime is not installed (apt-get install faketime)")
    }

    fn setup(&self) -> Setup {
        Setup {
            backend: self.backend,
            nodes: if self.backend == Backend::Disk { 1 } else { 3 },
            clients: self.clients,
            sync: self.sync,
            proxied: matches!(self.fault, Fault::NodeBehind | Fault::NodeCut | Fault::Promoted),
            clocks: if self.fault == Fault::Clocks { vec!["+0", "-1h", "+1h"] } else { Vec::new() },
            // Joins are lost with the log, and an application would make them again.
            join: self.fault.keeps(self.backend, self.sync),
            small_disk: self.fault == Fault::DiskFull,
            pace: PACE,
        }
    }

    /// Runs it, prints its row, and what is not as it must be.
    ///
    /// # Errors
    /// When the processes do not do what they are asked to.
    pub async fn run(&self, report: &mut Report) -> Result<()> {
        let begin = tokio::time::Instant::now();
        let measured = timeout(LONGEST, self.measure()).await.map_err(|_| "the run takes too long")??;
        let Some(measured) = measured else {
            println!("{}: skipped, this process may not mount a file system", self.name());
            return Ok(());
        };
        report.row(&self.row(&measured, begin.elapsed()));
        self.require(&measured, report);
        Ok(())
    }

    async fn measure(&self) -> Result<Option<Measured>> {
        let mut world = World::start(&self.setup()).await?;
        if self.fault == Fault::DiskFull && world.disk.is_none() {
            world.end().await;
            return Ok(None);
        }
        let outcome = self.measure_in(&mut world).await;
        world.end().await;
        outcome.map(Some)
    }

    async fn measure_in(&self, world: &mut World) -> Result<Measured> {
        world.begin_sending();
        sleep(WARM_UP).await;
        let struck = self.fault.strike(world).await?;
        sleep(GO_ON).await;
        world.end_quietly().await?;
        let seat = std::sync::Arc::clone(&world.seats[0]);
        let settled = checks::wait_for_presence(world, &seat, None).await?;
        let (sent, seen) = (world.sending.ledger.all(), world.histories());
        Ok(Measured {
            verdict: judge(&sent, &world.population, &seen, self.fault.keeps(self.backend, self.sync)),
            struck,
            readiness: checks::readiness(world, self.fault, &struck),
            ends: checks::ends(&seen, struck.begin),
            last_end: checks::last_end(&seen, struck.end),
            longest: checks::longest_attempt(world),
            recoveries: checks::recoveries(&seen, &sent, struck.end),
            settled,
        })
    }

    fn row(&self, measured: &Measured, took: Duration) -> Vec<String> {
        let Measured { verdict, readiness, longest, recoveries, .. } = measured;
        let count = |wrong| verdict.count(wrong).to_string();
        let disturbed = |time: Duration| if time.is_zero() { "-".to_owned() } else { seconds(time) };
        let recovery = recoveries.last().map_or("-".to_owned(), |last| seconds(*last));
        let mut row = vec![self.name(), format!("{:.0}", took.as_secs_f64())];
        row.extend([verdict.ok, verdict.refused, verdict.unknown, verdict.delivered].map(|count| count.to_string()));
        row.extend([verdict.anew, verdict.notified].map(|count| count.to_string()));
        row.extend(
            [Wrong::Silent, Wrong::Doubled, Wrong::Disordered, Wrong::Refused, Wrong::Stray, Wrong::Life].map(count),
        );
        row.push((verdict.count(Wrong::Lost) + verdict.count(Wrong::Unresumed)).to_string());
        row.extend([seconds(*longest), disturbed(readiness.red), disturbed(readiness.green), recovery]);
        row
    }

    fn require(&self, measured: &Measured, report: &mut Report) {
        let Measured { verdict, struck, readiness, ends, last_end, longest, recoveries, settled } = measured;
        let keeps = self.fault.keeps(self.backend, self.sync);
        report.require(verdict.holds(keeps), "each client gets each event once, in order, or is notified");
        verdict.examples.iter().for_each(|example| println!("              {example}"));
        if self.fault.loses() {
            report.require(verdict.anew > 0, "the loss is noticed");
            report.within(last_end.as_secs_f64(), NOTICED.as_secs_f64(), "seconds until the last client is notified");
        }
        report.within(longest.as_secs_f64(), OUTCOME.as_secs_f64(), "seconds of the longest send");
        report.require(readiness.missed == 0, "nodes turn not ready, and ready again by themselves");
        report.require(recoveries.len() == self.clients, "every client gets events after the fault");
        if self.fault.keeps_connections(self.backend, self.sync) {
            report.require(*ends == 0, &format!("clients stay connected ({ends} connections ended)"));
        }
        if let Some(presence) = struck.presence {
            println!("            the directory was true {} s after the node was killed", seconds(presence));
            report.within(presence.as_secs_f64(), PRESENCE.as_secs_f64(), "seconds until the directory is true");
        }
        report.within(settled.as_secs_f64(), PRESENCE.as_secs_f64(), "seconds until the directory is true at the end");
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}
