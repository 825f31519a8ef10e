//! Upgrade of a session from long polling to a websocket (Engine.IO protocol 4, "Upgrade").

use std::pin::pin;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::sleep;

/// Time after which a waiting GET ends during a probe; engine.io's interval.
const NOOP_AFTER: Duration = Duration::from_millis(100);

/// Stage of a session between long polling and a websocket.
#[derive(Default)]
pub(crate) struct Upgrade {
    stage: AtomicU8,
    /// Notified when the stage has changed.
    changed: Notify,
}

const POLLING: u8 = 0;
/// A websocket is attached, whose client has not sent the probe yet.
const PROBING: u8 = 1;
/// The probe is answered: the client waits for its GET to end before it switches to the websocket.
const ANSWERED: u8 = 2;
const WEBSOCKET: u8 = 3;

impl Upgrade {
    /// Notes that the session is on a websocket. Returns false if it was before, or if another
    /// websocket is probed.
    pub(crate) fn complete(&self) -> bool {
        self.advance(POLLING, WEBSOCKET)
    }

    /// Returns whether the session is on a websocket.
    pub(crate) fn is_complete(&self) -> bool {
        self.stage() == WEBSOCKET
    }

    /// Waits until a GET has to end with a noop packet, so that its client can continue with a
    /// probe.
    pub(crate) async fn noop_due(&self) {
        loop {
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            match self.stage() {
                ANSWERED => tokio::select! {
                    () = sleep(NOOP_AFTER) => return,
                    () = changed => {}
                },
                // The client has switched without waiting for its GET.
                WEBSOCKET => return,
                _ => changed.await,
            }
        }
    }

    /// Starts a probe. Returns false if another one is under way, or if the session is on a
    /// websocket.
    pub(crate) fn start_probe(&self) -> bool {
        self.advance(POLLING, PROBING)
    }

    /// Notes that the probe was answered.
    pub(crate) fn answer_probe(&self) {
        self.advance(PROBING, ANSWERED);
    }

    /// Notes that the client has switched to the probed websocket.
    pub(crate) fn complete_probe(&self) {
        self.advance(ANSWERED, WEBSOCKET);
    }

    /// Ends a probe that has not succeeded: the session stays on long polling.
    pub(crate) fn abort_probe(&self) {
        let _ = self.advance(PROBING, POLLING) || self.advance(ANSWERED, POLLING);
    }

    /// Returns whether the session is on long polling and no websocket is probed.
    pub(crate) fn is_polling(&self) -> bool {
        self.stage() == POLLING
    }

    fn stage(&self) -> u8 {
        self.stage.load(Ordering::SeqCst)
    }

    fn advance(&self, from: u8, to: u8) -> bool {
        let advanced = self.stage.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok();
        if advanced {
            self.changed.notify_waiters();
        }
        advanced
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
