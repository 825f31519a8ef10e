//! Nodes that are replaced one after the other under load, and a node on disk that is restarted.

use std::collections::BTreeMap;
use std::time::Duration;

use realtime_bench::client::Transport;
use realtime_bench::process::load;
use realtime_bench::report::Report;
use realtime_bench::{Result, process};
use tokio::time::{Instant, sleep};

use crate::broker::{Kind, Sync};
use crate::fault::terminate_node;
use crate::history::Seen;
use crate::oracle::{Verdict, Wrong, judge};
use crate::world::{Backend, Setup, World};

/// The number of nodes at a broker.
const NODES: usize = 3;
/// The time between two events of a sender, of which each node has two.
const PACE: Duration = Duration::from_millis(400);
/// The time before the first node is replaced, and after each.
const SETTLE: Duration = Duration::from_secs(5);
/// The time over which the demo closes its connections, with a broker.
const DRAIN: Duration = Duration::from_secs(5);
/// The time within which its clients reconnect, on disk.
const RECONNECT: Duration = Duration::from_secs(1);
/// The most, from the sent delay to `connected`, for 99 of 100 clients: with a broker, and on disk.
const BACK: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(4));
/// The most handshakes in a tenth of a second, as a multiple of their mean over the drain.
const PEAK: f64 = 3.0;
const TENTH: Duration = Duration::from_millis(100);
const TITLES: [&str; 11] = [
    "node",
    "clients",
    "without a delay",
    "rejected",
    "p50 s",
    "p99 s",
    "max s",
    "mean/0.1 s",
    "peak",
    "ratio",
    "ended after s",
];
const WIDTH: usize = 16;

/// The arguments.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The number of clients
    #[arg(long, default_value_t = 3_000)]
    clients: usize,
    /// Only print the figures
    #[arg(long)]
    report: bool,
}

/// One node that was replaced.
struct Replaced {
    name: String,
    /// The moment at which it was asked to end.
    asked: Instant,
    took: Duration,
    /// The moment until which what happens is because of it.
    until: Instant,
}

/// The reconnects of the clients of one node.
#[derive(Default)]
struct Moves {
    /// From the sent delay to `connected`, sorted.
    back: Vec<Duration>,
    /// The same, by transport.
    by_transport: [Vec<Duration>; 3],
    /// Connections that ended without a delay, and attempts that failed, by how.
    failures: BTreeMap<String, usize>,
    /// Connections that ended without a delay.
    without_delay: usize,
    /// Attempts that failed.
    rejected: usize,
    /// The moments of `connected`.
    handshakes: Vec<Instant>,
}

/// Replaces the nodes of both backends, and returns whether everything holds.
///
/// # Errors
/// When the processes do not do what they are asked to.
pub async fn run(args: &Args) -> Result<bool> {
    process::raise_open_files(args.clients as u64 * 3 + 256)?;
    let mut report = Report::default();
    for backend in [Backend::Broker(Kind::Redis), Backend::Disk] {
        println!("\n{backend:?}, {} clients, load average {:.1}", args.clients, load()?);
        deploy(backend, args.clients, &mut report).await?;
    }
    Ok(report.holds() || args.report)
}

async fn deploy(backend: Backend, clients: usize, report: &mut Report) -> Result<()> {
    let setup = Setup {
        backend,
        nodes: if backend == Backend::Disk { 1 } else { NODES },
        clients,
        sync: Sync::Later,
        proxied: false,
        clocks: Vec::new(),
        join: true,
        small_disk: false,
        pace: PACE,
    };
    let mut world = World::start(&setup).await?;
    let outcome = replace_all(&mut world, &setup).await;
    let (sent, seen) = (world.sending.ledger.all(), world.histories());
    let verdict = judge(&sent, &world.population, &seen, true);
    let transports: Vec<_> = world.population.people.iter().map(|person| person.transport).collect();
    world.end().await;
    let replaced = outcome?;
    report.table(WIDTH, &TITLES);
    let mut all: [Vec<Duration>; 3] = Default::default();
    for node in &replaced {
        let moves = Moves::of(&seen, &transports, node);
        judge_moves(backend, node, &moves, report);
        for (all, these) in all.iter_mut().zip(moves.by_transport) {
            all.extend(these);
        }
    }
    for (transport, mut back) in Transport::ALL.into_iter().zip(all) {
        back.sort_unstable();
        let (half, most) = (seconds(percentile(&back, 50)), seconds(percentile(&back, 99)));
        println!("  {:6} {} reconnects, p50 {half} s, p99 {most} s", transport.provider(), back.len());
    }
    judge_deliveries(&verdict, report);
    Ok(())
}

/// Replaces each node under load.
async fn replace_all(world: &mut World, setup: &Setup) -> Result<Vec<Replaced>> {
    world.begin_sending();
    sleep(SETTLE).await;
    let mut replaced = Vec::new();
    for old in 0..setup.nodes {
        let name = world.seats[old].name.clone();
        let asked = if setup.backend == Backend::Disk {
            terminate_node(world).await?
        } else {
            let (asked, status) = world.replace_node(setup, old).await?;
            if !status.success() {
                return Err(format!("{name} ended with {status}").into());
            }
            asked
        };
        let took = asked.elapsed();
        world.all_connected(Duration::from_secs(30)).await?;
        sleep(SETTLE).await;
        replaced.push(Replaced { name, asked, took, until: Instant::now() });
    }
    world.end_quietly().await?;
    Ok(replaced)
}

impl Moves {
    fn of(seen: &[Vec<Seen>], transports: &[Transport], node: &Replaced) -> Self {
        let mut moves = Self::default();
        for (seen, transport) in seen.iter().zip(transports) {
            let during = |at: &Instant| (node.asked..node.until).contains(at);
            let mut due = None;
            for seen in seen {
                match seen {
                    Seen::End { at, delay, how } if during(at) => {
                        if delay.is_none() {
                            moves.without_delay += 1;
                            *moves.failures.entry(format!("{}: {how}", transport.provider())).or_default() += 1;
                        }
                        due = delay.map(|delay| *at + delay);
                    }
                    Seen::Failed { at, how } if during(at) => {
                        moves.rejected += 1;
                        *moves.failures.entry(format!("{}: failed: {how}", transport.provider())).or_default() += 1;
                    }
                    Seen::Welcome { at, .. } if during(at) => {
                        moves.handshakes.push(*at);
                        let back = due.take().map(|due| at.saturating_duration_since(due));
                        moves.back.extend(back);
                        let number = Transport::ALL.iter().position(|other| other == transport);
                        moves.by_transport[number.unwrap_or_default()].extend(back);
                    }
                    _ => {}
                }
            }
        }
        moves.back.sort_unstable();
        moves.handshakes.sort_unstable();
        moves
    }

    /// Returns the most handshakes in a tenth of a second.
    fn peak(&self) -> usize {
        realtime_bench::closings::most_within(&self.handshakes, TENTH)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
fn judge_moves(backend: Backend, node: &Replaced, moves: &Moves, report: &mut Report) {
    let (spread, bound) = if backend == Backend::Disk { (RECONNECT, BACK.1) } else { (DRAIN, BACK.0) };
    let mean = moves.handshakes.len() as f64 * TENTH.as_secs_f64() / spread.as_secs_f64();
    let (peak, p99) = (moves.peak(), percentile(&moves.back, 99));
    let ratio = peak as f64 / mean.max(f64::EPSILON);
    report.row(&[
        node.name.clone(),
        moves.handshakes.len().to_string(),
        moves.without_delay.to_string(),
        moves.rejected.to_string(),
        seconds(percentile(&moves.back, 50)),
        seconds(p99),
        seconds(percentile(&moves.back, 100)),
        format!("{mean:.1}"),
        peak.to_string(),
        format!("{ratio:.2}"),
        seconds(node.took),
    ]);
    if !moves.failures.is_empty() {
        println!("  {:?}", moves.failures);
    }
    report.require(moves.without_delay == 0, "every client is notified of a delay");
    report.within(p99.as_secs_f64(), bound.as_secs_f64(), "seconds from the sent delay to `connected`, p99");
    report.within(ratio, PEAK, "handshakes in a tenth of a second, as a multiple of the mean");
}

fn judge_deliveries(verdict: &Verdict, report: &mut Report) {
    let Verdict { ok, refused, unknown, delivered, anew, .. } = verdict;
    println!(
        "  sends: {ok} Ok, {refused} refused, {unknown} unknown; {delivered} deliveries, {} lost, {} doubled, {} out of \
         order; {anew} times `epoch`",
        verdict.count(Wrong::Silent),
        verdict.count(Wrong::Doubled),
        verdict.count(Wrong::Disordered),
    );
    report.require(verdict.holds(true), "each client gets each event once and in order");
    verdict.examples.iter().for_each(|example| println!("              {example}"));
}

/// Returns a percentile of sorted times by nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn seconds(time: Duration) -> String {
    format!("{:.2}", time.as_secs_f64())
}
