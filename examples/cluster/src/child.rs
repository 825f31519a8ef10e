use std::process::ExitStatus;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Child;
use tokio::time::timeout;

/// The time that a child has to end after SIGTERM, before it is killed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Asks a child to end.
pub(crate) fn terminate(child: &Child) {
    // No id means that it has ended.
    if let Some(id) = child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
        let _ = kill_process(id, Signal::TERM);
    }
}

/// Asks a child to end, and kills it if it does not.
pub(crate) async fn end(mut child: Child) -> Option<ExitStatus> {
    terminate(&child);
    if let Ok(ended) = timeout(PATIENCE, child.wait()).await {
        return ended.ok();
    }
    let _ = child.start_kill();
    child.wait().await.ok()
}
