//! The run: a demo, watched clients, one attack after the other, and what must hold.

use std::fs;
use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use realtime_bench::figures::mib;
use realtime_bench::process::{self, Process};
use realtime_bench::report::Report;
use realtime_bench::{Result, payload};
use realtime_faults::api;
use realtime_faults::node::{Node, NodeOptions};
use serde_json::json;
use tokio::process::Command;
use tokio::time::{Instant, sleep};

use crate::attack::Attack;
use crate::counters::Counters;
use crate::watch::{Observed, Watch};

/// The most that a watched event's 99th percentile may grow by.
const SLOWER: f64 = 3.0;
/// The most that the memory may have grown by at the end.
const LARGER: f64 = 1.2;
/// The time in which memory may return at the end: more than the age of the window's records, which
/// include large ones.
const RETURN: Duration = Duration::from_secs(400);
/// The events that fill the log and the windows before the memory is looked at.
const FILL: usize = 12_000;
const LIMIT: Duration = Duration::from_secs(10);
/// The settings of the server. The limits per address do not apply to this machine's own addresses
/// unless they are set.
const SETTINGS: [&str; 3] = ["--connections-per-address", "1000", "--handshakes-per-address"];
const TITLES: [&str; 9] =
    ["attack", "attempts", "p99 ms ws", "sse", "socketio", "× quiet", "max ms", "MiB after", "counted"];
const WIDTH: usize = 17;

/// The times of a run, and what is judged besides what the watched clients get.
#[derive(Clone, Copy)]
pub(crate) struct Length {
    /// The length of each attack, at least.
    attack: Duration,
    /// The time before each attack in which nothing else happens.
    quiet: Duration,
    /// The time after each attack before the next one.
    pause: Duration,
    judges_times: bool,
    judges_memory: bool,
    /// The handshakes per second of each attacking address.
    handshakes: &'static str,
}

impl Length {
    /// Returns those of a whole run.
    pub(crate) const fn full(attack: Duration, judges_times: bool) -> Self {
        Self {
            attack,
            quiet: Duration::from_secs(5),
            pause: Duration::from_secs(3),
            judges_times,
            judges_memory: true,
            handshakes: "100",
        }
    }

    /// Those of a run that only looks whether attacks are counted and do no harm.
    pub(crate) const SHORT: Self = Self {
        attack: Duration::from_secs(1),
        quiet: Duration::from_millis(500),
        pause: Duration::from_secs(1),
        judges_times: false,
        judges_memory: false,
        // So few that a slow server notices a flood within the time.
        handshakes: "10",
    };
}

/// One attack, and what was seen.
struct Outcome {
    attack: Attack,
    attempts: u64,
    observed: Observed,
    memory: u64,
    counted: f64,
}

/// Makes the attacks, and returns whether everything holds.
pub(crate) fn run(attacks: &[Attack], length: Length) -> Result<bool> {
    println!("load average {:.1}", process::load()?);
    let cpus = process::allowed_cpus()?;
    // The server gets a processor of its own where there are two, and so do all that attack it.
    let others = if cpus.len() > 1 { &cpus[1..] } else { &cpus[..] };
    process::run_on(&cpus[..1])?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let output = tempfile::tempdir()?;
        let options = NodeOptions {
            name: "abused".to_owned(),
            log: Vec::new(),
            clock: None,
            more: SETTINGS.into_iter().chain([length.handshakes]).map(str::to_owned).collect(),
            output: output.path().to_owned(),
        };
        let mut node = Node::spawn(&options)?;
        process::run_on(others)?;
        let server = node.address().await?;
        let process = node.process()?;
        let mut report = Report::default();
        attack_all(server, process, attacks, length, &mut report).await?;
        let log = fs::read_to_string(output.path().join("abused.log"))?;
        report.require(!log.contains("panicked"), "the server's log tells of a panic");
        node.kill().await?;
        Ok(report.holds())
    })
}

async fn attack_all(
    server: SocketAddr,
    process: Process,
    attacks: &[Attack],
    length: Length,
    report: &mut Report,
) -> Result<()> {
    fill(server).await?;
    let watch = Watch::start(server).await?;
    sleep(length.quiet).await;
    let _ = watch.take();
    let (before, mut quiet, mut outcomes) = (process.rss()?, Observed::default(), Vec::new());
    for attack in attacks {
        sleep(length.quiet).await;
        quiet.add(watch.take());
        let earlier = Counters::of(server).await?;
        let _ = watch.take();
        let attempts = make(attack, server, length.attack.max(attack.least)).await?;
        let observed = watch.take();
        sleep(length.pause).await;
        let later = Counters::of(server).await?;
        let _ = watch.take();
        let growth = |(name, label): &(&str, &str)| later.sum(name, label) - earlier.sum(name, label);
        let counted = attack.counted.iter().map(growth).sum();
        eprintln!("{}: {attempts} attempts, counted {counted}", attack.name);
        outcomes.push(Outcome { attack: *attack, attempts, observed, memory: process.rss()?, counted });
    }
    let after = if length.judges_memory { Some(returned(process, before).await?) } else { None };
    let panics = Counters::of(server).await?.sum("realtime_panics_total", "");
    judge(&quiet, &outcomes, length.judges_times, report);
    report.require(panics == 0.0, "handlers have panicked");
    if let Some(after) = after {
        println!("memory {:.1} MiB before, {:.1} MiB after", mib(before), mib(after));
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        report.within(after as f64 / before as f64, LARGER, "memory after all attacks, as a ratio");
    }
    Ok(())
}

fn judge(quiet: &Observed, outcomes: &[Outcome], judges_times: bool, report: &mut Report) {
    report.table(WIDTH, &TITLES);
    let cells = |observed: &Observed| [0, 1, 2].map(|transport| observed.millis(transport, 0.99));
    let usual = cells(quiet);
    let text = |cells: [f64; 3]| cells.map(|cell| format!("{cell:.2}"));
    report.row(&[&["quiet".to_owned(), String::new()][..], &text(usual)].concat());
    for outcome in outcomes {
        let p99 = cells(&outcome.observed);
        let slower = p99.iter().zip(usual).map(|(p99, usual)| p99 / usual).fold(0.0, f64::max);
        let longest =
            [0, 1, 2].map(|transport| outcome.observed.millis(transport, 1.0)).into_iter().fold(0.0, f64::max);
        let more = [slower, longest, mib(outcome.memory), outcome.counted].map(|figure| format!("{figure:.1}"));
        report.row(&[&[outcome.attack.name.to_owned(), outcome.attempts.to_string()][..], &text(p99), &more].concat());
        for fault in outcome.observed.faults.iter().take(3) {
            report.require(false, &format!("a watched client: {fault}"));
        }
        if judges_times {
            report.within(slower, SLOWER, "99th percentile, as a ratio");
        }
        report.require(outcome.counted > 0.0, "no counter of this attack has grown");
    }
}

/// Runs an attack in a process of its own, and returns the number of attempts.
async fn make(attack: &Attack, server: SocketAddr, length: Duration) -> Result<u64> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["attack", attack.name, &server.to_string(), &length.as_secs().to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true).spawn()?;
    // It ends when its standard input does.
    let _input = child.stdin.take();
    let limit = length + LIMIT;
    let output =
        tokio::time::timeout(limit, child.wait_with_output()).await.map_err(|_| "the attack does not end")??;
    Ok(String::from_utf8_lossy(&output.stdout).trim().parse().map_err(|_| format!("{} failed", attack.name))?)
}

/// Sends to nobody until the log and the windows are full.
async fn fill(server: SocketAddr) -> Result<()> {
    let event = json!({ "target": "all", "event": payload::EVENT, "data": "x".repeat(200) });
    for _ in 0..FILL {
        api::post(server, "/api/send", &event, LIMIT).await.json()?;
    }
    Ok(())
}

/// Waits until the memory has returned, for a while at most, and returns it.
async fn returned(process: Process, before: u64) -> Result<u64> {
    let end = Instant::now() + RETURN;
    loop {
        let now = process.rss()?;
        #[expect(clippy::cast_precision_loss, reason = "a ratio")]
        if now as f64 <= before as f64 * LARGER || Instant::now() > end {
            return Ok(now);
        }
        sleep(Duration::from_secs(1)).await;
    }
}
