//! The setup of a server whose spans go to OpenTelemetry.

use realtime_unified::NotificationServiceBuilder;

use crate::Result;

/// Gives the service the propagator, and installs a subscriber: it has the spans from `level` on in
/// traces of OpenTelemetry, all of which are sampled and none exported, and logs to stderr from
/// INFO on.
///
/// # Errors
/// When there is no such level, or a subscriber is installed already.
#[cfg(feature = "otel")]
pub(super) fn begin(builder: NotificationServiceBuilder, level: &str) -> Result<NotificationServiceBuilder> {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use realtime_unified::otel::OtelPropagator;
    use tracing_subscriber::filter::LevelFilter;
    use tracing_subscriber::prelude::*;

    let provider = SdkTracerProvider::builder().build();
    let level: LevelFilter = level.parse()?;
    let otel = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench")).with_filter(level);
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(LevelFilter::INFO);
    tracing_subscriber::registry().with(otel).with(log).try_init()?;
    Ok(builder.propagator(OtelPropagator::default()))
}

/// Fails: this build has no OpenTelemetry.
///
/// # Errors
/// Always.
#[cfg(not(feature = "otel"))]
pub(super) fn begin(_: NotificationServiceBuilder, _: &str) -> Result<NotificationServiceBuilder> {
    Err("the server was built without the feature \"otel\"".into())
}
