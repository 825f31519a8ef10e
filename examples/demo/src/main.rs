//! The demo: all three transports on one port, a page that shows them side by side, and an API for scripts.

mod api;
mod args;
mod auth;
mod handlers;
mod page;
mod wires;

use std::error::Error;
use std::io::IsTerminal;
use std::process::ExitCode;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use clap::Parser;
use realtime_unified::{
    AllowRooms, Drain, NotificationService, RoomDelivery, SocketIoConfig, SocketIoProvider, SseConfig, SseProvider,
    WindowConfig, WireConfig, WsConfig, WsProvider, serve,
};
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::args::Args;
use crate::wires::Wires;

/// How much of a response waits below the outboxes, in bytes: little, so that a slowed client soon shows as one.
const HTTP1_BUFFER: usize = 16 * 1024;

/// How long plain requests may take when all connections have been closed.
const LAST: Duration = Duration::from_secs(1);

#[tokio::main]
async fn main() -> ExitCode {
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
    let window = WindowConfig::default().with_records(args.window);
    let service = handlers::register(NotificationService::builder())
        .provider(SseProvider::new(SseConfig::default().with_room_delivery(RoomDelivery::Members).with_window(window)))
        .provider(WsProvider::new(WsConfig::default().with_window(window)))
        .provider(SocketIoProvider::new(
            // Who waits at a user's limit is to see the end of that.
            SocketIoConfig::default().with_window(window).with_connect_timeout(Duration::from_secs(10)),
        ))
        .authenticator(auth::FromQuery)
        .room_policy(AllowRooms)
        .build()
        .await?;
    let wires = Wires::default();
    let app = Router::new()
        .route("/healthz", get(async || "ok"))
        .merge(api::router(service.clone(), wires.clone()))
        .merge(page::router())
        .merge(service.router())
        .layer(axum::middleware::from_fn_with_state(wires, wires::follow));

    let listener =
        TcpListener::bind(args.listen).await.map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    println!("listening on http://{}", listener.local_addr()?);
    let stop = CancellationToken::new();
    tokio::spawn(stop_on_signal(service, args.drain(), stop.clone()));
    serve(listener, app)
        .with_config(WireConfig::default().with_http1_buffer(HTTP1_BUFFER))
        .with_graceful_shutdown(stop.cancelled_owned())
        .with_deadline(LAST)
        .await?;
    Ok(())
}

/// The first SIGTERM or SIGINT sends the clients away, one after the other, and lets handlers finish; a second one ends
/// the program at once.
async fn stop_on_signal(service: NotificationService, drain: Drain, stop: CancellationToken) {
    let signals = signal(SignalKind::terminate()).and_then(|term| Ok((term, signal(SignalKind::interrupt())?)));
    let (mut term, mut interrupt) = match signals {
        Ok(signals) => signals,
        Err(error) => {
            tracing::error!(%error, "signals cannot be watched");
            return;
        }
    };
    let mut next = async || tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} };
    next().await;
    tracing::info!(hold = ?drain.hold_time(), over = ?drain.duration(), "going down");
    tokio::select! {
        () = service.shutdown(drain) => stop.cancel(),
        () = next() => std::process::exit(1),
    }
    next().await;
    std::process::exit(1);
}
