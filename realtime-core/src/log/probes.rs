use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::values::error::Error;
use crate::values::health::Health;
use crate::values::node::NodeInfo;

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

impl Probes {
    /// Returns the health of a node by its last probes.
    pub(super) fn health(&self, node: NodeInfo) -> Health {
        let state = self.state();
        let mut health = Health::new(node);
        health.ready = state.missed < MISSED;
        health.probe = state.time;
        health.error = state.error.as_deref().map(str::to_owned);
        health
    }

    /// Returns whether fewer than two probes have failed since the last one that succeeded.
    pub(super) fn is_writable(&self) -> bool {
        self.state().missed < MISSED
    }

    /// Notes the outcome of a probe.
    pub(super) fn note(&self, probed: Result<Duration, Error>) {
        let mut state = self.state();
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
