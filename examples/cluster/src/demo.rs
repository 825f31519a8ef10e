//! The program of a node.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use tokio::process::Command;

/// Returns the demo's program: the given one, or the one beside this program. Where cargo runs this
/// program, cargo builds that one first.
pub(crate) async fn program(given: Option<&Path>) -> Result<PathBuf, String> {
    if let Some(given) = given {
        return Ok(given.to_owned());
    }
    let own = std::env::current_exe().map_err(|error| format!("this program does not know its path: {error}"))?;
    if let Some(cargo) = std::env::var_os("CARGO") {
        build(&cargo, &own).await?;
    }
    let demo = own.with_file_name("realtime-demo");
    if demo.exists() {
        return Ok(demo);
    }
    Err(format!("{} is missing: build it by `cargo build -p realtime-demo`, or name it by --demo", demo.display()))
}

/// Builds the demo in the profile of this program.
async fn build(cargo: &OsStr, own: &Path) -> Result<(), String> {
    let profile = own.parent().and_then(Path::file_name).and_then(OsStr::to_str).unwrap_or("debug");
    let profile = if profile == "debug" { "dev" } else { profile };
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let mut command = Command::new(cargo);
    // Both, so that what this program's build has compiled of its dependencies is used.
    command.args(["build", "--profile", profile, "--manifest-path", manifest]);
    command.args(["-p", "realtime-demo", "-p", "realtime-cluster"]);
    let status = command.status().await.map_err(|error| format!("cannot run cargo: {error}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo could not build the demo ({status})")) }
}
