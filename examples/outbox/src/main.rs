//! A transactional outbox: each committed row reaches its user once, whenever the process is
//! killed, and none of a transaction that was rolled back. The README says why.

mod relay;
mod store;

use std::error::Error;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use clap::Parser;
use realtime_unified::disk::{DiskBackplane, DiskConfig, SyncMode};
use realtime_unified::prelude::*;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tracing_subscriber::EnvFilter;

use crate::relay::{Halt, Relay};
use crate::store::Store;

/// The time for which the log remembers which rows it has, and in which clients can catch up.
const REMEMBERED: Duration = Duration::from_secs(3600);

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3010")]
    listen: SocketAddr,
    /// The directory of the database and of the log.
    #[arg(long, default_value = "outbox-data")]
    data: PathBuf,
    /// Stands still at this point, for tests.
    #[arg(long, hide = true)]
    halt: Option<Halt>,
    /// The number of rows that go through before that.
    #[arg(long, hide = true, default_value_t = 0)]
    halt_after: u64,
}

#[derive(Clone)]
struct App {
    store: Store,
    committed: Arc<Notify>,
}

#[derive(Deserialize)]
struct Order {
    user: String,
    item: String,
}

/// Orders an item; everything else happens after the commit.
async fn order(State(app): State<App>, Query(order): Query<Order>) -> Result<Json<i64>, StatusCode> {
    let ordered = app.store.order(order.user, order.item).await.map_err(|error| {
        tracing::error!(%error, "the database failed");
        StatusCode::INTERNAL_SERVER_ERROR
    })?;
    app.committed.notify_one();
    ordered.map(Json).ok_or(StatusCode::CONFLICT)
}

/// Identifies the user by `?user=`: a real application looks at a session or a token.
async fn by_query(request: ConnectRequest) -> Result<Identity, Refusal> {
    let user = request.query("user").ok_or_else(|| Refusal::unauthorized("user is missing"))?;
    Ok(Identity::user(&user))
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error + Send + Sync>> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    std::fs::create_dir_all(&args.data)?;
    let store = Store::open(&args.data.join("orders.db"))?;
    // A row that is marked as sent must not be lost by the log when the machine loses power.
    let log = DiskConfig::default().with_sync(SyncMode::Always).with_lock_wait(Duration::from_secs(10));
    let window = realtime_unified::config::WindowConfig::default().with_age(REMEMBERED);
    let service = NotificationService::builder()
        .provider(WsProvider::new(WsConfig::default().with_window(window)))
        .authenticator(by_query)
        .backplane(DiskBackplane::open_with(args.data.join("log"), log)?)
        .build()
        .await?;
    let committed = Arc::new(Notify::new());
    let (halt, halt_after) = (args.halt, args.halt_after);
    let relay =
        Relay { service: service.clone(), store: store.clone(), committed: Arc::clone(&committed), halt, halt_after };
    tokio::spawn(relay.run());
    let app = Router::new().route("/orders", post(order)).with_state(App { store, committed });
    let listener = TcpListener::bind(args.listen).await?;
    println!("listening on http://{}", listener.local_addr()?);
    println!("try: curl -X POST 'http://{}/orders?user=ann&item=tea'", listener.local_addr()?);
    service.serve(listener, app, Drain::now()).await?;
    Ok(())
}
