//! Servers measured in turns: ours next to the peer of the same transport, and the floor.

use std::time::Duration;

use crate::Result;
use crate::client::Transport;
use crate::figures::{least, median, median_ratio};
use crate::lane::{Lane, Plan};
use crate::program::Setup;
use crate::report::Report;
use crate::server::Kind;

/// The command-line options of a fan-out: how much is under way, to how many.
#[derive(clap::Args)]
pub struct FanOut {
    /// Subscribers of each server: one table for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1000, 1])]
    pub subscribers: Vec<usize>,
    /// Publishes under way at a time
    #[arg(long, value_delimiter = ',', default_values_t = [1, 16])]
    pub under_way: Vec<usize>,
}

/// The command-line options of a program that measures several servers in turns.
#[derive(clap::Args)]
pub struct Options {
    /// Bytes of JSON in each event
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// The number of times that each server is measured, one after the other
    #[arg(long, default_value_t = 10)]
    pub rounds: usize,
    /// Only servers of these transports, and the floor
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Transport::ALL)]
    pub transports: Vec<Transport>,
    /// Let servers and clients share all processors
    #[arg(long)]
    pub no_pin: bool,
}

/// The number of servers that are measured where all transports are.
const CONTESTANTS: usize = 7;

/// A server that is measured.
#[derive(Clone, Copy, Debug)]
pub struct Contestant {
    /// The name in tables.
    pub name: &'static str,
    /// The server.
    pub kind: Kind,
    /// The clients' transport.
    pub transport: Transport,
}

/// Lanes that are measured in turns; the first one is the floor.
pub struct Contest {
    contestants: Vec<Contestant>,
    lanes: Vec<Lane>,
}

/// The figures of the rounds, for each lane.
pub struct Figures {
    /// Microseconds of server CPU for each delivery, in each round.
    cpu: Vec<Vec<f64>>,
    /// Deliveries a second, in each round.
    rate: Vec<Vec<f64>>,
}

impl Options {
    /// Returns the needs of a program whose servers have this many clients each.
    #[must_use]
    pub fn setup(&self, clients: usize) -> Setup {
        Setup { pin: !self.no_pin, sockets: clients * CONTESTANTS, seconds: 1200 }
    }

    /// Returns the floor, and ours and these peers as far as their transports are wanted.
    #[must_use]
    pub fn contestants(&self, peers: [Contestant; 3]) -> Vec<Contestant> {
        let ours = [
            Contestant { name: "realtime-ws", kind: Kind::Ours, transport: Transport::Ws },
            Contestant { name: "realtime-sse", kind: Kind::Ours, transport: Transport::Sse },
            Contestant { name: "realtime-socketio", kind: Kind::Ours, transport: Transport::Socketio },
        ];
        let wanted = ours.into_iter().chain(peers).filter(|one| self.transports.contains(&one.transport));
        [Contestant { name: "floor: try_write of one frame", kind: Kind::Floor, transport: Transport::Ws }]
            .into_iter()
            .chain(wanted)
            .collect()
    }
}

impl Contest {
    /// Starts all servers, with their clients.
    ///
    /// # Errors
    /// When one does not start, or a client cannot connect.
    pub async fn open(contestants: Vec<Contestant>, plan: impl Fn(Contestant) -> Plan) -> Result<Self> {
        let mut lanes = Vec::new();
        for contestant in &contestants {
            lanes.push(Lane::open(&plan(*contestant)).await?);
        }
        Ok(Self { contestants, lanes })
    }

    /// Measures each lane for this long in each round, with this many publishes under way at a
    /// time. One more round before them warms up.
    ///
    /// # Errors
    /// Those of [`Lane::measure`].
    pub async fn run(&mut self, under_way: usize, rounds: usize, time: Duration) -> Result<Figures> {
        let none = || vec![Vec::with_capacity(rounds); self.lanes.len()];
        let mut figures = Figures { cpu: none(), rate: none() };
        for round in 0..=rounds {
            for (number, lane) in self.lanes.iter_mut().enumerate() {
                let sample = lane.measure(under_way, time).await?;
                if round > 0 {
                    figures.cpu[number].push(sample.cpu);
                    figures.rate[number].push(sample.rate);
                }
            }
        }
        Ok(figures)
    }

    /// Prints a row for each lane, and returns whether ours are within `bar`, the most that one of
    /// this transport may be of its peer, if there is a bar. The best round of each counts.
    pub fn print(&self, title: &str, figures: &Figures, bar: impl Fn(Transport) -> Option<f64>) -> bool {
        let titles = [title, "CPU µs, best", "median", "÷ floor", "deliveries/s", "÷ peer, best"];
        let mut report = Report::default();
        report.table(30, &titles);
        let best: Vec<f64> = figures.cpu.iter().map(|cpu| least(cpu)).collect();
        let mut within = true;
        for (number, Contestant { name, .. }) in self.contestants.iter().enumerate() {
            let (cpu, rate) = (&figures.cpu[number], median(&figures.rate[number]));
            let (ratio, holds) = verdict(&self.contestants, &best, number, &bar);
            let floor = median_ratio(cpu, &figures.cpu[0]);
            let median = median(cpu);
            let figures = [best[number], median, floor].map(|figure| format!("{figure:.2}"));
            report.row(&[&[(*name).to_owned()], &figures[..], &[format!("{rate:.0}"), ratio]].concat());
            within &= holds;
        }
        within
    }

    /// Closes the clients and the servers.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn stop(self) -> Result<()> {
        for lane in self.lanes {
            lane.stop().await?;
        }
        Ok(())
    }
}

/// Returns a figure of ours as a multiple of its peer's, as text, and whether that is within the
/// bar; nothing for all others.
pub fn verdict(
    contestants: &[Contestant],
    figures: &[f64],
    number: usize,
    bar: &impl Fn(Transport) -> Option<f64>,
) -> (String, bool) {
    let Contestant { kind, transport, .. } = contestants[number];
    let is_peer = |other: &Contestant| other.transport == transport && !matches!(other.kind, Kind::Floor | Kind::Ours);
    let Some(peer) = contestants.iter().position(is_peer).filter(|_| kind == Kind::Ours) else {
        return (String::new(), true);
    };
    let ratio = figures[number] / figures[peer];
    match bar(transport) {
        Some(bar) if ratio > bar => (format!("{ratio:.2}× OVER {bar}"), false),
        Some(bar) => (format!("{ratio:.2}× (≤ {bar})"), true),
        None => (format!("{ratio:.2}×"), true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn verdict_compares_ours_with_the_peer_of_its_transport() {
        let contestants = [
            Contestant { name: "floor", kind: Kind::Floor, transport: Transport::Ws },
            Contestant { name: "ours", kind: Kind::Ours, transport: Transport::Ws },
            Contestant { name: "other", kind: Kind::AxumSse, transport: Transport::Sse },
            Contestant { name: "peer", kind: Kind::Tungstenite, transport: Transport::Ws },
        ];
        let verdict = |number, bar| verdict(&contestants, &[1.0, 6.0, 2.0, 4.0], number, &|_| bar);
        assert_eq!(verdict(1, Some(1.6)), ("1.50× (≤ 1.6)".to_owned(), true));
        assert_eq!(verdict(1, Some(1.4)), ("1.50× OVER 1.4".to_owned(), false));
        assert_eq!(verdict(1, None), ("1.50×".to_owned(), true));
        for other in [0, 2, 3] {
            assert_eq!(verdict(other, Some(0.1)), (String::new(), true));
        }
    }
}
