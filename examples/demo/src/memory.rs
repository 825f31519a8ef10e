//! The allocator, and the memory that it returns to the system.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use mimalloc::MiMalloc;

/// Returns memory to the system after a burst, which glibc's allocator hardly does.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The variable that says after how many milliseconds mimalloc returns what was freed. It looks for
/// that only when more is freed nearby: with its default of 10, half as much memory again stays
/// after a burst for as long as the server has little to do.
const PURGE_DELAY: &str = "MIMALLOC_PURGE_DELAY";

/// Has the allocator return memory as soon as it is freed, unless the environment says otherwise.
///
/// It reads its options before `main`, so that the process replaces itself with one of this
/// environment. Where that fails, it goes on as it is.
pub(crate) fn return_at_once() {
    if env::var_os(PURGE_DELAY).is_some() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        let mut arguments = env::args_os();
        let mut command = Command::new(program);
        arguments.next().into_iter().for_each(|name| {
            command.arg0(name);
        });
        let error = command.args(arguments).env(PURGE_DELAY, "0").exec();
        eprintln!("the allocator keeps its settings: {error}");
    }
}
