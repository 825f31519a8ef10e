use std::time::Duration;

use tokio::time::Instant;

/// Whether the client is still there: pings, and what is heard of it.
#[derive(Debug)]
pub(crate) struct Heartbeat {
    every: Duration,
    timeout: Duration,
    /// When the next ping goes out, or when the answer to the last one must be here.
    due: Instant,
    /// The ping that waits for an answer.
    ping: Option<Ping>,
    /// Bytes sent up to the last ping that was answered: all of them have been read.
    read: u64,
}

#[derive(Clone, Copy, Debug)]
struct Ping {
    at: Instant,
    /// Bytes sent before it.
    sent: u64,
    /// Something came from the client since.
    heard: bool,
}

/// What is to be done when [`Heartbeat::due`] is over.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Beat {
    /// The client is gone.
    Dead,
    /// A ping is to be sent.
    Ping,
    /// The client is there.
    Well,
}

/// A client is taken to read at least this many bytes in a second. A ping is read after all that was sent before it, so a
/// slow reader with much before it has that much longer to answer.
pub(crate) const SLOWEST_READER: u64 = 4096;

/// A longer time counts as this: a year, which the clock can still add.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 60 * 60);

impl Heartbeat {
    pub(crate) fn new(every: Duration, timeout: Duration, now: Instant) -> Self {
        let (every, timeout) = (every.min(LONGEST), timeout.min(LONGEST));
        Self { every, timeout, due: now + every, ping: None, read: 0 }
    }

    /// When [`Heartbeat::beat`] is to be called next.
    pub(crate) fn due(&self) -> Instant {
        self.due
    }

    /// Something came from the client.
    pub(crate) fn hear(&mut self) {
        if let Some(ping) = &mut self.ping {
            ping.heard = true;
            self.due = self.due.min(ping.at + self.every);
        }
    }

    /// A pong came.
    pub(crate) fn pong(&mut self) {
        if let Some(ping) = self.ping {
            self.read = ping.sent;
        }
    }

    /// Its time is over; `deaf` says that nothing could be heard because reading was paused.
    pub(crate) fn beat(&mut self, now: Instant, sent: u64, deaf: bool) -> Beat {
        let Some(ping) = self.ping.take() else {
            let unread = Duration::from_secs(sent.saturating_sub(self.read) / SLOWEST_READER);
            self.ping = Some(Ping { at: now, sent, heard: false });
            self.due = now + self.timeout + unread;
            return Beat::Ping;
        };
        if !ping.heard && !deaf {
            return Beat::Dead;
        }
        self.due = (ping.at + self.every).max(now);
        Beat::Well
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
    fn a_silent_client_is_dead_after_the_timeout() {
        let (mut heartbeat, start) = heartbeat();
        assert_eq!(heartbeat.due(), start + 30 * SECOND);
        assert_eq!(heartbeat.beat(heartbeat.due(), 100, false), Beat::Ping);
        assert_eq!(heartbeat.due(), start + 40 * SECOND);
        assert_eq!(heartbeat.beat(heartbeat.due(), 100, false), Beat::Dead);
    }

    #[test]
    fn times_without_end_are_no_overflow() {
        let mut heartbeat = Heartbeat::new(Duration::MAX, Duration::MAX, Instant::now());
        assert_eq!(heartbeat.beat(heartbeat.due(), 1 << 40, false), Beat::Ping);
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Dead);
    }

    #[test]
    fn any_sign_of_life_counts_and_the_next_ping_keeps_the_pace() {
        let (mut heartbeat, start) = heartbeat();
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Ping);
        heartbeat.hear();
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Well);
        assert_eq!(heartbeat.due(), start + 60 * SECOND);
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Ping);
        // While reading was paused nothing could be heard.
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, true), Beat::Well);
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Ping);
        assert_eq!(heartbeat.beat(heartbeat.due(), 0, false), Beat::Dead);
    }

    #[test]
    fn a_timeout_longer_than_the_pace_slows_nobody_who_answers() {
        let now = Instant::now();
        let mut heartbeat = Heartbeat::new(SECOND, 20 * SECOND, now);
        assert_eq!(heartbeat.beat(now + SECOND, 0, false), Beat::Ping);
        assert_eq!(heartbeat.due(), now + 21 * SECOND);
        heartbeat.hear();
        assert_eq!(heartbeat.due(), now + 2 * SECOND);
        assert_eq!(heartbeat.beat(now + 2 * SECOND, 0, false), Beat::Well);
        assert_eq!(heartbeat.beat(now + 2 * SECOND, 0, false), Beat::Ping);
    }

    #[test]
    fn what_was_sent_before_the_ping_gives_time_to_read_it() {
        let (mut heartbeat, start) = heartbeat();
        assert_eq!(heartbeat.beat(start + 30 * SECOND, 100 * 4096, false), Beat::Ping);
        assert_eq!(heartbeat.due(), start + 140 * SECOND);
        heartbeat.hear();
        heartbeat.pong();
        assert_eq!(heartbeat.beat(start + 60 * SECOND, 100 * 4096, false), Beat::Well);
        assert_eq!(heartbeat.beat(start + 60 * SECOND, 105 * 4096, false), Beat::Ping);
        assert_eq!(heartbeat.due(), start + 75 * SECOND);
    }
}
