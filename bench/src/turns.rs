//! Two servers measured in turns.

use std::time::Duration;

use crate::Result;
use crate::figures::{least, median, quartiles};
use crate::lane::Lane;

/// The command-line options of a program that measures two servers in turns.
#[derive(clap::Args)]
pub struct Options {
    /// Bytes of JSON in each event
    #[arg(long, default_value_t = 128)]
    pub size: usize,
    /// The number of times that both are measured: one, the other, the other, one
    #[arg(long, default_value_t = 40)]
    pub rounds: usize,
    /// The time that one measurement takes, in milliseconds
    #[arg(long, default_value_t = 150)]
    pub millis: u64,
    /// Let servers and clients share all processors
    #[arg(long)]
    pub no_pin: bool,
}

impl Options {
    /// Returns the time that one measurement takes.
    #[must_use]
    pub fn time(&self) -> Duration {
        Duration::from_millis(self.millis)
    }
}

/// The CPU for each delivery in each round, of two servers.
#[derive(Debug, Default)]
pub struct Turns {
    /// That of the server that the other one is compared with.
    pub base: Vec<f64>,
    /// That of the other one.
    pub cost: Vec<f64>,
}

impl Turns {
    /// Measures both: base, cost, cost, base. One more round before the
    /// others warms up and is not counted.
    ///
    /// # Errors
    /// Those of [`Lane::measure`].
    pub async fn measure(base: &mut Lane, cost: &mut Lane, under_way: usize, options: &Options) -> Result<Self> {
        let mut turns = Self::default();
        let time = options.time();
        for round in 0..=options.rounds {
            // In this order a drift of the machine within a round counts for both alike.
            let first = base.measure(under_way, time).await?.cpu;
            let between = cost.measure(under_way, time).await?.cpu + cost.measure(under_way, time).await?.cpu;
            let around = first + base.measure(under_way, time).await?.cpu;
            if round > 0 {
                turns.base.push(around / 2.0);
                turns.cost.push(between / 2.0);
            }
        }
        Ok(turns)
    }

    /// Returns the median of the rounds' ratios.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        median(&self.ratios())
    }

    /// Returns the cells of a row: the medians of both, the median of the ratios, the middle half
    /// of the ratios, all of them, and the quotient of the lower quartiles.
    #[must_use]
    pub fn cells(&self) -> [String; 6] {
        let ratios = self.ratios();
        let (low, high) = quartiles(&ratios);
        // Other programs only add to a time, so the quieter rounds say more.
        let quiet = quartiles(&self.cost).0 / quartiles(&self.base).0;
        [
            format!("{:.2}", median(&self.base)),
            format!("{:.2}", median(&self.cost)),
            format!("{:.3}", median(&ratios)),
            format!("{low:.2} to {high:.2}"),
            format!("{:.2} to {:.2}", least(&ratios), ratios.iter().copied().fold(0.0, f64::max)),
            format!("{quiet:.3}"),
        ]
    }

    fn ratios(&self) -> Vec<f64> {
        self.cost.iter().zip(&self.base).map(|(cost, base)| cost / base).collect()
    }
}
