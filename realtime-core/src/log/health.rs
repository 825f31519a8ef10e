//! The probe: whether the log can be written now, and how long that takes.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::log::handle::Log;
use crate::log::shared::Shared;
use crate::values::error::Error;
use crate::values::health::Health;
use crate::values::stamp::ENABLED;

/// The interval between two probes.
const INTERVAL: Duration = Duration::from_secs(1);
/// The number of probes after which the log is asked again what it holds, for metrics.
const SIZES: u32 = 5;
/// The longest time that a probe may take.
const TIMEOUT: Duration = Duration::from_secs(2);

impl Log {
    /// Returns this node, whether the log can be written, and how long that takes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.0.probes.health(self.0.node.clone())
    }

    /// Returns whether the log can be written: fewer than two probes have failed since the last one
    /// that succeeded.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.0.probes.is_writable()
    }
}

impl Shared {
    /// Probes the log every second until the future is dropped.
    pub(super) async fn watch_health(self: Arc<Self>) {
        let mut sizes = (0..SIZES).cycle();
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let start = Instant::now();
            let probed = timeout(TIMEOUT, self.backplane.probe()).await;
            let probed = probed.unwrap_or_else(|_| Err(Error::Backplane("the probe was not answered in time".into())));
            let has_answered = probed.is_ok();
            self.probes.note(probed.map(|()| start.elapsed()));
            if ENABLED && has_answered && sizes.next() == Some(0) {
                let _ = timeout(TIMEOUT, self.note_size()).await;
            }
        }
    }
}
