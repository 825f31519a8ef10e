//! Numbers from samples.

/// Returns the middle sample, or the mean of the two in the middle; NaN of none.
pub fn median(samples: &[f64]) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    match sorted.len() {
        0 => f64::NAN,
        even if even % 2 == 0 => f64::midpoint(sorted[middle - 1], sorted[middle]),
        _ => sorted[middle],
    }
}

/// Returns the least sample, which the machine disturbed least; infinite of none.
pub fn least(samples: &[f64]) -> f64 {
    samples.iter().copied().fold(f64::INFINITY, f64::min)
}

/// Returns the median of the samples' ratios, pair by pair: the difference of two interleaved runs.
pub fn median_ratio(samples: &[f64], base: &[f64]) -> f64 {
    let ratios: Vec<f64> = samples.iter().zip(base).map(|(sample, base)| sample / base).collect();
    median(&ratios)
}

/// Returns the samples that a quarter of them are below of and above of, by nearest rank; NaN of
/// none.
pub fn quartiles(samples: &[f64]) -> (f64, f64) {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let quarter = sorted.len() / 4;
    let at = |index: Option<usize>| index.and_then(|index| sorted.get(index)).copied().unwrap_or(f64::NAN);
    (at(Some(quarter)), at(sorted.len().checked_sub(1 + quarter)))
}

/// Converts bytes to MiB.
#[expect(clippy::cast_precision_loss, reason = "only printed")]
pub fn mib(bytes: u64) -> f64 {
    bytes as f64 / (1024.0 * 1024.0)
}

/// Returns the share of each of `count` in the growth, in KiB.
#[expect(clippy::cast_precision_loss, reason = "only printed")]
pub fn kib_each(before: u64, after: u64, count: usize) -> f64 {
    (after as f64 - before as f64) / 1024.0 / count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn same(a: f64, b: f64) -> bool {
        (a - b).abs() < 1e-9
    }

    #[test]
    fn median_of_odd_even_and_no_samples() {
        assert!(same(median(&[3.0, 1.0, 2.0]), 2.0));
        assert!(same(median(&[4.0, 1.0, 2.0, 3.0]), 2.5));
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn least_of_some_and_no_samples() {
        assert!(same(least(&[3.0, 1.0, 2.0]), 1.0));
        assert!(least(&[]).is_infinite());
    }

    #[test]
    fn quartiles_leave_a_quarter_at_each_end() {
        let samples: Vec<f64> = [5, 1, 4, 2, 8, 7, 3, 6].map(f64::from).to_vec();
        let (low, high) = quartiles(&samples);
        assert!(same(low, 3.0) && same(high, 6.0));
        assert!(quartiles(&[]).0.is_nan());
    }

    #[test]
    fn ratios_are_taken_pair_by_pair() {
        assert!(same(median_ratio(&[2.0, 30.0, 1.0], &[1.0, 10.0, 10.0]), 2.0));
    }

    #[test]
    fn growth_is_shared_out() {
        assert!(same(kib_each(1024, 21 * 1024, 10), 2.0));
        assert!(same(kib_each(2048, 1024, 1), -1.0));
    }
}
