//! Upgrade of a session from long polling to a websocket (Engine.IO protocol 4, "Upgrade").

use std::pin::pin;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// Time after which a waiting GET ends during a probe; engine.io's interval.
const NOOP_AFTER: Duration = Duration::from_millis(100);

/// Stage of a session between long polling and a websocket.
#[derive(Default)]
pub(crate) struct Upgrade {
    stage: Mutex<Stage>,
    /// Notified when the stage has changed.
    changed: Notify,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Stage {
    /// The session is on long polling.
    #[default]
    Polling,
    /// A websocket is attached, whose client has not sent the probe yet.
    Probing,
    /// The probe is answered: the client waits for its GET to end before it switches to the
    /// websocket.
    Answered,
    /// The session is on a websocket.
    Websocket,
}

impl Upgrade {
    /// Notes that the session is on a websocket. Returns false if it was before, or if another
    /// websocket is probed.
    pub(crate) fn complete(&self) -> bool {
        self.advance(Stage::Polling, Stage::Websocket)
    }

    /// Returns whether the session is on a websocket.
    pub(crate) fn is_complete(&self) -> bool {
        self.stage() == Stage::Websocket
    }

    /// Waits until a GET has to end with a noop packet, so that its client can continue with a
    /// probe.
    pub(crate) async fn noop_due(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.stage() {
                Stage::Answered => tokio::select! {
                    () = sleep(NOOP_AFTER) => return,
                    () = changed => {}
                },
                // The client has switched without waiting for its GET.
                Stage::Websocket => return,
                _ => changed.await,
            }
        }
    }

    /// Starts a probe. Returns false if another one is under way, or if the session is on a
    /// websocket.
    pub(crate) fn start_probe(&self) -> bool {
        self.advance(Stage::Polling, Stage::Probing)
    }

    /// Notes that the probe was answered.
    pub(crate) fn answer_probe(&self) {
        self.advance(Stage::Probing, Stage::Answered);
    }

    /// Notes that the client has switched to the probed websocket.
    pub(crate) fn complete_probe(&self) {
        self.advance(Stage::Answered, Stage::Websocket);
    }

    /// Ends a probe that has not succeeded: the session stays on long polling.
    pub(crate) fn abort_probe(&self) {
        let _ = self.advance(Stage::Probing, Stage::Polling) || self.advance(Stage::Answered, Stage::Polling);
    }

    /// Returns whether the session is on long polling and no websocket is probed.
    pub(crate) fn is_polling(&self) -> bool {
        self.stage() == Stage::Polling
    }

    fn stage(&self) -> Stage {
        *self.lock()
    }

    fn advance(&self, from: Stage, to: Stage) -> bool {
        let mut stage = self.lock();
        if *stage != from {
            return false;
        }
        *stage = to;
        drop(stage);
        self.changed.notify_waiters();
        true
    }

    fn lock(&self) -> MutexGuard<'_, Stage> {
        self.stage.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::FutureExt;
    use tokio::time::{Instant, timeout};

    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test(start_paused = true)]
    async fn get_ends_100_ms_after_probe_answer_or_with_upgrade() {
        let upgrade = Upgrade::default();
        let mut noop = Box::pin(upgrade.noop_due());
        assert!(upgrade.start_probe());
        assert!(timeout(LONG, &mut noop).await.is_err(), "the probe has not arrived");
        upgrade.answer_probe();
        assert!(timeout(Duration::from_millis(99), &mut noop).await.is_err());
        upgrade.abort_probe();
        assert!(timeout(LONG, &mut noop).await.is_err(), "there is no probe");
        assert!(upgrade.start_probe());
        upgrade.answer_probe();
        let start = Instant::now();
        noop.await;
        assert_eq!(start.elapsed(), NOOP_AFTER);
        assert!(upgrade.noop_due().now_or_never().is_none(), "the next GET waits as long");
        upgrade.complete_probe();
        upgrade.noop_due().now_or_never().expect("immediately");
    }
}
