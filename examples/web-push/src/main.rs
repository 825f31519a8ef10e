//! Messages that users miss are pushed to their browsers. Open the printed address, subscribe,
//! close the page, and send yourself a message.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use realtime_unified::{BoxError, Drain, OfflineConfig};
use realtime_web_push::{Config, PushHosts, Vapid, build};
use tokio::net::TcpListener;
use tracing_subscriber::EnvFilter;

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one. Browsers subscribe on localhost, or with
    /// https.
    #[arg(long, default_value = "127.0.0.1:3011")]
    listen: SocketAddr,
    /// The key by which push services know this application, in PKCS#8; without one a new key is
    /// made, and browsers have to subscribe again after each start.
    #[arg(long)]
    key: Option<PathBuf>,
    /// The address at which operators of push services reach you.
    #[arg(long, default_value = "mailto:you@example.com")]
    contact: String,
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let args = Args::parse();
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let vapid = match &args.key {
        Some(path) => Vapid::from_pem(&std::fs::read_to_string(path)?, &args.contact)?,
        None => Vapid::random(&args.contact)?,
    };
    let config = Config { vapid, hosts: PushHosts::default(), offline: OfflineConfig::default() };
    let (service, app) = build(config).await?;
    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}");
    println!("try: curl -d 'hello' 'http://{address}/messages?user=ann'");
    service.serve(listener, app, Drain::now()).await?;
    Ok(())
}
