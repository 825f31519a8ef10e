use std::hash::{BuildHasher, RandomState};

/// A small generator of random numbers with a seed (SplitMix64), for tests that can be repeated.
#[derive(Clone, Debug)]
pub struct SeededRng(u64);

impl SeededRng {
    /// Creates a generator with the seed in `REALTIME_SEED`, or with a random one, and prints the
    /// seed, so that a failure of this test can be repeated.
    pub fn new(test: &str) -> Self {
        let given = std::env::var("REALTIME_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| RandomState::new().hash_one(test));
        println!("{test}: REALTIME_SEED={seed}");
        Self(seed)
    }

    /// Creates a generator with this seed, which gives the same numbers each time.
    pub fn from_seed(seed: u64) -> Self {
        Self(seed)
    }

    /// Creates an independent generator, such as one for each task.
    pub fn split(&mut self) -> Self {
        Self(self.number())
    }

    /// Returns any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Returns a number below `end`, which must not be zero.
    pub fn below(&mut self, end: usize) -> usize {
        (self.number() % end as u64) as usize
    }

    /// Returns `true` with a probability of one in `n`, which must not be zero.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}
