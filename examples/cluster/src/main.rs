//! A cluster on one machine: demo nodes that share one broker, a reverse proxy in front of them,
//! and a page that shows where its clients are, and kills and starts nodes.

mod api;
mod args;
mod broker;
mod child;
mod demo;
#[path = "../../demo/src/files.rs"]
mod files;
mod node;
mod nodes;
mod page;
mod proxy;
mod upstream;

use std::error::Error;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use clap::Parser;
use tokio::net::TcpListener;

use crate::args::Args;
use crate::broker::Broker;
use crate::nodes::Nodes;

#[tokio::main]
async fn main() -> ExitCode {
    match run(Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: Args) -> Result<(), Box<dyn Error + Send + Sync>> {
    args.check()?;
    let listener =
        TcpListener::bind(args.listen).await.map_err(|error| format!("cannot listen on {}: {error}", args.listen))?;
    let program = demo::program(args.demo.as_deref()).await?;
    let broker = Broker::start(&args).await?;
    let nodes = Arc::new(Nodes::new(args.nodes, &program, &broker.node_args()));
    let result = serve(listener, &nodes, &broker).await;
    // In this order, so that nodes do not report that their broker is gone.
    nodes.stop().await;
    broker.stop().await;
    result
}

/// Serves until the process is asked to end, or a node does not start.
async fn serve(listener: TcpListener, nodes: &Arc<Nodes>, broker: &Broker) -> Result<(), Box<dyn Error + Send + Sync>> {
    let stop = realtime_http::shutdown_signal();
    tokio::pin!(stop);
    tokio::select! {
        started = nodes.start() => started?,
        () = &mut stop => return Ok(()),
    }
    println!("broker {}", broker.url());
    for node in nodes.iter() {
        println!("{} {}", node.name(), node.url().unwrap_or_default());
    }
    println!("listening on http://{}", listener.local_addr()?);

    let app = Router::new().merge(page::router()).merge(api::router(Arc::clone(nodes), broker.url()));
    let app = app.merge(proxy::router(Arc::clone(nodes)));
    tokio::select! {
        served = axum::serve(listener, app).into_future() => Ok(served?),
        () = stop => Ok(()),
    }
}
