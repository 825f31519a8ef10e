//! The demo: all three transports on one port, a page that shows them side by side, and an API
//! for scripts.

mod api;
mod args;
mod auth;
mod files;
mod handlers;
mod limits;
mod memory;
mod metrics;
mod page;
mod wires;

use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use clap::Parser;
use realtime_unified::Tls;
use realtime_unified::config::{RoomDelivery, WindowConfig};
use realtime_unified::http::WireConfig;
use realtime_unified::prelude::*;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::wires::Wires;

/// The bytes of a response that wait below the outboxes: few, so that a slowed-down client soon
/// shows as one.
const HTTP1_BUFFER: usize = 16 * 1024;

/// The time for plain requests once all connections have been closed.
const LAST: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    // Before there are other threads.
    memory::return_at_once();
    serve_demo()
}

#[tokio::main]
async fn serve_demo() -> ExitCode {
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run() -> Result<(), Box<dyn Error>> {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env().unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .init();
    let args = Args::parse();
    args.check()?;
    let tls = args.tls()?;
    let window = WindowConfig::default().with_records(args.window);
    let limits = args.limits.of_provider();
    let mut builder = args.limits.apply(args.with_log(NotificationService::builder()).await?);
    if let Some(name) = &args.node {
        builder = builder.node_name(name);
    }
    let service = handlers::register(builder)
        .provider(SseProvider::new(SseConfig::default().with_room_delivery(RoomDelivery::Members).with_window(window)))
        .provider(WsProvider::new(WsConfig::default().with_window(window).with_limits(limits)))
        .provider(SocketIoProvider::new(
            // Short, so that a client that waits at its user's limit sees the timeout.
            SocketIoConfig::default()
                .with_window(window)
                .with_limits(limits)
                .with_connect_timeout(Duration::from_secs(10)),
        ))
        .authenticator(auth::from_query(args.token_life()))
        .room_policy(AllowRooms)
        .build()
        .await?;
    let wires = Wires::default();
    let app = Router::new()
        .route("/healthz", get(async || "ok"))
        .merge(api::router(service.clone(), wires.clone()))
        .merge(metrics::router(service.clone())?)
        .merge(page::router())
        .merge(service.router())
        .layer(axum::middleware::from_fn_with_state(wires, wires::follow));

    let listener =
        TcpListener::bind(args.listen).await.map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    println!("listening on {scheme}://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(service.clone(), args.drain(), stop.clone()));
    let mut server = serve(listener, app)
        .with_config(WireConfig::default().with_http1_buffer(HTTP1_BUFFER))
        .with_observer(move |guard| service.observe_listener(guard))
        .with_graceful_shutdown(stop.cancelled_owned())
        .with_deadline(LAST);
    if let Some(tls) = tls {
        // Before the first connection: without a handler SIGHUP ends the process.
        let hangup = signal(SignalKind::hangup())?;
        tokio::spawn(reload_on_signal(tls.clone(), hangup));
        server = server.with_tls(tls);
    }
    Ok(server.await?)
}

/// Reads the certificate again on each SIGHUP; one that is broken is logged, and the old one stays.
async fn reload_on_signal(tls: Tls, mut hangup: Signal) {
    while hangup.recv().await.is_some() {
        let _ = tls.reload();
    }
}

/// Closes the connections one after the other on the first SIGTERM or SIGINT, and lets handlers
/// finish; exits immediately on the second.
async fn stop_on_signal(service: NotificationService, drain: Drain, stop: CancellationToken) {
    let signals = signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    let (mut term, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "cannot watch for signals");
            return;
        }
    };
    let mut next = async || tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} };
    next().await;
    tracing::info!(hold = ?drain.hold(), over = ?drain.duration(), "shutting down");
    tokio::select! {
        () = service.shutdown(drain) => stop.cancel(),
        () = next() => std::process::exit(1),
    }
    next().await;
    std::process::exit(1);
}
