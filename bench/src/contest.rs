//! Servers measured in turns: ours beside the peer of the same transport, and the floor.

use std::time::Duration;

use crate::Result;
use crate::client::Transport;
use crate::figures::{least, median, median_ratio};
use crate::lane::{Lane, Plan};
use crate::server::Kind;

/// What is measured.
#[derive(Clone, Copy, Debug)]
pub struct Contestant {
    /// What it is called.
    pub name: &'static str,
    /// What serves.
    pub kind: Kind,
    /// How its clients speak.
    pub transport: Transport,
}

/// Lanes that are measured in turns; the first is the floor.
pub struct Contest {
    contestants: Vec<Contestant>,
    lanes: Vec<Lane>,
}

/// What the rounds showed, for each lane.
pub struct Figures {
    /// Microseconds of server CPU for each delivery, in each round.
    cpu: Vec<Vec<f64>>,
    /// Deliveries a second, in each round.
    rate: Vec<Vec<f64>>,
}

impl Contestant {
    /// One of this name.
    pub const fn new(name: &'static str, kind: Kind, transport: Transport) -> Self {
        Self { name, kind, transport }
    }

    /// Whether its clients speak so; the floor is wanted beside any.
    pub fn is_wanted(&self, transports: &[Transport]) -> bool {
        self.kind == Kind::Floor || transports.contains(&self.transport)
    }
}

impl Contest {
    /// Starts all servers, with their clients.
    ///
    /// # Errors
    /// When one does not start, or a client cannot connect.
    pub async fn open(contestants: &[Contestant], plan: impl Fn(Contestant) -> Plan) -> Result<Self> {
        let mut lanes = Vec::new();
        for contestant in contestants {
            lanes.push(Lane::open(&plan(*contestant)).await?);
        }
        Ok(Self { contestants: contestants.to_vec(), lanes })
    }

    /// Measures each lane for this long in each round, with so many publishes under way at a time. One more round before them
    /// warms up.
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

    /// Prints a line for each lane, and says whether ours are within `bar`, the most that one of this transport may be of its
    /// peer, if there is a bar. What counts is the best round of each.
    pub fn print(&self, title: &str, figures: &Figures, bar: impl Fn(Transport) -> Option<f64>) -> bool {
        println!(
            "{title:30}  {:>14}  {:>6}  {:>7}  {:>12}  ÷ peer, best",
            "CPU µs, best", "median", "÷ floor", "deliveries/s"
        );
        let best: Vec<f64> = figures.cpu.iter().map(|cpu| least(cpu)).collect();
        let mut within = true;
        for (number, Contestant { name, .. }) in self.contestants.iter().enumerate() {
            let (cpu, rate) = (&figures.cpu[number], median(&figures.rate[number]));
            let (ratio, holds) = verdict(&self.contestants, &best, number, &bar);
            let floor = median_ratio(cpu, &figures.cpu[0]);
            let median = median(cpu);
            println!("{name:30}  {:14.2}  {median:6.2}  {floor:7.2}  {rate:12.0}  {ratio}", best[number]);
            within &= holds;
        }
        within
    }

    /// Ends the clients and the servers.
    ///
    /// # Errors
    /// What the system says.
    pub async fn stop(self) -> Result<()> {
        for lane in self.lanes {
            lane.stop().await?;
        }
        Ok(())
    }
}

/// What one figure of ours is of its peer's, as text, and whether that is within the bar; nothing for all others.
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
    fn ours_are_compared_with_the_peer_of_their_transport() {
        let contestants = [
            Contestant::new("floor", Kind::Floor, Transport::Ws),
            Contestant::new("ours", Kind::Ours, Transport::Ws),
            Contestant::new("other", Kind::AxumSse, Transport::Sse),
            Contestant::new("peer", Kind::Tungstenite, Transport::Ws),
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
