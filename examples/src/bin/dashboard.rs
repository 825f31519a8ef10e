//! A dashboard over Server-Sent Events: open the printed address in a browser, in two windows if
//! you like.
//!
//! Every client gets `online` once a second; `metric-update` goes to those of
//! `/sse?channel=dashboard`.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use clap::Parser;
use realtime_unified::prelude::*;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};

const TICK: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3001")]
    listen: SocketAddr,
}

/// Takes the name from `?user=`, and accepts clients without one too. An application looks at a
/// session or a token.
async fn by_name(request: ConnectRequest) -> Result<Identity, Refusal> {
    Ok(request.query("user").map_or_else(Identity::anonymous, Identity::user))
}

/// Allows every client the dashboard, and no other room.
async fn dashboard_only(_: Context, room: String) -> RoomAccess {
    if room == "dashboard" { RoomAccess::Allow } else { RoomAccess::Deny }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let args = Args::parse();
    realtime_examples::start_log();
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .authenticator(by_name)
        .room_policy(dashboard_only)
        .build()
        .await?;
    let app = Router::new().route("/", get(Html(PAGE)));

    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}\ntry: curl -N 'http://{address}/sse?channel=dashboard'");
    tokio::spawn(push_every_second(service.clone()));
    // On SIGTERM or ctrl-C the service closes the event streams, which do not end by themselves.
    Ok(service.serve(listener, app, Drain::over(Duration::from_secs(5))).await?)
}

async fn push_every_second(service: NotificationService) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut previously_sent = 0;
    loop {
        tick.tick().await;
        if let Err(error) = push(&service, &mut previously_sent).await {
            tracing::warn!(%error, "metrics not sent");
        }
    }
}

async fn push(service: &NotificationService, previously_sent: &mut u64) -> Result<(), realtime_unified::Error> {
    let stats = service.provider("sse")?.stats();
    service.to_all("online", &json!({ "connections": stats.connections })).await?;
    let metrics = json!({ "users": stats.users, "eventsPerSecond": stats.events_out - *previously_sent });
    *previously_sent = stats.events_out;
    // Volatile: a client that reconnects wants the newest numbers, not all the old ones.
    let event = Event::json("metric-update", &metrics)?.as_volatile();
    service.send(Target::room("dashboard"), event).await?;
    Ok(())
}

const PAGE: &str = r#"<!doctype html>
<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Dashboard</title>
<style>body { font: 1.2rem system-ui; margin: 3rem } b { font-size: 3rem; display: block }</style>
<h1>Dashboard</h1>
<p><b id="connections">–</b> connections <p><b id="users">–</b> users <p><b id="eventsPerSecond">–</b> events per second
<script>
  const user = new URLSearchParams(location.search).get('user');
  const query = new URLSearchParams({ channel: 'dashboard', ...(user && { user }) });
  const source = new EventSource(`/sse?${query}`);
  const show = ({ data }) => {
    for (const [name, value] of Object.entries(JSON.parse(data))) document.getElementById(name).textContent = value;
  };
  source.addEventListener('online', show);
  source.addEventListener('metric-update', show);
</script>
"#;
