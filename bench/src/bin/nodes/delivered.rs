//! From a publish on one node to the receive by a client of another.

use std::str::FromStr;

use realtime_bench::broker::Brokers;
use realtime_bench::client::Transport;
use realtime_bench::figures::median;
use realtime_bench::pair::{Nodes, Pair, Plan, Sample, Steady};
use realtime_bench::report::Report;
use realtime_bench::server::log::LogKind;
use realtime_bench::socketio::{self, Adapter};
use realtime_bench::{Error, Result};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Clients of the node that delivers, each with a user of its own
    #[arg(long, default_value_t = 100)]
    clients: usize,
    /// The loads: `one` for events to one user after the other, `all` for events to everyone, and
    /// events a second
    #[arg(long, value_delimiter = ',', default_values = ["one:200", "one:2000", "all:20", "all:200"])]
    loads: Vec<Load>,
    /// Bytes of JSON in each event
    #[arg(long, default_value_t = 1024)]
    size: usize,
    /// The number of times that each is measured, one after the other
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// The time that one measurement takes, in milliseconds
    #[arg(long, default_value_t = 2000)]
    millis: u64,
    /// Leave out the official Socket.IO server, which needs node and npm
    #[arg(long)]
    no_peers: bool,
}

/// A load of [`Args::loads`].
#[derive(Clone, Copy, Debug)]
struct Load {
    to_all: bool,
    rate: u32,
}

const OURS: [Plan; 8] = [
    Plan { name: "ours, 2 nodes, Redis, ws", nodes: Nodes::Ours(LogKind::Redis), transport: Transport::Ws },
    Plan { name: "ours, 2 nodes, Redis, socket", nodes: Nodes::Ours(LogKind::Redis), transport: Transport::Socketio },
    Plan { name: "ours, 2 nodes, NATS, ws", nodes: Nodes::Ours(LogKind::Nats), transport: Transport::Ws },
    Plan { name: "ours, 2 nodes, NATS, socket", nodes: Nodes::Ours(LogKind::Nats), transport: Transport::Socketio },
    Plan { name: "ours, 1 node, memory, ws", nodes: Nodes::Alone(LogKind::Memory), transport: Transport::Ws },
    Plan { name: "ours, 1 node, memory, socket", nodes: Nodes::Alone(LogKind::Memory), transport: Transport::Socketio },
    Plan { name: "ours, 1 node, disk, ws", nodes: Nodes::Alone(LogKind::Disk), transport: Transport::Ws },
    Plan { name: "ours, 1 node, disk, socket", nodes: Nodes::Alone(LogKind::Disk), transport: Transport::Socketio },
];
const PEERS: [Plan; 2] = [
    Plan { name: "socket.io, redis-adapter", nodes: Nodes::SocketIo(Adapter::PubSub), transport: Transport::Socketio },
    Plan {
        name: "socket.io, redis-streams-adapter",
        nodes: Nodes::SocketIo(Adapter::Streams),
        transport: Transport::Socketio,
    },
];

/// The most of a figure of ours with two nodes, as a multiple of the better adapter's.
const BAR: f64 = 1.0;

impl Args {
    /// Returns the number of sockets that the clients need.
    pub(crate) fn sockets(&self) -> usize {
        self.clients * (OURS.len() + PEERS.len())
    }

    fn plans(&self) -> Vec<Plan> {
        let peers = if self.no_peers { &[][..] } else { &PEERS };
        OURS.iter().chain(peers).copied().collect()
    }
}

impl FromStr for Load {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (to, rate) = text.split_once(':').ok_or("`one` or `all`, a colon, and the events a second")?;
        let to_all = match to {
            "all" => true,
            "one" => false,
            other => return Err(format!("neither `one` nor `all`: {other}").into()),
        };
        Ok(Self { to_all, rate: rate.parse()? })
    }
}

/// Measures every pair with every load, in turns.
pub(crate) async fn run(args: &Args, cpus: &[usize], report: &mut Report) -> Result<()> {
    if !args.no_peers {
        socketio::install()?;
    }
    let brokers = Brokers::start(cpus).await?;
    let plans = args.plans();
    let mut pairs = Vec::new();
    for plan in &plans {
        pairs.push(Pair::open(plan, &brokers, args.clients, cpus).await?);
    }
    for load in &args.loads {
        let count = (u64::from(load.rate) * args.millis / 1000).max(1);
        let steady = Steady { to_all: load.to_all, rate: load.rate, count, size: args.size };
        let mut samples = vec![Vec::new(); pairs.len()];
        // The first round warms up.
        for round in 0..=args.rounds {
            for (pair, samples) in pairs.iter_mut().zip(&mut samples) {
                let sample = pair.measure(&steady).await?;
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        print(args, &steady, &plans, &samples, report);
    }
    for pair in pairs {
        pair.stop().await?;
    }
    Ok(())
}

/// Prints a row for each pair; a ratio is that of the medians to the better one of the adapters.
fn print(args: &Args, load: &Steady, plans: &[Plan], samples: &[Vec<Sample>], report: &mut Report) {
    let to = if load.to_all { format!("everyone, {} clients", args.clients) } else { "one user".to_owned() };
    println!("\n{} events/s of {} bytes to {to}; {} rounds of {} ms", load.rate, load.size, args.rounds, args.millis);
    let titles = [
        "servers",
        "p50 ms",
        "÷ best",
        "p99 ms",
        "÷ best",
        "CPU µs/event: servers",
        "÷ best",
        "publishing",
        "delivering",
        "broker",
    ];
    report.table(32, &titles);
    let figure = |number: usize, of: fn(&Sample) -> f64| median(&samples[number].iter().map(of).collect::<Vec<_>>());
    let figures: [fn(&Sample) -> f64; 3] = [|one| one.p50, |one| one.p99, |one| one.publisher + one.receiver];
    let is_peer = |plan: &Plan| matches!(plan.nodes, Nodes::SocketIo(_));
    let best = figures.map(|of| {
        let peers = (0..plans.len()).filter(|number| is_peer(&plans[*number]));
        peers.map(|number| figure(number, of)).fold(f64::INFINITY, f64::min)
    });
    for (number, plan) in plans.iter().enumerate() {
        let mut cells = vec![plan.name.to_owned()];
        for ((of, best), what) in figures.iter().zip(best).zip(["p50", "p99", "CPU of an event"]) {
            let own = figure(number, *of);
            cells.push(format!("{own:.2}"));
            cells.push(if best.is_finite() { format!("{:.2}×", own / best) } else { String::new() });
            if matches!(plan.nodes, Nodes::Ours(_)) && best.is_finite() {
                report.within(own / best, BAR, &format!("{}: {what}, as a ratio", plan.name));
            }
        }
        let rest: [fn(&Sample) -> f64; 3] = [|one| one.publisher, |one| one.receiver, |one| one.broker];
        cells.extend(rest.map(|of| format!("{:.0}", figure(number, of))));
        report.row(&cells);
    }
}
