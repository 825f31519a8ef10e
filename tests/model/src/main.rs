//! Runs schedules of the model test, for a number or for a duration.

use std::fmt::Display;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use realtime_model::{Campaign, Transport, show, show_nodes};

const USAGE: &str =
    "usage: realtime-model [--schedules N] [--seconds S] [--seed X] [--transport polling|socketio|sse|ws]
                      [--threads N] [--shrink yes|no]
       realtime-model --show X [--transport T]
       realtime-model --nodes …

  --nodes         schedules with several nodes, 500 by default

  --schedules N   run N schedules; default 2000, with --seed 1, with --seconds as many as fit
  --seconds S     stop after S seconds
  --seed X        the first seed; default 0
  --transport T   on this transport only, instead of the one that the seed draws
  --threads N     default 2
  --shrink no     print a failing schedule as it is, instead of what is needed of it
  --show X        print the schedule of this seed and all that happens in it";

/// The arguments.
struct Wanted {
    campaign: Campaign,
    shown: Option<u64>,
    nodes: bool,
}

fn main() -> ExitCode {
    let Wanted { campaign, shown, nodes } = match read(std::env::args().skip(1)) {
        Ok(read) => read,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = shown {
        println!("{}", if nodes { show_nodes(seed) } else { show(seed, campaign.transport) });
        return ExitCode::SUCCESS;
    }
    if nodes {
        return report(|| {
            let report = campaign.run_nodes();
            (report.coverage.to_string(), report.schedules, report.failure)
        });
    }
    report(|| {
        let report = campaign.run();
        (report.coverage.to_string(), report.schedules, report.failure)
    })
}

/// Runs a campaign, which returns its coverage, its number of schedules and its failure, and prints
/// them.
fn report<F: Display>(run: impl FnOnce() -> (String, u64, Option<F>)) -> ExitCode {
    let begun = Instant::now();
    let (coverage, schedules, failure) = run();
    let seconds = begun.elapsed().as_secs_f64();
    println!("{coverage}");
    println!("{schedules} schedules in {seconds:.1} s, {:.0} per second", schedules as f64 / seconds);
    match failure {
        Some(failure) => {
            println!("\n{failure}");
            ExitCode::FAILURE
        }
        None => ExitCode::SUCCESS,
    }
}

fn read(mut arguments: impl Iterator<Item = String>) -> Result<Wanted, String> {
    fn number(text: &str) -> Result<u64, String> {
        text.parse().map_err(|_| format!("not a number: {text}"))
    }
    let mut campaign = Campaign::default();
    let (mut schedules, mut shown, mut nodes) = (None, None, false);
    while let Some(name) = arguments.next() {
        if name == "--nodes" {
            (nodes, campaign.schedules) = (true, campaign.schedules.min(Campaign::NODES));
            continue;
        }
        let value = arguments.next().ok_or_else(|| format!("{name} needs a value"))?;
        match &*name {
            "--schedules" => schedules = Some(number(&value)?),
            "--seconds" => campaign.time = Duration::from_secs(number(&value)?),
            "--seed" => (campaign.first, campaign.schedules) = (number(&value)?, 1),
            "--show" => shown = Some(number(&value)?),
            "--shrink" => campaign.shrinks = value == "yes",
            "--threads" => campaign.threads = number(&value)? as usize,
            "--transport" => campaign.transport = Some(value.parse::<Transport>()?),
            _ => return Err(format!("unknown: {name}")),
        }
    }
    let as_many_as_fit = (campaign.time != Duration::MAX).then_some(u64::MAX);
    campaign.schedules = schedules.or(as_many_as_fit).unwrap_or(campaign.schedules);
    Ok(Wanted { campaign, shown, nodes })
}
