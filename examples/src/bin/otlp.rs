//! Traces for OpenTelemetry: the spans of two nodes that share a log go to a collector over OTLP
//! (HTTP, protobuf), and those of one message are one trace.
//!
//! The nodes are in one process, at `/a/ws` and `/b/ws`. A client of the first says something,
//! which its handler sends to everyone: `inbound` → `handler` → `publish` on one node → `deliver`
//! on both.
//!
//! A collector with a page: `docker run -p 16686:16686 -p 4318:4318 jaegertracing/jaeger`.

use std::error::Error;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider};
use realtime_unified::memory::{MemoryBackplane, MemoryDirectory};
use realtime_unified::otel::OtelPropagator;
use realtime_unified::prelude::*;
use realtime_unified::shutdown_signal;
use tokio::net::TcpListener;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::{EnvFilter, Layer, prelude::*};

/// The time for which spans are collected before they are sent.
const BATCH: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3008")]
    listen: SocketAddr,
    /// Where the collector takes traces.
    #[arg(long, default_value = "http://127.0.0.1:4318/v1/traces")]
    collector: String,
}

fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let provider = tracer_provider(&args.collector)?;
    start_log(&provider);
    let served = tokio::runtime::Runtime::new()?.block_on(run(args.listen));
    // Sends what has not been sent.
    provider.shutdown()?;
    served
}

fn tracer_provider(collector: &str) -> Result<SdkTracerProvider, Box<dyn Error>> {
    let exporter =
        SpanExporter::builder().with_http().with_protocol(Protocol::HttpBinary).with_endpoint(collector).build()?;
    let config = BatchConfigBuilder::default().with_scheduled_delay(BATCH).build();
    let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
    let resource = Resource::builder().with_service_name("realtime").build();
    Ok(SdkTracerProvider::builder().with_span_processor(processor).with_resource(resource).build())
}

/// Writes lines from INFO on to stderr, or as `RUST_LOG` says, and sends the spans of this service
/// from DEBUG on: those of single events are at that level.
fn start_log(provider: &SdkTracerProvider) {
    let spans = Targets::new().with_target("realtime_core", LevelFilter::DEBUG);
    let otel = tracing_opentelemetry::layer().with_tracer(provider.tracer("realtime")).with_filter(spans);
    let lines = EnvFilter::builder().with_default_directive(LevelFilter::INFO.into()).from_env_lossy();
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_filter(lines);
    tracing_subscriber::registry().with(otel).with(log).init();
}

async fn run(listen: SocketAddr) -> Result<(), Box<dyn Error>> {
    let (log, directory) = (MemoryBackplane::default(), Arc::new(MemoryDirectory::new()));
    let node = async |name: &str| {
        let ws = WsConfig::default().with_path(format!("/{name}/ws")).with_traceparent(true);
        NotificationService::builder()
            .provider(WsProvider::new(ws))
            .allow_anonymous()
            .on("say", async |cx: Context, text: String| cx.to_all().send("said", &text).await)
            .backplane(log.clone())
            .directory(Arc::clone(&directory))
            .node_name(name)
            .propagator(OtelPropagator::default())
            .build()
            .await
    };
    let (one, other) = (node("a").await?, node("b").await?);

    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    println!(r#"try: npx wscat -c 'ws://{address}/a/ws' -x '{{"type":"say","payload":"hello"}}'"#);
    let routes = one.router().merge(other.router());
    serve(listener, routes).with_graceful_shutdown(shutdown_signal()).await?;
    Ok(())
}
