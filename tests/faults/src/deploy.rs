//! Nodes that are replaced one after the other.
use realtime_bench::Result;

/// The arguments.
#[derive(clap::Args, Debug)]
pub struct Args {}

/// Runs it.
///
/// # Errors
/// Later.
pub async fn run(_args: &Args) -> Result<bool> {
    Ok(true)
}
