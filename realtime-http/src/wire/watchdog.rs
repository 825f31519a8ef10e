use std::sync::{Arc, atomic::Ordering::SeqCst};
use std::time::Duration;

use crate::wire::{WATCHED, Wire};

impl Wire {
    /// Waits until the blocked write, or a later one, has been blocked for too long, then aborts
    /// the connection; returns when no write is blocked.
    pub(crate) async fn watch(self: Arc<Self>) {
        let mut since = self.stalled_since.load(SeqCst);
        loop {
            if since == 0 {
                self.flags.fetch_and(!WATCHED, SeqCst);
                since = self.stalled_since.load(SeqCst);
                // A write that was blocked in between has started a watchdog itself, or relies on
                // this one.
                if since == 0 || self.flags.fetch_or(WATCHED, SeqCst) & WATCHED != 0 {
                    return;
                }
            }
            let begun = self.shared.epoch + Duration::from_micros(since);
            // A deadline beyond the clock's range is never reached.
            let Some(deadline) = begun.checked_add(self.shared.write_stall) else {
                return std::future::pending().await;
            };
            tokio::time::sleep_until(deadline).await;
            let now = self.stalled_since.load(SeqCst);
            if now == since {
                self.stall();
                return;
            }
            since = now;
        }
    }
}
