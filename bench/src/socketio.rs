//! Nodes of the official Socket.IO server, in `bench/socketio`, with its adapters for Redis.

use std::path::Path;
use std::process::Command;

use serde::Serialize;
use serde_json::json;

use crate::Result;
use crate::broker::text;
use crate::child::{Become, ServerProcess};

/// The directory of the server.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/socketio");

/// The adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Adapter {
    /// `@socket.io/redis-adapter`: Redis' PUBLISH, and no log.
    PubSub,
    /// `@socket.io/redis-streams-adapter`: a stream of 10,000 entries.
    Streams,
}

/// Installs what the server needs, unless it is there.
///
/// # Errors
/// When `npm ci` fails.
pub fn install() -> Result<()> {
    if Path::new(DIRECTORY).join("node_modules/.package-lock.json").exists() {
        return Ok(());
    }
    eprintln!("npm ci in bench/socketio");
    let status =
        Command::new("npm").args(["ci", "--silent", "--no-audit", "--no-fund"]).current_dir(DIRECTORY).status();
    match status.map_err(|error| format!("npm does not start: {error}"))? {
        status if status.success() => Ok(()),
        status => Err(format!("npm ci: {status}").into()),
    }
}

/// Starts a node on these processors, and waits until it listens.
///
/// # Errors
/// When there is no `node`, or the server ends early.
pub(crate) async fn start(adapter: Adapter, redis: &str, cpus: &[usize]) -> Result<ServerProcess> {
    let program = Path::new(DIRECTORY).join("server.mjs");
    let options = json!({ "adapter": adapter, "redis": redis }).to_string();
    let line = vec!["node".to_owned(), text(&program)?.to_owned(), options];
    ServerProcess::start_other(&Become { line, cpus: cpus.to_vec() }).await
}
