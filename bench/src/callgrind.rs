//! The instructions of a process under callgrind, from one moment to another. Needs valgrind.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::Result;
use crate::process::Process;

/// The counter of one process.
#[derive(Debug)]
pub(crate) struct Callgrind {
    process: Process,
    output: PathBuf,
    /// The number of dumps so far; each goes to a file with the next number.
    dumps: u32,
}

/// Returns the beginning of a command line that runs a program under callgrind; the counts go to
/// files whose names begin with `output`.
pub(crate) fn command(output: &Path) -> Vec<OsString> {
    let mut file = OsString::from("--callgrind-out-file=");
    file.push(output);
    vec!["valgrind".into(), "--quiet".into(), "--tool=callgrind".into(), file]
}

impl Callgrind {
    /// Creates the counter of a process that was started by [`command`] with the same output.
    pub(crate) fn new(process: Process, output: PathBuf) -> Self {
        Self { process, output, dumps: 0 }
    }

    /// Begins to count.
    ///
    /// # Errors
    /// When the process does not run under callgrind.
    pub(crate) async fn zero(&self) -> Result<()> {
        self.control("--zero").await
    }

    /// Returns the instructions since it began to count; the output with this dump's number has the
    /// details.
    ///
    /// # Errors
    /// When the process does not run under callgrind.
    pub(crate) async fn dump(&mut self) -> Result<f64> {
        self.control("--dump").await?;
        self.dumps += 1;
        let mut file = self.output.clone().into_os_string();
        file.push(format!(".{}", self.dumps));
        let counts = fs::read_to_string(&file)?;
        let total = counts.lines().rev().find_map(|line| line.strip_prefix("totals: "));
        Ok(total.ok_or_else(|| format!("no total in {}", file.display()))?.trim().parse()?)
    }

    async fn control(&self, what: &str) -> Result<()> {
        let output = Command::new("callgrind_control").arg(what).arg(self.process.0.to_string()).output().await?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("callgrind_control: {}", String::from_utf8_lossy(&output.stderr)).into())
    }
}
