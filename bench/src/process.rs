//! The kernel's figures about a process, and its settings for this one. Linux only.

use std::fs;
use std::io::{self, ErrorKind, Read as _};
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// A process, by its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process(pub u32);

impl Process {
    /// Returns the CPU time of its threads since they began, user and kernel together, to the
    /// nanosecond; threads that have ended do not count.
    ///
    /// # Errors
    /// When it is gone, or the kernel keeps no `schedstat`.
    pub fn cpu_time(self) -> Result<Duration> {
        let mut nanos = 0;
        for task in fs::read_dir(format!("/proc/{}/task", self.0))? {
            let stat = match fs::read_to_string(task?.path().join("schedstat")) {
                // A thread that has ended since its folder was listed.
                Err(error) if ended(&error) => continue,
                stat => stat?,
            };
            let spent = stat.split_ascii_whitespace().next().ok_or("an empty schedstat")?;
            nanos += spent.parse::<u64>()?;
        }
        Ok(Duration::from_nanos(nanos))
    }

    /// Returns the resident memory in bytes, exactly. The kernel walks the whole memory for it.
    ///
    /// # Errors
    /// When it is gone.
    pub fn rss(self) -> Result<u64> {
        self.kib("smaps_rollup", "Rss:").map(|kib| kib * 1024)
    }

    /// Returns the resident memory in bytes, to about 128 KiB for each processor, but without
    /// disturbing the process.
    ///
    /// # Errors
    /// When it is gone.
    pub fn rss_about(self) -> Result<u64> {
        self.kib("status", "VmRSS:").map(|kib| kib * 1024)
    }

    fn kib(self, file: &str, label: &str) -> Result<u64> {
        let text = fs::read_to_string(format!("/proc/{}/{file}", self.0))?;
        field(&text, label).ok_or_else(|| format!("no {label} in {file}").into())
    }
}

/// Returns the memory of all TCP sockets on this machine, in bytes.
///
/// # Errors
/// When the kernel does not report it.
pub fn tcp_memory() -> Result<u64> {
    let sockets = fs::read_to_string("/proc/net/sockstat")?;
    let tcp = sockets.lines().find_map(|line| line.strip_prefix("TCP:")).ok_or("no TCP in sockstat")?;
    let pages = tcp.split_once(" mem ").and_then(|(_, pages)| pages.trim().parse::<u64>().ok());
    Ok(pages.ok_or("no mem in sockstat")? * rustix::param::page_size() as u64)
}

/// Returns how often a listener of this machine had no capacity for a new connection; its client
/// tries again a second later.
///
/// # Errors
/// When the kernel does not report it.
pub fn listen_overflows() -> Result<u64> {
    let counters = fs::read_to_string("/proc/net/netstat")?;
    let mut lines = counters.lines().filter_map(|line| line.strip_prefix("TcpExt:"));
    let (names, values) = (lines.next().unwrap_or_default(), lines.next().unwrap_or_default());
    let mut pairs = names.split_ascii_whitespace().zip(values.split_ascii_whitespace());
    let value = pairs.find_map(|(name, value)| (name == "ListenOverflows").then_some(value));
    Ok(value.ok_or("no ListenOverflows in netstat")?.parse()?)
}

/// Reports whether reading about a thread failed since it has ended: its folder is gone, or it
/// ended between the opening of the file and the reading.
fn ended(error: &io::Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

/// Returns the number after a label at a line's start.
fn field(text: &str, label: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(label))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Returns the number of threads that have been running or waiting to run, on average over the last
/// minute.
///
/// # Errors
/// When the kernel does not report it.
pub fn load() -> Result<f64> {
    let averages = fs::read_to_string("/proc/loadavg")?;
    Ok(averages.split(' ').next().unwrap_or_default().parse()?)
}

/// Lets this process and its children open as many files as the system allows, and returns that
/// number.
///
/// # Errors
/// When fewer than `needed` are allowed.
pub fn raise_open_files(needed: u64) -> Result<u64> {
    let limit = getrlimit(Resource::Nofile);
    // The most that Linux grants by default where the hard limit is "unlimited".
    let most = limit.maximum.unwrap_or(1 << 20);
    if limit.current.is_some_and(|current| current < most) {
        setrlimit(Resource::Nofile, Rlimit { current: Some(most), maximum: limit.maximum })?;
    }
    if most < needed {
        return Err(format!("{needed} open files are needed, the system allows {most} (ulimit -Hn)").into());
    }
    Ok(most)
}

/// Ends this process when its standard input ends, as it does when the parent process is gone.
pub fn end_with_parent() {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
}

/// Returns the processors that this thread may run on.
///
/// # Errors
/// When the kernel does not report them.
pub fn allowed_cpus() -> Result<Vec<usize>> {
    let set = sched_getaffinity(None)?;
    Ok((0..CpuSet::MAX_CPU).filter(|cpu| set.is_set(*cpu)).collect())
}

/// Restricts this thread, and the threads that it starts afterwards, to these processors.
///
/// # Errors
/// When the kernel fails to.
pub fn run_on(cpus: &[usize]) -> Result<()> {
    let mut set = CpuSet::new();
    cpus.iter().for_each(|cpu| set.set(*cpu));
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_found_at_a_line_start_only() {
        let text = "00400000-7ffd [rollup]\nRss:                1234 kB\nPss_Rss: 9 kB\n";
        assert_eq!(field(text, "Rss:"), Some(1234));
        assert_eq!(field(text, "Swap:"), None);
    }

    #[test]
    fn threads_that_end_meanwhile_are_left_out() {
        let this = Process(std::process::id());
        let end = std::time::Instant::now() + Duration::from_millis(300);
        let starter = std::thread::spawn(move || {
            while std::time::Instant::now() < end {
                std::thread::spawn(|| ()).join().unwrap();
            }
        });
        while std::time::Instant::now() < end {
            assert!(this.cpu_time().unwrap() > Duration::ZERO);
        }
        starter.join().unwrap();
    }

    #[test]
    fn processes_that_are_gone_have_no_time() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let process = Process(child.id());
        child.wait().unwrap();
        assert!(process.cpu_time().is_err());
    }

    #[test]
    fn process_reports_its_time_and_memory() {
        let this = Process(std::process::id());
        assert!(this.cpu_time().unwrap() > Duration::ZERO);
        assert!(this.rss().unwrap() > 100 * 1024);
        assert!(tcp_memory().is_ok() && listen_overflows().is_ok());
    }
}
