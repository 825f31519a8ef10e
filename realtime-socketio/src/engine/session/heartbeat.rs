//! Engine.IO's heartbeat. engineioxide's own would end a session whose pong it has not read in time, even while this side does
//! not read, or while the pong stands behind a large message that is still arriving.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::engine::settings::{Heartbeat, LONGEST};

impl EngineSession {
    /// Waits until a ping is due, which ends a GET.
    pub(crate) async fn ping_due(&self) {
        self.until(|| self.liveness.takes_ping()).await;
    }

    fn ping(&self) {
        self.liveness.want_ping();
        self.notify();
        self.wake_readers();
    }

    fn lives_since(&self, instant: Instant, now: Instant, busy: Duration) -> bool {
        self.note_unread();
        self.liveness.received_since(instant) || self.liveness.unread_for(now).is_some_and(|time| time < busy)
    }
}

/// Pings a client until its session ends, and ends the session if there is no sign of life in time. Any byte from the client is one.
///
/// The first ping is engineioxide's, which is sent at once.
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
        assert!(session.liveness.takes_ping() && !session.liveness.takes_ping(), "those that were not taken are one");
    }

    #[tokio::test(start_paused = true)]
    async fn pings_keep_their_pace_while_anything_comes() {
        let (session, watching, begun) = watched();
        for n in 1..100 {
            sleep(SECOND * n - begun.elapsed() - Duration::from_millis(1)).await;
            assert!(!session.liveness.takes_ping(), "{n}");
            session.note_received();
            sleep(Duration::from_millis(2)).await;
            assert!(session.liveness.takes_ping(), "{n}");
        }
        session.note_received();
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
            assert!(session.liveness.takes_ping());
        }
        watching.await.unwrap();
        let ended = begun.elapsed();
        assert!(ended > HEARTBEAT.busy && ended <= HEARTBEAT.busy + HEARTBEAT.timeout + SECOND, "{ended:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_of_a_client_that_is_read_again_begins_then() {
        let (session, watching, begun) = watched();
        session.pause();
        session.set_blocked(true);
        sleep(50 * SECOND).await;
        session.resume();
        sleep(5 * SECOND).await;
        session.set_blocked(false);
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
