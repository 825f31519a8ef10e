use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// A timer for streams that have been quiet for too long.
///
/// Sending does not move the timer: when the timer fires, it is set to the rest of the interval, so
/// that a busy stream costs one look at the clock per write, and one timer per interval.
pub(crate) struct Heartbeat {
    every: Duration,
    last: Instant,
    sleep: Pin<Box<Sleep>>,
}

/// The bounds of the interval: out of them a timer would spin or overflow.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Heartbeat {
    pub(crate) fn new(every: Duration) -> Self {
        let every = every.clamp(SHORTEST, LONGEST);
        Self { every, last: Instant::now(), sleep: Box::pin(sleep(every)) }
    }

    /// Notes that something is sent.
    pub(crate) fn sent(&mut self) {
        self.last = Instant::now();
    }

    /// Returns ready when nothing has been sent for the interval; that counts as sent.
    pub(crate) fn poll_due(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            let now = Instant::now();
            let due = self.last + self.every;
            if now >= due {
                self.last = now;
                self.sleep.as_mut().reset(now + self.every);
                return Poll::Ready(());
            }
            self.sleep.as_mut().reset(due);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use super::*;

    const EVERY: Duration = Duration::from_secs(30);

    #[tokio::test(start_paused = true)]
    async fn heartbeat_is_due_after_silence_only() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(EVERY);
        poll_fn(|cx| heartbeat.poll_due(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 30);
        for _ in 0..10 {
            assert!(tokio::time::timeout(EVERY / 2, poll_fn(|cx| heartbeat.poll_due(cx))).await.is_err());
            heartbeat.sent();
        }
        poll_fn(|cx| heartbeat.poll_due(cx)).await;
        assert_eq!(start.elapsed().as_secs(), 30 + 150 + 30);
    }

    #[tokio::test(start_paused = true)]
    async fn extreme_intervals_do_not_spin_or_overflow() {
        let start = Instant::now();
        let mut heartbeat = Heartbeat::new(Duration::ZERO);
        for _ in 0..5 {
            poll_fn(|cx| heartbeat.poll_due(cx)).await;
        }
        assert!(start.elapsed() >= 5 * SHORTEST);
        let mut heartbeat = Heartbeat::new(Duration::MAX);
        assert!(tokio::time::timeout(EVERY, poll_fn(|cx| heartbeat.poll_due(cx))).await.is_err());
    }
}
