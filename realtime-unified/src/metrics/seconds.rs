use std::time::Duration;

/// The upper bounds of the histograms' buckets, in seconds. With the same ones in the recorder
/// (`PrometheusBuilder::set_buckets_for_metric`) its counts are exact.
pub const BUCKETS: [f64; realtime_core::BUCKETS.len()] = {
    let mut seconds = [0.0; realtime_core::BUCKETS.len()];
    let mut at = 0;
    while at < seconds.len() {
        seconds[at] = in_seconds(realtime_core::BUCKETS[at]);
        at += 1;
    }
    seconds
};

/// Converts a time to seconds, rounded once, so that a bound is the same number wherever it is
/// written.
pub(super) const fn in_seconds(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e9
}
