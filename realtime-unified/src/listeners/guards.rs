use std::sync::{Mutex, PoisonError};

use realtime_http::{Guard, ListenerStats};

/// The guards of the listeners that a service is served on.
#[derive(Default)]
pub(crate) struct Guards(Mutex<Vec<Guard>>);

impl Guards {
    pub(super) fn add(&self, guard: Guard) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(guard);
    }

    pub(super) fn stats(&self) -> ListenerStats {
        let mut sum = ListenerStats::default();
        for guard in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            let ListenerStats { open, pending, idle, delayed, ended, .. } = guard.stats();
            sum.open += open;
            sum.pending += pending;
            sum.idle += idle;
            sum.delayed += delayed;
            for (reason, count) in ended {
                *sum.ended.entry(reason).or_default() += count;
            }
        }
        sum
    }
}
