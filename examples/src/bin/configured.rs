//! The provider chosen by configuration: `--provider`, else `NOTIFY_PROVIDER`, else the file
//! given by `--config`.
//!
//! The code that notifies names no transport. An unknown name ends the program when it starts, with
//! a list of the known ones.

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use realtime_unified::prelude::*;
use serde::Deserialize;
use serde_json::Value;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3006")]
    listen: SocketAddr,
    /// A JSON file: {"provider": "sse"}.
    #[arg(long)]
    config: Option<PathBuf>,
    /// The provider that carries notifications; wins over the environment and the file.
    #[arg(long)]
    provider: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    provider: String,
}

impl Config {
    fn load(args: &Args) -> Result<Self, Box<dyn Error>> {
        let named = args.provider.clone().or_else(|| std::env::var("NOTIFY_PROVIDER").ok());
        if let Some(provider) = named {
            return Ok(Self { provider });
        }
        match &args.config {
            Some(path) => {
                let text = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(serde_json::from_slice(&text).map_err(|error| format!("{}: {error}", path.display()))?)
            }
            None => Ok(Self { provider: "sse".to_owned() }),
        }
    }
}

/// Believes `?user=`, or Socket.IO's `auth.user`. An application verifies a token.
async fn by_name(request: ConnectRequest) -> Result<Identity, Refusal> {
    let user = request.query("user").or_else(|| request.auth_text("user").map(Into::into));
    Ok(Identity::user(user.ok_or_else(|| Refusal::unauthorized("say who you are"))?))
}

#[derive(Clone)]
struct App {
    service: NotificationService,
    provider: String,
}

/// Handles `POST /notify/{user}` with any JSON.
async fn notify(
    State(app): State<App>,
    Path(user): Path<String>,
    Json(data): Json<Value>,
) -> Result<Json<Receipt>, Rejection> {
    Ok(Json(app.service.broadcast_to_user(&app.provider, &user, "notification", &data).await?))
}

async fn run() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    let config = Config::load(&args)?;
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .provider(WsProvider::new(WsConfig::default()))
        .provider(SocketIoProvider::new(SocketIoConfig::default()))
        .authenticator(by_name)
        .build()
        .await?;
    // Looked up here, so that a wrong name is an error at the start and not at the first
    // notification.
    let transport = service.provider(&config.provider)?.name();
    let app = Router::new()
        .route("/notify/{user}", post(notify))
        .with_state(App { service: service.clone(), provider: config.provider })
        .merge(service.router());

    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    let attempt = match transport {
        "sse" => format!("curl -N 'http://{address}/sse?user=ann'"),
        "ws" => format!("npx wscat -c 'ws://{address}/ws?user=ann'"),
        _ => realtime_examples::socket_io_by_hand(address),
    };
    println!("listening on http://{address}\ntry: {attempt}");
    serve(listener, app).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> ExitCode {
    realtime_examples::start_log();
    match run().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
