use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::time::{Instant, Sleep, sleep};

/// Says when a stream has been quiet for too long.
///
/// The timer is not moved by what is sent: when it fires it is set anew to what is left, so a busy stream costs a look
/// at the clock per write, and one timer per interval.
pub(crate) struct Heartbeat {
    every: Duration,
    last: Instant,
    sleep: Pin<Box<Sleep>>,
}

/// Intervals out of these bounds would make a timer spin or overflow.
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

impl Heartbeat {
    pub(crate) fn new(every: Duration) -> Self {
        let every = every.clamp(SHORTEST, LONGEST);
        Self { every, last: Instant::now(), sleep: Box::pin(sleep(every)) }
    }

    /// Notes that something is being sent.
    pub(crate) fn sent(&mut self) {
        self.last = Instant::now();
    }

    /// Ready when nothing has been sent for the interval; that counts as sent.
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
    async fn it_beats_after_silence_only() {
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
    async fn extreme_intervals_neither_spin_nor_overflow() {
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
