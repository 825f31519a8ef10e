//! An echo server: `/ws` answers each message with the same message, text as text and bytes as
//! bytes.
//!
//! Texts that are an envelope, `{"type":…,"payload":…}`, go to the handlers of `.on(…)`; here
//! is one for `echo`.

use std::error::Error;
use std::net::SocketAddr;

use clap::Parser;
use realtime_unified::prelude::*;
use serde_json::Value;
use tokio::net::TcpListener;

#[derive(Parser)]
struct Args {
    /// The address to listen on; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:3007")]
    listen: SocketAddr,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    realtime_examples::start_log();
    let args = Args::parse();
    let echo = WsProvider::new(WsConfig::default())
        .on_text(async |_, text| text)
        .on_binary(async |_, bytes| bytes)
        .on("echo", async |_, value: Value| Reply(value));
    let service = NotificationService::builder().provider(echo).allow_anonymous().build().await?;

    let listener = TcpListener::bind(args.listen).await?;
    let address = listener.local_addr()?;
    println!("listening on http://{address}\ntry: npx wscat -c 'ws://{address}/ws'");
    serve(listener, service.router()).await?;
    Ok(())
}
