//! Engine.IO's heartbeat, in our hands: engineioxide ends a session whose pong it has not read in time, also when it is this
//! side that does not read, or when the pong stands behind something large that is still coming in.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::engine::cause::Cause;
use crate::engine::session::EngineSession;
use crate::engine::settings::{Heartbeat, LONGEST};

/// What is known of the client's being there.
pub(crate) struct Life {
    begun: Instant,
    /// When something came from the client, in microseconds from the begin on; zero is never.
    heard: AtomicU64,
    /// The same for the moment from which on nothing is read; zero is "it is read".
    deaf: AtomicU64,
    /// A ping is due.
    ping: AtomicBool,
}

impl Default for Life {
    fn default() -> Self {
        Self { begun: Instant::now(), heard: AtomicU64::new(0), deaf: AtomicU64::new(0), ping: AtomicBool::new(false) }
    }
}

impl Life {
    /// Never zero.
    fn at(&self, instant: Instant) -> u64 {
        let elapsed = instant.saturating_duration_since(self.begun);
        u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX - 1) + 1
    }

    fn hear(&self) {
        self.heard.fetch_max(self.at(Instant::now()), Ordering::Relaxed);
    }

    fn heard_since(&self, instant: Instant) -> bool {
        self.heard.load(Ordering::Relaxed) >= self.at(instant)
    }

    /// How long nothing has been read.
    fn deaf_for(&self, now: Instant) -> Option<Duration> {
        let since = self.deaf.load(Ordering::SeqCst);
        (since != 0).then(|| Duration::from_micros(self.at(now).saturating_sub(since)))
    }

    fn set_deaf(&self, deaf: bool) {
        if deaf {
            let now = self.at(Instant::now());
            let _ = self.deaf.compare_exchange(0, now, Ordering::SeqCst, Ordering::SeqCst);
        } else if self.deaf.load(Ordering::Relaxed) != 0 && self.deaf.swap(0, Ordering::SeqCst) != 0 {
            // What the client had sent by now is only about to be read.
            self.hear();
        }
    }
}

/// The session's part of it.
impl EngineSession {
    /// Something came from the client.
    pub(crate) fn hear(&self) {
        self.life.hear();
        self.beat();
    }

    /// To be called when reading stops or goes on, after that was noted.
    pub(crate) fn note_deaf(&self) {
        self.life.set_deaf(self.is_paused() || self.is_blocked());
    }

    /// Whether a ping is to be sent now, once for each time that one is due.
    pub(crate) fn takes_ping(&self) -> bool {
        self.life.ping.load(Ordering::Relaxed) && self.life.ping.swap(false, Ordering::SeqCst)
    }

    /// Waits until a GET is to end with a ping.
    pub(crate) async fn ping_due(&self) {
        self.until(|| self.takes_ping()).await;
    }

    fn ping(&self) {
        self.life.ping.store(true, Ordering::SeqCst);
        self.heard();
        self.wake_readers();
    }

    fn lives_since(&self, instant: Instant, now: Instant, busy: Duration) -> bool {
        self.note_deaf();
        self.life.heard_since(instant) || self.life.deaf_for(now).is_some_and(|time| time < busy)
    }
}

/// Pings a client until its session ends, and ends that when it gives no sign of life in time: anything that comes counts.
///
/// The first ping is engineioxide's, which goes out at once.
pub(crate) async fn watch(session: Arc<EngineSession>, heartbeat: Heartbeat) {
    let (interval, timeout) = (heartbeat.interval.min(LONGEST), heartbeat.timeout.min(LONGEST));
    let begun = Instant::now();
    let mut next = begun + interval;
    // The first ping that was not answered.
    let mut asked = Some(begun);
    loop {
        let due = asked.map_or(next, |asked| next.min(asked + timeout));
        tokio::select! {
            biased;
            () = session.closed() => return,
            () = sleep_until(due) => {}
        }
        let now = Instant::now();
        asked = asked.filter(|asked| !session.lives_since(*asked, now, heartbeat.busy));
        if asked.is_some_and(|asked| now >= asked + timeout) {
            tracing::debug!("a client gave no sign of life");
            return session.close_for(Cause::Heartbeat);
        }
        if now >= next {
            next = now + interval;
            asked.get_or_insert(now);
            session.ping();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::task::JoinHandle;
    use tokio::time::sleep;

    const SECOND: Duration = Duration::from_secs(1);
    const HEARTBEAT: Heartbeat =
        Heartbeat { interval: SECOND, timeout: Duration::from_secs(3), busy: Duration::from_secs(60) };

    fn watched() -> (Arc<EngineSession>, JoinHandle<()>, Instant) {
        let session = Arc::new(EngineSession::default());
        let watching = tokio::spawn(watch(Arc::clone(&session), HEARTBEAT));
        (session, watching, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_client_has_the_timeout_of_the_first_ping() {
        let (session, watching, begun) = watched();
        watching.await.unwrap();
        assert_eq!((begun.elapsed(), session.cause()), (3 * SECOND, Some(Cause::Heartbeat)));
        assert!(session.takes_ping() && !session.takes_ping(), "those that were not taken are one");
    }

    #[tokio::test(start_paused = true)]
    async fn pings_keep_their_pace_while_anything_comes() {
        let (session, watching, begun) = watched();
        for n in 1..100 {
            sleep(SECOND * n - begun.elapsed() - Duration::from_millis(1)).await;
            assert!(!session.takes_ping(), "{n}");
            session.hear();
            sleep(Duration::from_millis(2)).await;
            assert!(session.takes_ping(), "{n}");
        }
        session.hear();
        let quiet = begun.elapsed();
        watching.await.unwrap();
        // From the first ping on that it has not answered.
        assert_eq!((begun.elapsed() - quiet).as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_not_read_is_there_for_so_long_and_pinged_all_the_time() {
        let (session, watching, begun) = watched();
        session.pause();
        for _ in 0..59 {
            sleep(SECOND + Duration::from_millis(1)).await;
            assert!(session.takes_ping());
        }
        watching.await.unwrap();
        let ended = begun.elapsed();
        assert!(ended > HEARTBEAT.busy && ended <= HEARTBEAT.busy + HEARTBEAT.timeout + SECOND, "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_client_that_is_read_again_begins_then() {
        let (session, watching, begun) = watched();
        session.pause();
        session.block(true);
        sleep(50 * SECOND).await;
        session.resume();
        sleep(5 * SECOND).await;
        session.block(false);
        watching.await.unwrap();
        let ended = begun.elapsed();
        assert!(ended >= 58 * SECOND && ended <= 59 * SECOND, "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_the_session() {
        let (session, watching, begun) = watched();
        sleep(SECOND).await;
        session.close();
        watching.await.unwrap();
        assert_eq!((begun.elapsed(), session.cause()), (SECOND, None));
    }
}
