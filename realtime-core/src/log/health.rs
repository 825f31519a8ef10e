//! The probe: whether the log can be written now, and how long that takes.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::log::handle::Log;
use crate::log::shared::Shared;
use crate::values::error::Error;
use crate::values::health::Health;

/// The interval between two probes.
const INTERVAL: Duration = Duration::from_secs(1);
/// The longest time that a probe may take.
const TIMEOUT: Duration = Duration::from_secs(2);
/// The number of consecutive probes that fail before the log counts as not writable.
const MISSED: u32 = 2;

/// The outcome of the last probes.
#[derive(Default)]
pub(crate) struct Probes(Mutex<State>);

#[derive(Default)]
struct State {
    time: Option<Duration>,
    error: Option<Arc<str>>,
    missed: u32,
}

impl Log {
    /// Returns this node, whether the log can be written, and how long that takes.
    #[must_use]
    pub fn health(&self) -> Health {
        let state = self.0.probes.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut health = Health::new(self.0.node.clone());
        health.ready = state.missed < MISSED;
        health.probe = state.time;
        health.error = state.error.as_deref().map(str::to_owned);
        health
    }

    /// Returns whether the log can be written: fewer than two probes have failed since the last one
    /// that succeeded.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        self.0.probes.0.lock().unwrap_or_else(PoisonError::into_inner).missed < MISSED
    }
}

impl Shared {
    /// Probes the log every second until the future is dropped.
    pub(super) async fn watch_health(self: Arc<Self>) {
        let mut ticks = interval(INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let start = Instant::now();
            let probed = timeout(TIMEOUT, self.backplane.probe()).await;
            let probed = probed.unwrap_or_else(|_| Err(Error::Backplane("the probe was not answered in time".into())));
            self.probes.note(probed.map(|()| start.elapsed()));
        }
    }
}

impl Probes {
    fn note(&self, probed: Result<Duration, Error>) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match probed {
            Ok(time) => {
                if state.missed >= MISSED {
                    tracing::info!(?time, "the log can be written again");
                }
                *state = State { time: Some(time), error: None, missed: 0 };
            }
            Err(error) => {
                state.missed = state.missed.saturating_add(1);
                if state.missed == MISSED {
                    tracing::warn!(%error, "the log cannot be written; this node is not ready");
                }
                state.error = Some(error.to_string().into());
                state.time = None;
            }
        }
    }
}
