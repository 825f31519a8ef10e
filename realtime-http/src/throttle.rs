//! The rate limit of writes, and of accepts.

use std::{
    num::NonZeroU32,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::time::{Instant, Sleep, sleep_until};

/// The part of a second whose bytes are written immediately.
const WRITES: Duration = Duration::from_millis(100);
/// The part of a second whose connections are accepted together: few, so that they do not delay
/// what is sent meanwhile.
const ACCEPTS: Duration = Duration::from_millis(10);

/// A token bucket for the bytes of one stream, or the accepts of a listener, stored as the moment
/// when it will be full again.
#[derive(Debug)]
pub(crate) struct Throttle {
    full_at: Instant,
    /// The part of a second whose bytes are not delayed.
    burst: Duration,
    /// The timer, created by the first write that has to wait.
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Throttle {
    /// Creates the full bucket of a stream's writes.
    pub(crate) fn of_writes() -> Self {
        Self::new(WRITES)
    }

    /// Creates the full bucket of a listener's accepts.
    pub(crate) fn of_accepts() -> Self {
        Self::new(ACCEPTS)
    }

    fn new(burst: Duration) -> Self {
        Self { full_at: Instant::now(), burst, sleep: None }
    }

    /// Waits until `wanted` bytes may be written, or as many as may ever be written together, and
    /// returns that number.
    pub(crate) fn poll_turn(&mut self, cx: &mut Context<'_>, rate: NonZeroU32, wanted: usize) -> Poll<usize> {
        // With a rate of less than a byte in that time, single bytes are written.
        let window = self.burst.max(cost(1, rate));
        let bytes = wanted.min(at_once(rate, self.burst));
        loop {
            let now = Instant::now();
            let full_at = self.full_at.max(now) + cost(bytes, rate);
            if full_at <= now + window {
                return Poll::Ready(bytes);
            }
            let turn = full_at - window;
            let sleep = self.sleep.get_or_insert_with(|| Box::pin(sleep_until(turn)));
            if sleep.deadline() != turn {
                sleep.as_mut().reset(turn);
            }
            ready!(sleep.as_mut().poll(cx));
        }
    }

    /// Counts written bytes.
    pub(crate) fn spend(&mut self, bytes: usize, rate: NonZeroU32) {
        self.full_at = self.full_at.max(Instant::now()) + cost(bytes, rate);
    }
}

/// Returns the time that this many bytes take at this rate.
fn cost(bytes: usize, rate: NonZeroU32) -> Duration {
    Duration::from_secs(bytes as u64) / rate.get()
}

fn at_once(rate: NonZeroU32, burst: Duration) -> usize {
    let per_second = Duration::from_secs(1).as_millis() / burst.as_millis();
    (rate.get() as usize / per_second as usize).max(1)
}
