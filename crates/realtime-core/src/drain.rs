use std::time::Duration;

/// How a provider goes down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Drain {
    over: Duration,
}

impl Drain {
    /// Every connection is closed at once.
    pub const fn now() -> Self {
        Self { over: Duration::ZERO }
    }

    /// What is left after this time is cut.
    pub const fn over(over: Duration) -> Self {
        Self { over }
    }

    /// The time it may take.
    pub const fn duration(self) -> Duration {
        self.over
    }
}
