//! The checks besides the deliveries: readiness, presence, recovery, and the time of sends.

use std::time::Duration;

use realtime_bench::{Result, lock};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::api;
use crate::cluster::Seat;
use crate::fault::{Fault, Struck};
use crate::history::{Seen, Sent};
use crate::population::user_name;
use crate::world::{REQUEST, World};

/// The time in which a directory forgets a node that was killed: its lease, and a margin.
pub const PRESENCE: Duration = Duration::from_secs(12);
/// The time in which a send has an outcome, with a margin for a machine that is busy.
pub const OUTCOME: Duration = Duration::from_millis(2_500);
/// The time after which a directory that is still wrong is given up.
const GIVE_UP: Duration = Duration::from_secs(25);
/// The number of users whose presence is looked at.
const LOOKED_AT: usize = 20;
/// The time between two looks.
const LOOK: Duration = Duration::from_millis(200);

/// The nodes' readiness around a fault.
#[derive(Clone, Copy, Debug, Default)]
pub struct Readiness {
    /// From the fault to the last node that turned not ready.
    pub red: Duration,
    /// From the end of the fault to the last node that was ready again.
    pub green: Duration,
    /// The number of nodes that did not turn.
    pub missed: usize,
}

/// Returns how the nodes that a fault disturbs turned.
#[must_use]
pub fn readiness(world: &World, fault: Fault, struck: &Struck) -> Readiness {
    let mut readiness = Readiness::default();
    for seat in &world.seats[fault.disturbs(world.seats.len())] {
        let red = seat.became(false, struck.begin).filter(|red| *red <= struck.end + Duration::from_secs(1));
        let green = red.and_then(|red| seat.became(true, red));
        if let Some((red, green)) = red.zip(green) {
            readiness.red = readiness.red.max(red - struck.begin);
            readiness.green = readiness.green.max(green.saturating_duration_since(struck.end));
        } else {
            readiness.missed += 1;
        }
    }
    readiness
}

/// Returns the times from the end of a fault to each client's first event that was sent after it,
/// sorted.
#[must_use]
pub fn recoveries(seen: &[Vec<Seen>], sent: &[Sent], end: Instant) -> Vec<Duration> {
    let first = |seen: &Vec<Seen>| {
        seen.iter().find_map(|seen| match seen {
            Seen::Event { at, number, .. } if sent.get(*number)?.begun >= end => Some(*at - end),
            _ => None,
        })
    };
    let mut times: Vec<_> = seen.iter().filter_map(first).collect();
    times.sort_unstable();
    times
}

/// Returns the number of connections that ended after a moment.
#[must_use]
pub fn ends(seen: &[Vec<Seen>], since: Instant) -> usize {
    seen.iter().flatten().filter(|seen| matches!(seen, Seen::End { at, .. } if *at >= since)).count()
}

/// Returns the time from a moment to the last end of a connection.
#[must_use]
pub fn last_end(seen: &[Vec<Seen>], since: Instant) -> Duration {
    let after = |seen: &Seen| match seen {
        Seen::End { at, .. } => Some(at.saturating_duration_since(since)),
        _ => None,
    };
    seen.iter().flatten().filter_map(after).max().unwrap_or_default()
}

/// Returns the longest attempt to send.
#[must_use]
pub fn longest_attempt(world: &World) -> Duration {
    lock(&world.sending.attempts).iter().map(|(_, took)| *took).max().unwrap_or_default()
}

/// Returns the id of the node of a name.
///
/// # Errors
/// When the directory does not have it.
pub async fn node_id(seat: &Seat, name: &str) -> Result<String> {
    let nodes = api::get(seat.address().ok_or("no node")?, "/api/nodes", REQUEST).await.json()?;
    let nodes = nodes["nodes"].as_array().cloned().unwrap_or_default();
    let node = nodes.iter().find(|node| node["name"] == name).ok_or("the directory does not have the node")?;
    Ok(node["id"].as_str().unwrap_or_default().to_owned())
}

/// Waits until the directory has exactly the connections that there are, and none of the node that
/// is gone; returns how long that took.
///
/// # Errors
/// When it is still wrong after a long time.
pub async fn wait_for_presence(world: &World, seat: &Seat, gone: Option<&str>) -> Result<Duration> {
    let begin = Instant::now();
    loop {
        let wrong = match wrong_presence(world, seat, gone).await {
            Ok(None) => return Ok(begin.elapsed()),
            Ok(Some(wrong)) => wrong,
            Err(error) => error.to_string(),
        };
        if begin.elapsed() > GIVE_UP {
            return Err(format!("the directory is still wrong after {GIVE_UP:?}: {wrong}").into());
        }
        sleep(LOOK).await;
    }
}

/// Returns what is wrong in the directory, if anything is.
async fn wrong_presence(world: &World, seat: &Seat, gone: Option<&str>) -> Result<Option<String>> {
    let address = seat.address().ok_or("no node")?;
    let step = world.population.users.div_ceil(LOOKED_AT);
    for user in (0..world.population.users).step_by(step).chain(0..3) {
        let name = user_name(user);
        let answer = api::get(address, &format!("/api/online?user={name}"), REQUEST).await.json()?;
        let online: Vec<Value> = answer["online"].as_array().cloned().unwrap_or_default();
        let expected = world.population.connections_of(user);
        let of_gone = online.iter().filter(|presence| gone.is_some_and(|gone| presence["node"] == gone)).count();
        if online.len() != expected || of_gone > 0 {
            let count = online.len();
            return Ok(Some(format!(
                "{name} has {count} connections of {expected}, {of_gone} at the node that is gone"
            )));
        }
    }
    Ok(None)
}
