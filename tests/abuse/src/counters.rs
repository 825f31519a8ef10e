//! The counters of a server, as `/metrics` has them.

use std::net::SocketAddr;
use std::time::Duration;

use realtime_bench::Result;
use realtime_faults::api::{self, Reply};

const LIMIT: Duration = Duration::from_secs(10);

/// Every series with its value.
#[derive(Debug)]
pub(crate) struct Counters(Vec<(String, f64)>);

impl Counters {
    /// Asks the server.
    pub(crate) async fn of(server: SocketAddr) -> Result<Self> {
        match api::get(server, "/metrics", LIMIT).await {
            Reply::Answer(200, body) => Ok(Self::parse(&String::from_utf8_lossy(&body))),
            other => Err(format!("/metrics: {other:?}").into()),
        }
    }

    fn parse(text: &str) -> Self {
        let series = text.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.rsplit_once(' '));
        Self(series.filter_map(|(series, value)| Some((series.to_owned(), value.parse().ok()?))).collect())
    }

    /// Returns the sum of the series of a name whose labels contain this text.
    pub(crate) fn sum(&self, name: &str, label: &str) -> f64 {
        let is_meant = |series: &str| {
            let labels = series.strip_prefix(name);
            labels.is_some_and(|labels| (labels.is_empty() || labels.starts_with('{')) && labels.contains(label))
        };
        self.0.iter().filter(|(series, _)| is_meant(series)).map(|(_, value)| value).sum::<f64>() + 0.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_summed_by_name_and_label() {
        let text = "# HELP a b\na{reason=\"x\"} 2\na{reason=\"y\"} 3\na_total{reason=\"x\"} 7\nb 1.5\n";
        let counters = Counters::parse(text);
        let sums = [("a", "x"), ("a", ""), ("b", ""), ("c", "")].map(|(name, label)| counters.sum(name, label));
        assert_eq!(sums.map(|sum| format!("{sum}")), ["2", "5", "1.5", "0"]);
    }
}
