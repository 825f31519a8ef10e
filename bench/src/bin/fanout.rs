//! Server CPU for each delivery of a fan-out: our transports, the floor, and peers, in one interleaved run.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clap::Parser;
use realtime_bench::child::ServerProcess;
use realtime_bench::client::{Dial, Transport};
use realtime_bench::figures::{median, median_ratio};
use realtime_bench::program::{self, Setup};
use realtime_bench::server::control::{Command, Control};
use realtime_bench::server::{Kind, ServeOptions};
use realtime_bench::swarm::{Observer, Swarm};
use realtime_bench::{Error, Result};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout};

/// The most publishes under way, and so the most that one client can be ahead of another.
const MOST_UNDER_WAY: usize = 64;
/// How long a publish may take to reach everyone.
const LATE: Duration = Duration::from_secs(20);

#[derive(Parser)]
struct Args {
    /// Subscribers of each server: one table for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 1])]
    subscribers: Vec<usize>,
    /// Publishes under way at a time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    under_way: Vec<usize>,
    /// Bytes of JSON in each event
    #[arg(long, default_value_t = 128)]
    size: usize,
    /// How often each server is measured, one after the other
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long one measurement takes, in milliseconds
    #[arg(long, default_value_t = 700)]
    millis: u64,
    /// Only servers of these transports, and the floor
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Transport::ALL)]
    transports: Vec<Transport>,
    /// Let servers and clients share all processors
    #[arg(long)]
    no_pin: bool,
}

/// Who is measured; the first is the base of the ratios.
const LANES: [(&str, Kind, Transport); 7] = [
    ("floor: try_write of one frame", Kind::Floor, Transport::Ws),
    ("realtime-ws", Kind::Ours, Transport::Ws),
    ("realtime-sse", Kind::Ours, Transport::Sse),
    ("realtime-socketio", Kind::Ours, Transport::Socketio),
    ("tokio-tungstenite + broadcast", Kind::Tungstenite, Transport::Ws),
    ("axum Sse + broadcast", Kind::AxumSse, Transport::Sse),
    ("socketioxide to(room).emit", Kind::Socketioxide, Transport::Socketio),
];

/// Knows which publishes have reached every client.
struct Arrivals {
    clients: usize,
    /// How many have received each of the newest events, by the event's number modulo the length.
    counts: [AtomicUsize; MOST_UNDER_WAY],
    /// One for each publish that may begin.
    free: Semaphore,
}

impl Observer for Arrivals {
    fn received(&self, number: u64, _: &[u8]) {
        let slot = usize::try_from(number % MOST_UNDER_WAY as u64).unwrap_or_default();
        if self.counts[slot].fetch_add(1, Ordering::AcqRel) + 1 == self.clients {
            self.counts[slot].store(0, Ordering::Release);
            self.free.add_permits(1);
        }
    }
}

/// One server with its subscribers.
struct Lane {
    name: &'static str,
    server: ServerProcess,
    control: Control,
    swarm: Swarm,
    arrivals: Arc<Arrivals>,
}

/// What one measurement showed.
#[derive(Clone, Copy)]
struct Sample {
    /// Microseconds of server CPU for each delivery.
    cpu: f64,
    /// Deliveries a second.
    rate: f64,
}

fn main() -> ExitCode {
    let setup = |args: &Args| Setup {
        pin: !args.no_pin,
        open_files: (args.subscribers.iter().max().unwrap_or(&0) * LANES.len() + 256) as u64,
        deadline: Duration::from_secs(600),
    };
    program::main(setup, async |args: Args, cpus| {
        if args.under_way.iter().any(|under_way| !(1..=MOST_UNDER_WAY).contains(under_way)) {
            return Err(format!("1 to {MOST_UNDER_WAY} publishes can be under way").into());
        }
        for subscribers in &args.subscribers {
            table(*subscribers, &args, &cpus).await?;
        }
        Ok(true)
    })
}

async fn table(subscribers: usize, args: &Args, cpus: &[usize]) -> Result<()> {
    let mut lanes = Vec::new();
    let wanted = |(_, kind, transport): &_| *kind == Kind::Floor || args.transports.contains(transport);
    for (name, kind, transport) in LANES.into_iter().filter(wanted) {
        lanes.push(Lane::open(name, kind, transport, subscribers, args.size, cpus).await?);
    }
    println!("\n{subscribers} subscribers, {} bytes, median of {} interleaved rounds", args.size, args.rounds);
    for under_way in &args.under_way {
        let mut samples: Vec<Vec<Sample>> = lanes.iter().map(|_| Vec::new()).collect();
        // The first round warms up and is not counted.
        for round in 0..=args.rounds {
            for (lane, samples) in lanes.iter_mut().zip(&mut samples) {
                let sample = lane.measure(*under_way, Duration::from_millis(args.millis)).await?;
                if round > 0 {
                    samples.push(sample);
                }
            }
        }
        print(*under_way, &lanes, &samples);
    }
    for lane in lanes {
        drop(lane.swarm);
        lane.server.stop().await?;
    }
    Ok(())
}

impl Lane {
    async fn open(
        name: &'static str,
        kind: Kind,
        transport: Transport,
        clients: usize,
        size: usize,
        cpus: &[usize],
    ) -> Result<Self> {
        let options =
            if kind == Kind::Ours { ServeOptions::ours(transport.provider()) } else { ServeOptions::peer(kind) };
        let server = ServerProcess::start(&options.on(cpus)).await?;
        let mut control = server.control().await?;
        control.call(&Command::Prepare { size }).await?;
        let counts = std::array::from_fn(|_| AtomicUsize::new(0));
        let arrivals = Arc::new(Arrivals { clients, counts, free: Semaphore::new(0) });
        let address = server.addresses().http;
        let dial = |number| Dial { transport, server: address, user: None, number, receive_buffer: None };
        let swarm = Swarm::connect(clients, dial, &arrivals).await.map_err(|error| format!("{name}: {error}"))?;
        Ok(Self { name, server, control, swarm, arrivals })
    }

    /// Publishes for a time, beginning a publish whenever fewer than this many are under way.
    async fn measure(&mut self, under_way: usize, time: Duration) -> Result<Sample> {
        let Self { name, server, control, swarm, arrivals } = self;
        let failed = |error: Error| format!("{name}: {error}");
        let most = u32::try_from(under_way)?;
        let cpu = server.process().cpu_time()?;
        let start = Instant::now();
        let mut published = 0;
        arrivals.free.add_permits(under_way);
        while start.elapsed() < time {
            wait(arrivals, 1).await.map_err(failed)?;
            control.publish_prepared().await?;
            published += 1;
        }
        wait(arrivals, most).await.map_err(failed)?;
        let elapsed = start.elapsed();
        let cpu = server.process().cpu_time()?.saturating_sub(cpu);
        swarm.check().map_err(failed)?;
        #[expect(clippy::cast_precision_loss, reason = "counts stay far below 2^52")]
        let deliveries = (published * arrivals.clients) as f64;
        Ok(Sample { cpu: cpu.as_secs_f64() * 1e6 / deliveries, rate: deliveries / elapsed.as_secs_f64() })
    }
}

/// Takes away permits as publishes end.
async fn wait(arrivals: &Arrivals, permits: u32) -> Result<()> {
    let permits = timeout(LATE, arrivals.free.acquire_many(permits)).await;
    permits.map_err(|_| "an event did not reach every client")??.forget();
    Ok(())
}

fn print(under_way: usize, lanes: &[Lane], samples: &[Vec<Sample>]) {
    let figures = |samples: &[Sample], figure: fn(&Sample) -> f64| samples.iter().map(figure).collect::<Vec<_>>();
    println!("{:30}  {:>16}  {:>9}  {:>12}", format!("W = {under_way}"), "CPU µs/delivery", "÷ floor", "deliveries/s");
    let floor = figures(&samples[0], |sample| sample.cpu);
    for (lane, samples) in lanes.iter().zip(samples) {
        let cpu = figures(samples, |sample| sample.cpu);
        let rate = median(&figures(samples, |sample| sample.rate));
        println!("{:30}  {:16.2}  {:9.2}  {rate:12.0}", lane.name, median(&cpu), median_ratio(&cpu, &floor));
    }
}
