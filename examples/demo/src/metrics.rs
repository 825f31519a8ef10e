//! `GET /metrics` in the text format of Prometheus.

use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;
use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use realtime_unified::NotificationService;
use realtime_unified::metrics::BUCKETS;

/// The interval at which the recorder empties the histograms that nobody has asked for.
const UPKEEP: Duration = Duration::from_secs(5);

/// Installs the recorder of this process, and returns the route that shows what it has.
///
/// # Errors
/// When another recorder is installed already.
pub(crate) fn router(service: NotificationService) -> Result<Router, BuildError> {
    let recorder = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Prefix("realtime_".to_owned()), &BUCKETS)?
        .install_recorder()?;
    tokio::spawn(upkeep(recorder.clone()));
    Ok(Router::new().route("/metrics", get(render)).with_state((service, recorder)))
}

async fn render(State((service, recorder)): State<(NotificationService, PrometheusHandle)>) -> impl IntoResponse {
    service.record_metrics();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], recorder.render())
}

/// An application's own histograms grow between two renderings without this.
async fn upkeep(recorder: PrometheusHandle) {
    loop {
        tokio::time::sleep(UPKEEP).await;
        recorder.run_upkeep();
    }
}
