//! The rate at which a node can follow the log: read, decode and apply events that none of its
//! clients gets.

use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt, stream};
use realtime_bench::Result;
use realtime_bench::broker::{Broker, Brokers};
use realtime_bench::child::ServerProcess;
use realtime_bench::client::{Dial, Transport};
use realtime_bench::deliveries::Deliveries;
use realtime_bench::figures::{least, median};
use realtime_bench::program::until;
use realtime_bench::report::Report;
use realtime_bench::server::log::LogKind;
use realtime_bench::server::{EVENT, ServeOptions, user_name};
use realtime_bench::swarm::Swarm;
use realtime_unified::spi::{Backplane, Epoch, Record};
use realtime_unified::{Event, EventId, Target};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Events that the node follows at a time
    #[arg(long, default_value_t = 20_000)]
    follow_events: usize,
    /// Bytes of JSON in each of them
    #[arg(long, default_value_t = 100)]
    follow_size: usize,
    /// The number of times that it does
    #[arg(long, default_value_t = 10)]
    follow_rounds: usize,
}

/// The name of the log.
const NAME: &str = "bench-follow";
/// Appends under way at a time.
const UNDER_WAY: usize = 256;
/// Users whom events are for, and who are not connected.
const ABSENT: usize = 1000;
/// The client's number, whose user is the last event's.
const LAST: usize = 0;
/// The longest time for one round.
const LATE: Duration = Duration::from_secs(30);
/// The most CPU of an event, in microseconds: 100,000 a second on one core.
const BUDGET: f64 = 10.0;

/// The logs that are followed, with their brokers.
const LOGS: [(&str, LogKind); 2] = [("Redis", LogKind::Redis), ("NATS", LogKind::Nats)];

/// A node that follows a log which this process appends to.
struct Follower {
    server: ServerProcess,
    backplane: Arc<dyn Backplane>,
    epoch: Epoch,
    event: Event,
    /// The client that has the last event of each round, so that its end is seen.
    _swarm: Swarm,
    deliveries: Arc<Deliveries>,
}

/// Measures a node that reads what is there, and one that reads while it is appended.
pub(crate) async fn run(args: &Args, cpus: &[usize], report: &mut Report) -> Result<()> {
    let (events, rounds) = (args.follow_events, args.follow_rounds);
    println!("\nfollowing {events} events of {} bytes to users of no client, {rounds} times", args.follow_size);
    report.table(24, &["the log", "the node reads", "CPU µs/event, best", "median", "events/s of one core"]);
    let brokers = Brokers::start(&[]).await?;
    for (name, log) in LOGS {
        let follower = Follower::start(log, brokers.of(log), args.follow_size, cpus).await?;
        follower.round(events, true).await?;
        for (what, is_behind) in [("what is there", true), ("while it is appended", false)] {
            let mut cpu = Vec::new();
            for _ in 0..rounds {
                cpu.push(follower.round(events, is_behind).await?);
            }
            let middle = median(&cpu);
            let figures = [format!("{:.2}", least(&cpu)), format!("{middle:.2}"), format!("{:.0}", 1e6 / middle)];
            report.row(&[&[name.to_owned(), what.to_owned()], &figures[..]].concat());
            if is_behind {
                report.within(middle, BUDGET, "CPU of an event that is followed, µs");
            }
        }
        follower.server.stop().await?;
    }
    Ok(())
}

impl Follower {
    async fn start(log: LogKind, broker: &Broker, size: usize, cpus: &[usize]) -> Result<Self> {
        let options = ServeOptions::ours(&["ws"]).on(cpus);
        let options = ServeOptions { log, log_at: Some(broker.url.clone()), log_name: NAME.to_owned(), ..options };
        let server = ServerProcess::start(&options).await?;
        let backplane = log.open(&broker.url, NAME).await?.backplane;
        let epoch = backplane.state().await?.epoch;
        let event = Event::json(EVENT, &"x".repeat(size.saturating_sub(2)))?;
        let deliveries = Arc::new(Deliveries::default());
        let address = server.addresses.http;
        let _swarm = Swarm::connect(1, |_| Dial::new(Transport::Ws, address, LAST), &deliveries).await?;
        Ok(Self { server, backplane, epoch, event, _swarm, deliveries })
    }

    /// Appends events, the last one for the client; returns the node's microseconds of CPU for
    /// each. With `is_behind` it does not run until all are there.
    async fn round(&self, events: usize, is_behind: bool) -> Result<f64> {
        let (received, cpu) = (self.deliveries.count(), self.server.process.cpu_time()?);
        if is_behind {
            self.server.suspend()?;
        }
        let appended = self.append(events).await;
        self.server.resume()?;
        appended?;
        until(LATE, "the node has followed the log", || self.deliveries.count() > received).await?;
        let cpu = self.server.process.cpu_time()?.saturating_sub(cpu);
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        Ok(cpu.as_secs_f64() * 1e6 / events as f64)
    }

    async fn append(&self, events: usize) -> Result<()> {
        let append = |user: usize| {
            let record = Record::of_event(EventId::random(), Target::user(user_name(user)), self.event.clone());
            self.backplane.append(self.epoch, Arc::new(record), None)
        };
        let others = (1..events).map(|number| append(LAST + 1 + number % ABSENT));
        stream::iter(others).buffer_unordered(UNDER_WAY).try_for_each(async |_| Ok(())).await?;
        append(LAST).await?;
        Ok(())
    }
}
