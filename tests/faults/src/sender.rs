//! Senders: one event after the other through one node, each attempt with its outcome.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_bench::lock;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use crate::api::{self, Reply};
use crate::client::EVENT;
use crate::cluster::{Cluster, Seat};
use crate::history::{Ledger, Outcome};
use crate::population::{Audience, Population};

/// The time after which a request is given up; a stopped node answers none.
const LIMIT: Duration = Duration::from_secs(15);
/// The delay before an event is sent again with its key.
const AGAIN: Duration = Duration::from_millis(300);
/// The time for which an event is sent again once the sender should stop.
const LAST: Duration = Duration::from_secs(20);

/// The state that all senders of a run share.
#[derive(Debug)]
pub struct Sending {
    /// The nodes.
    pub cluster: Arc<Cluster>,
    /// The receivers.
    pub population: Arc<Population>,
    /// The events that were sent.
    pub ledger: Ledger,
    /// Begins the idempotency keys of this run.
    pub run: u64,
    /// The time between two events of a sender.
    pub pace: Duration,
    /// Set at the end.
    pub stop: AtomicBool,
    /// The attempts at nodes that were not stopped: when they began, and how long they took.
    pub attempts: Mutex<Vec<(Instant, Duration)>>,
}

/// One sender.
#[derive(Debug)]
pub struct Lane {
    /// The state that all senders share.
    pub sending: Arc<Sending>,
    /// The number.
    pub number: usize,
    /// The node.
    pub seat: Arc<Seat>,
    /// `true` if each event has an idempotency key, and is sent again until its outcome is known.
    pub keyed: bool,
}

impl Lane {
    /// Sends until it should stop.
    pub async fn run(self) {
        // Lanes begin at different targets.
        let mut n = self.number * 1009;
        while !self.sending.stop.load(Ordering::Acquire) && !self.seat.retired.load(Ordering::Acquire) {
            let next = Instant::now() + self.sending.pace;
            self.send(self.sending.population.audience(n)).await;
            n += 1;
            sleep_until(next).await;
        }
    }

    /// Sends one event, and with a key until its outcome is known or certain.
    pub async fn send(&self, audience: Audience) -> usize {
        let number = self.sending.ledger.begin(self.number, audience);
        let mut outcome = self.attempt(number, audience, self.seat.address()).await;
        self.sending.ledger.note(number, outcome, false);
        let mut end = None;
        while self.keyed && outcome == Outcome::Unknown {
            let stops = self.sending.stop.load(Ordering::Acquire);
            if stops && Instant::now() > *end.get_or_insert_with(|| Instant::now() + LAST) {
                break;
            }
            sleep(AGAIN).await;
            // Through any node: keys are those of the log.
            let node = self.seat.address().or_else(|| self.sending.cluster.pick(None));
            // A refusal of this attempt says nothing about the first one.
            if let again @ Outcome::Ok(_) = self.attempt(number, audience, node).await {
                outcome = again;
            }
            self.sending.ledger.note(number, outcome, true);
        }
        number
    }

    async fn attempt(&self, number: usize, audience: Audience, node: Option<SocketAddr>) -> Outcome {
        let Some(node) = node else { return Outcome::Refused };
        let mut body = json!({ "target": audience.target(), "event": EVENT, "data": { "n": number } });
        if self.keyed {
            body["idempotencyKey"] = json!(format!("{}-{number}", self.sending.run));
        }
        let begun = Instant::now();
        let stops = self.seat.stops.load(Ordering::Acquire);
        let reply = api::post(node, "/api/send", &body, LIMIT).await;
        if stops.is_multiple_of(2) && stops == self.seat.stops.load(Ordering::Acquire) {
            lock(&self.sending.attempts).push((begun, begun.elapsed()));
        }
        outcome(&reply)
    }
}

/// Reads an outcome. Only an answer, or no connection at all, makes a refusal certain.
fn outcome(reply: &Reply) -> Outcome {
    let (status, body) = match reply {
        Reply::Answer(status, body) => (*status, serde_json::from_slice::<Value>(body).unwrap_or_default()),
        Reply::Unanswered(_) => return Outcome::Unknown,
        Reply::Unsent(_) => return Outcome::Refused,
    };
    match (status, body["error"]["code"].as_str()) {
        (200, _) => Outcome::Ok(body["receipts"][0]["receipt"]["position"].as_u64()),
        (_, Some("outcome_unknown") | None) => Outcome::Unknown,
        (_, Some(_)) => Outcome::Refused,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_errors_are_certain() {
        let of = |status, body: &str| outcome(&Reply::Answer(status, body.as_bytes().to_vec()));
        assert_eq!(of(200, r#"{"receipts":[{"receipt":{"position":7}}]}"#), Outcome::Ok(Some(7)));
        assert_eq!(of(503, r#"{"error":{"code":"backplane"}}"#), Outcome::Refused);
        assert_eq!(of(503, r#"{"error":{"code":"outcome_unknown"}}"#), Outcome::Unknown);
        assert_eq!(of(502, "bad gateway"), Outcome::Unknown);
        assert_eq!(outcome(&Reply::Unsent(String::new())), Outcome::Refused);
        assert_eq!(outcome(&Reply::Unanswered(String::new())), Outcome::Unknown);
    }
}
