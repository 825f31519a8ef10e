//! Server CPU for each delivery of a fan-out: our transports, the floor, and peers, in one interleaved run.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use realtime_bench::Result;
use realtime_bench::client::Transport;
use realtime_bench::figures::{median, median_ratio};
use realtime_bench::lane::{Lane, MOST_UNDER_WAY, Sample};
use realtime_bench::program::{self, Setup};
use realtime_bench::server::Kind;

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
        lane.stop().await?;
    }
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
