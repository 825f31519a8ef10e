//! A service's metrics, for whatever recorder of the crate `metrics` is installed; with the feature
//! `metrics`.
//!
//! Everything is counted in plain atomics, whether or not there is a recorder.
//! [`NotificationService::record_metrics`] copies it to the recorder: call it before each
//! rendering, or periodically where the recorder pushes.

pub(crate) mod exported;
mod log;
mod node;
mod provider;
mod seconds;
mod writer;

use crate::metrics::writer::Writer;
use crate::service::NotificationService;

pub use seconds::BUCKETS;

impl NotificationService {
    /// Brings this service's metrics up to date in the recorder that is installed (of the crate
    /// `metrics`): call it before each rendering, or every few seconds where the recorder pushes.
    /// Looks at the outbox of each connection, so not more often than that. One service for one
    /// recorder: the names have no label that tells two apart.
    ///
    /// The names, their labels and what they mean are in `docs/metrics.md`.
    pub fn record_metrics(&self) {
        let mut exported = self.exported().lock();
        let mut writer = Writer::new(&mut exported);
        writer.gauge(
            "realtime_ready",
            "1 while the node accepts connections and the log can be written, else 0.",
            f64::from(u8::from(self.is_ready())),
        );
        node::listeners(&mut writer, &self.listener_stats());
        if let Some(runtime) = self.runtime() {
            node::handshakes(&mut writer, runtime.handshakes.refused());
        }
        if let Some(log) = self.log() {
            log::record(&mut writer, &log.stats(), log.health().probe);
        }
        for (name, stats) in self.stats() {
            provider::record(&mut writer.of_provider(name), &stats);
        }
    }
}
