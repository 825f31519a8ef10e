//! What a server does whose spans go to OpenTelemetry.

use realtime_unified::NotificationServiceBuilder;

use crate::Result;

/// Gives the service the propagator, and installs a subscriber from INFO on: it writes to stderr,
/// and has the spans in traces of OpenTelemetry, all of which are sampled and none exported.
///
/// # Errors
/// When a subscriber is installed already.
#[cfg(feature = "otel")]
pub(super) fn begin(builder: NotificationServiceBuilder) -> Result<NotificationServiceBuilder> {
    use opentelemetry::trace::TracerProvider;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use realtime_unified::otel::OtelPropagator;
    use tracing_subscriber::EnvFilter;
    use tracing_subscriber::prelude::*;

    let provider = SdkTracerProvider::builder().build();
    let otel = tracing_opentelemetry::layer().with_tracer(provider.tracer("bench"));
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    tracing_subscriber::registry().with(EnvFilter::new("info")).with(otel).with(log).try_init()?;
    Ok(builder.propagator(OtelPropagator::default()))
}

/// Fails: this build has no OpenTelemetry.
///
/// # Errors
/// Always.
#[cfg(not(feature = "otel"))]
pub(super) fn begin(_: NotificationServiceBuilder) -> Result<NotificationServiceBuilder> {
    Err("the server was built without the feature \"otel\"".into())
}
