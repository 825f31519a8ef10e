//! The allocator, and the memory that it returns to the system.

use std::hint::black_box;
use std::time::Duration;

use mimalloc::MiMalloc;
use tokio::time::sleep;

/// Returns memory to the system after a burst, which glibc's allocator hardly does.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// More than the pieces of 32 MiB in which mimalloc manages memory: an allocation of its own.
const LARGE: usize = 40 * 1024 * 1024;
const INTERVAL: Duration = Duration::from_secs(10);

/// Has the allocator return what was freed a while ago.
///
/// It does so when a large piece is freed, and looks only then: without this, up to 32 MiB that a
/// burst left would stay for as long as the server has little to do. The memory is never written,
/// so the system does not provide it.
pub(crate) async fn return_freed() {
    loop {
        sleep(INTERVAL).await;
        drop(black_box(Vec::<u8>::with_capacity(LARGE)));
    }
}
