use std::time::Duration;

use tokio::time::Instant;

/// The check that the client is alive: pings, and any input from it.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    every: Duration,
    timeout: Duration,
    /// The time of the next ping, or the deadline of the answer to the last one.
    due: Instant,
    /// The ping that has no answer yet.
    ping: Option<Ping>,
    /// The number of bytes sent before the last ping that was answered: all of them have been read.
    read: u64,
}

#[derive(Clone, Copy, Debug)]
struct Ping {
    at: Instant,
    /// The number of bytes sent before the ping.
    sent: u64,
    /// `true` if something has come from the client since.
    answered: bool,
    /// `true` if its pong has come.
    ponged: bool,
}

/// The action that is due at [`Heartbeat::due`].
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// No action: the client is alive.
    Alive,
    /// A close of the connection: the client is gone.
    Dead,
    /// A ping.
    Ping,
}

/// The bytes per second that a client is assumed to read at least. A ping is read after all that
/// was sent before it, so a slow reader with much before it has that much longer to answer.
pub(crate) const SLOWEST_READER: u64 = 4096;

/// The longest duration, a year, which the clock can still add; longer ones count as this.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Heartbeat {
    pub(crate) fn new(every: Duration, timeout: Duration, now: Instant) -> Self {
        let (every, timeout) = (every.min(LONGEST), timeout.min(LONGEST));
        Self { every, timeout, due: now + every, ping: None, read: 0 }
    }

    /// Returns the time at which [`Heartbeat::beat`] is to be called next.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Notes that something came from the client.
    pub(crate) fn observe(&mut self) {
        if let Some(ping) = &mut self.ping {
            ping.answered = true;
            self.due = self.due.min(ping.at + self.every);
        }
    }

    /// Notes a pong; returns the time since the ping, if it is the first one.
    pub(crate) fn pong(&mut self, now: Instant) -> Option<Duration> {
        let ping = self.ping.as_mut()?;
        self.read = ping.sent;
        (!std::mem::replace(&mut ping.ponged, true)).then(|| now.saturating_duration_since(ping.at))
    }

    /// Returns what to do now that [`Heartbeat::due`] has passed; with `read_paused` nothing could
    /// come from the client, so that its silence means nothing.
    pub(crate) fn beat(&mut self, now: Instant, sent: u64, read_paused: bool) -> Beat {
        let Some(ping) = self.ping.take() else {
            let unread = Duration::from_secs(sent.saturating_sub(self.read) / SLOWEST_READER);
            self.ping = Some(Ping { at: now, sent, answered: false, ponged: false });
            self.due = now + self.timeout + unread;
            return Beat::Ping;
        };
        if !ping.answered && !read_paused {
            return Beat::Dead;
        }
        self.due = (ping.at + self.every).max(now);
        Beat::Alive
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn heartbeat() -> (Heartbeat, Instant) {
        let now = Instant::now();
        (Heartbeat::new(30 * SECOND, 10 * SECOND, now), now)
    }

    #[test]
    fn silent_client_is_dead_after_the_timeout() {
        let (mut heartbeat, start) = heartbeat();
        assert_eq!(heartbeat.due(), start + 30 * SECOND);
        assert_eq!(heartbeat.beat(heartbeat.due(), 100, false), Beat::Ping);
        assert_eq!(heartbeat.due(), start + 40 * SECOND);
        assert_eq!(heartbeat.beat(heartbeat.due(), 100, false), Beat::Dead);
    }

    #[test]
    fn longest_times_do_not_overflow() {
        let mut heartbeat = Heartbeat::new(Duration::MAX, Duration::MAX, Instant::now());
        assert_eq!(heartbeat.beat(heartbeat.due(), 1 << 40, false), Beat::Ping);
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Dead);
    }

    #[test]
    fn any_input_answers_a_ping_and_the_next_keeps_the_interval() {
        let (mut heartbeat, start) = heartbeat();
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Ping);
        heartbeat.observe();
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Alive);
        assert_eq!(heartbeat.due(), start + 60 * SECOND);
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Ping);
        // While reading was paused nothing could come from the client.
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, true), Beat::Alive);
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Ping);
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Dead);
    }

    #[test]
    fn timeout_above_the_interval_does_not_delay_pings() {
        let now = Instant::now();
        let mut heartbeat = Heartbeat::new(SECOND, 20 * SECOND, now);
        assert_eq!(heartbeat.beat(now + SECOND, 0, false), Beat::Ping);
        assert_eq!(heartbeat.due(), now + 21 * SECOND);
        heartbeat.observe();
        assert_eq!(heartbeat.due(), now + 2 * SECOND);
        assert_eq!(heartbeat.beat(now + 2 * SECOND, 0, false), Beat::Alive);
        assert_eq!(heartbeat.beat(now + 2 * SECOND, 0, false), Beat::Ping);
    }

    #[test]
    fn bytes_sent_before_a_ping_extend_its_timeout() {
        let (mut heartbeat, start) = heartbeat();
        assert_eq!(heartbeat.beat(start + 30 * SECOND, 100 * 4096, false), Beat::Ping);
        assert_eq!(heartbeat.due(), start + 140 * SECOND);
        heartbeat.observe();
        assert_eq!(heartbeat.pong(start + 31 * SECOND), Some(SECOND));
        assert_eq!(heartbeat.pong(start + 32 * SECOND), None, "a pong without a ping");
        assert_eq!(heartbeat.beat(start + 60 * SECOND, 100 * 4096, false), Beat::Alive);
        assert_eq!(heartbeat.beat(start + 60 * SECOND, 105 * 4096, false), Beat::Ping);
        assert_eq!(heartbeat.due(), start + 75 * SECOND);
    }
}
