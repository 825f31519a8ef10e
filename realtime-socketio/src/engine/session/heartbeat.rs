//! Engine.IO's heartbeat. engineioxide's own would end a session whose pong it has not read in
//! time, even while reading is paused, or while the pong is behind a large message that is still
//! arriving.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::engine::settings::{Heartbeat, MAX_DURATION};

impl EngineSession {
    /// Waits until a ping is due, which ends a GET.
    pub(crate) async fn ping_due(&self) {
        self.until(|| self.liveness.take_ping()).await;
    }

    /// Requests a ping.
    fn ping(&self) {
        self.liveness.request_ping();
        self.notify();
        self.wake_readers();
    }

    /// Returns whether the client counts as alive since this instant.
    fn is_alive_since(&self, instant: Instant, now: Instant, busy: Duration) -> bool {
        self.update_read_paused();
        self.liveness.received_since(instant) || self.liveness.read_paused_for(now).is_some_and(|time| time < busy)
    }
}

/// Pings a client until its session closes, and closes the session if there is no sign of life in
/// time. Any byte from the client is one.
///
/// The first ping is engineioxide's, which is sent immediately.
pub(crate) async fn run(session: Arc<EngineSession>, heartbeat: Heartbeat) {
    let (interval, timeout) = (heartbeat.interval.min(MAX_DURATION), heartbeat.timeout.min(MAX_DURATION));
    let start = Instant::now();
    let mut next = start + interval;
    // The time of the first ping that was not answered.
    let mut unanswered = Some(start);
    loop {
        let due = unanswered.map_or(next, |ping| next.min(ping + timeout));
        tokio::select! {
            biased;
            () = session.closed() => return,
            () = sleep_until(due) => {}
        }
        let now = Instant::now();
        unanswered = unanswered.filter(|ping| !session.is_alive_since(*ping, now, heartbeat.busy));
        if unanswered.is_some_and(|ping| now >= ping + timeout) {
            tracing::debug!("a client did not respond to the heartbeat");
            return session.close_for(Cause::Heartbeat);
        }
        if now >= next {
            next = now + interval;
            unanswered.get_or_insert(now);
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

    /// Starts a session with a heartbeat.
    fn start() -> (Arc<EngineSession>, JoinHandle<()>, Instant) {
        let session = Arc::new(EngineSession::default());
        let heartbeat = tokio::spawn(run(Arc::clone(&session), HEARTBEAT));
        (session, heartbeat, Instant::now())
    }

    #[tokio::test(start_paused = true)]
    async fn silent_client_is_closed_after_timeout_of_first_ping() {
        let (session, heartbeat, started) = start();
        heartbeat.await.unwrap();
        assert_eq!((started.elapsed(), session.cause()), (3 * SECOND, Some(Cause::Heartbeat)));
        assert!(session.liveness.take_ping() && !session.liveness.take_ping(), "pings that were not sent are merged");
    }

    #[tokio::test(start_paused = true)]
    async fn pings_are_sent_at_interval_while_client_sends() {
        let (session, heartbeat, started) = start();
        for n in 1..100 {
            sleep(SECOND * n - started.elapsed() - Duration::from_millis(1)).await;
            assert!(!session.liveness.take_ping(), "{n}");
            session.note_received();
            sleep(Duration::from_millis(2)).await;
            assert!(session.liveness.take_ping(), "{n}");
        }
        session.note_received();
        let quiet = started.elapsed();
        heartbeat.await.unwrap();
        // Counted from the first ping that was not answered.
        assert_eq!((started.elapsed() - quiet).as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn unread_client_is_pinged_and_closed_after_busy_time() {
        let (session, heartbeat, started) = start();
        session.pause();
        for _ in 0..59 {
            sleep(SECOND + Duration::from_millis(1)).await;
            assert!(session.liveness.take_ping());
        }
        heartbeat.await.unwrap();
        let ended = started.elapsed();
        assert!(ended > HEARTBEAT.busy && ended <= HEARTBEAT.busy + HEARTBEAT.timeout + SECOND, "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn timeout_starts_again_when_reading_resumes() {
        let (session, heartbeat, started) = start();
        session.pause();
        session.set_blocked(true);
        sleep(50 * SECOND).await;
        session.resume();
        sleep(5 * SECOND).await;
        session.set_blocked(false);
        heartbeat.await.unwrap();
        let ended = started.elapsed();
        assert!(ended >= 58 * SECOND && ended <= 59 * SECOND, "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn heartbeat_ends_with_the_session() {
        let (session, heartbeat, started) = start();
        sleep(SECOND).await;
        session.close();
        heartbeat.await.unwrap();
        assert_eq!((started.elapsed(), session.cause()), (SECOND, None));
    }
}
