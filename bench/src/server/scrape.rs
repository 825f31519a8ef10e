//! The work that a server does for a monitoring system that asks for its metrics.

use std::time::Duration;

use realtime_unified::NotificationService;

use crate::Result;

/// Renders the service's metrics at this interval, for as long as the process runs.
///
/// # Errors
/// When a recorder is installed already.
#[cfg(feature = "metrics")]
pub(super) fn begin(service: &NotificationService, every: Duration) -> Result<()> {
    use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};

    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Prefix("realtime_".to_owned()), &realtime_unified::metrics::BUCKETS)?
        .install_recorder()?;
    let service = service.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(every).await;
            service.record_metrics();
            std::hint::black_box(recorder.render());
        }
    });
    Ok(())
}

/// Fails: this build has no metrics.
///
/// # Errors
/// Always.
#[cfg(not(feature = "metrics"))]
pub(super) fn begin(_: &NotificationService, _: Duration) -> Result<()> {
    Err("the server was built without the feature \"metrics\"".into())
}
