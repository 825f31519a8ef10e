use std::time::Duration;

/// A time between two, another one at each call: so clients that are told one do not all come back at the same moment.
pub fn random_between(least: Duration, most: Duration) -> Duration {
    // 53 random bits make a fraction.
    let random = uuid::Uuid::new_v4().as_u64_pair().1 & ((1 << 53) - 1);
    least + most.saturating_sub(least).mul_f64(random as f64 / (1u64 << 53) as f64)
}
