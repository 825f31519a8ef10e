//! A dashboard over Server-Sent Events: open the printed address in a browser, in two windows if you like.
//!
//! Everyone gets `online` once a second; `metric-update` goes to those who asked for `/sse?channel=dashboard`.

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::response::Html;
use axum::routing::get;
use clap::Parser;
use realtime_unified::async_trait;
use realtime_unified::{
    Authenticator, ConnectRequest, Context, Drain, Event, Identity, NotificationService, Refusal, Result, RoomAccess,
    RoomPolicy, SseConfig, SseProvider, Target, serve,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::time::{MissedTickBehavior, interval};

const TICK: Duration = Duration::from_secs(1);

#[derive(Parser)]
struct Args {
    /// Where to listen; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3001")]
    listen: SocketAddr,
}

/// Takes the name from `?user=`, and lets people without one watch too. An application looks at a session or a token.
struct ByName;

#[async_trait]
impl Authenticator for ByName {
    async fn authenticate(&self, request: &ConnectRequest) -> Result<Identity, Refusal> {
        Ok(request.query("user").map_or_else(Identity::anonymous, |user| Identity::user(&*user)))
    }
}

/// Everybody may watch the dashboard, and nothing else by naming it.
struct DashboardOnly;

#[async_trait]
impl RoomPolicy for DashboardOnly {
    async fn access(&self, _: &Context, room: &str) -> RoomAccess {
        if room == "dashboard" { RoomAccess::Allow } else { RoomAccess::Deny }
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    realtime_examples::start_log();
    let args = Args::parse();
    let service = NotificationService::builder()
        .provider(SseProvider::new(SseConfig::default()))
        .authenticator(ByName)
        .room_policy(DashboardOnly)
        .build()
        .await?;
    let app = Router::new().route("/", get(Html(PAGE))).merge(service.router());

    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}\ntry: curl -N 'http://{address}/sse?channel=dashboard'");
    tokio::spawn(push_every_second(service.clone()));
    // An open event stream never ends by itself: close them all, and the server has nothing left to wait for.
    let stop = async move {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "ctrl-c cannot be watched");
        }
        service.shutdown(Drain::over(Duration::from_secs(5))).await;
    };
    serve(listener, app).with_graceful_shutdown(stop).await?;
    Ok(())
}

async fn push_every_second(service: NotificationService) {
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sent_before = 0;
    loop {
        tick.tick().await;
        if let Err(error) = push(&service, &mut sent_before).await {
            tracing::warn!(%error, "no metrics this time");
        }
    }
}

async fn push(service: &NotificationService, sent_before: &mut u64) -> Result<()> {
    let stats = service.provider("sse")?.stats();
    service.to_all("online", &json!({ "connections": stats.connections })).await?;
    let metrics = json!({ "users": stats.users, "eventsPerSecond": stats.events_out - *sent_before });
    *sent_before = stats.events_out;
    // Volatile: whoever was away wants the newest numbers, not all the old ones.
    let event = Event::json("metric-update", &metrics)?.volatile();
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
