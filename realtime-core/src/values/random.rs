use std::time::Duration;

/// Returns a random duration between two, a different one at each call, so that clients that get
/// one do not all reconnect at the same moment.
pub fn random_between(least: Duration, most: Duration) -> Duration {
    // 53 random bits, the precision of an `f64`, make a fraction.
    let random = uuid::Uuid::new_v4().as_u64_pair().1 & ((1 << 53) - 1);
    least + most.saturating_sub(least).mul_f64(random as f64 / (1u64 << 53) as f64)
}
