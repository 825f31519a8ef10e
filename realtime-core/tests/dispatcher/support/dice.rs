use std::hash::{BuildHasher, RandomState};

/// Seeded randomness (SplitMix64).
#[derive(Clone)]
pub struct Dice(u64);

impl Dice {
    /// The seed of `REALTIME_SEED`, or a random one; printed, so that a failure can be repeated.
    pub fn new(test: &str) -> Self {
        let given = std::env::var("REALTIME_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(test));
        println!("{test}: REALTIME_SEED={seed}");
        Self(seed)
    }

    /// A stream of its own for one task.
    pub fn split(&mut self) -> Self {
        Self(self.next())
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below this one.
    pub fn below(&mut self, end: usize) -> usize {
        (self.next() % end as u64) as usize
    }

    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
