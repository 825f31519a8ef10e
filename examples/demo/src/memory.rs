//! The allocator, and the memory that it returns to the system.

use std::env;
use std::os::unix::process::CommandExt;
use std::process::Command;

use mimalloc::MiMalloc;

/// Returns memory to the system after a burst, which glibc's allocator hardly does.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// The allocator's settings, as variables of the environment. With its own a server that has little
/// to do after a burst keeps half as much memory again, or more.
const SETTINGS: [(&str, &str); 2] = [
    // No huge pages: where a part of one is used again, the kernel fills all of its 2 MiB, most of
    // which had been returned.
    ("MIMALLOC_ALLOW_THP", "0"),
    // The milliseconds after which what was freed is returned. With its default of 10 it looks for
    // that only when more is freed nearby.
    ("MIMALLOC_PURGE_DELAY", "0"),
];

/// Has the allocator return memory as soon as it is freed, unless the environment has its settings.
///
/// It reads them before `main`, so that the process replaces itself with one of this environment.
/// Where that fails, it goes on as it is.
pub(crate) fn return_at_once() {
    let missing: Vec<_> = SETTINGS.into_iter().filter(|(name, _)| env::var_os(name).is_none()).collect();
    if missing.is_empty() {
        return;
    }
    if let Ok(program) = env::current_exe() {
        let mut arguments = env::args_os();
        let mut command = Command::new(program);
        arguments.next().into_iter().for_each(|name| {
            command.arg0(name);
        });
        let error = command.args(arguments).envs(missing).exec();
        eprintln!("the allocator keeps its settings: {error}");
    }
}
