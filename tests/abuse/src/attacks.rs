//! The attacks.

mod polling;
mod reading;
mod requests;
mod websocket;

use std::time::Duration;

use realtime_bench::Result;
use realtime_wire::http;

use crate::attack::{Attack, Attempt};
use crate::attacker::Attacker;

/// A time as long as any.
const USUAL: Duration = Duration::ZERO;
/// The time after which the server has disconnected what never reads.
const STALL: Duration = Duration::from_secs(40);
/// The time after which it has disconnected what never finishes its headers.
const HEADERS: Duration = Duration::from_secs(15);

const REFUSED: &str = "realtime_handshakes_refused_total";
const REJECTED: &str = "realtime_inbound_rejected_total";
const ENDED: &str = "realtime_listener_ended_total";
const THROTTLED: &str = "realtime_inbound_throttled_total";
const ROOM_CHANGES: &str = "realtime_room_changes_total";
const CLOSED: &str = "realtime_connections_closed_total";

/// The longest attack of a short run.
const BRIEF: Duration = Duration::from_secs(4);
/// The time that it takes to use up a rate's burst.
const BURST: Duration = Duration::from_secs(4);

/// Returns every attack.
#[rustfmt::skip]
pub(crate) fn all() -> Vec<Attack> {
    vec![
        attack("slow-headers", &[(ENDED, "header_timeout")], HEADERS, 2_000, |a, n| Box::pin(requests::slow_headers(a, n))),
        attack("slow-bodies", &[(ENDED, "body_timeout")], STALL, 500, |a, n| Box::pin(requests::slow_bodies(a, n))),
        attack("idle-sockets", &[(ENDED, "no_request"), (ENDED, "pending_limit")], HEADERS, 5_000, |a, n| Box::pin(requests::idle_sockets(a, n))),
        attack("connection-flood", &[("realtime_listener_delayed_total", "")], USUAL, 50, |a, n| Box::pin(requests::connection_flood(a, n))),
        attack("handshake-flood", &[(REFUSED, "handshake_rate")], BURST, 50, |a, n| Box::pin(requests::handshake_flood(a, n))),
        attack("user-flood", &[(REFUSED, "user_limit")], USUAL, 50, |a, n| Box::pin(requests::user_flood(a, n))),
        attack("bad-cursors", &[("realtime_resumes_total", "invalid")], USUAL, 20, |a, n| Box::pin(requests::bad_cursors(a, n))),
        attack("bad-tokens", &[(REFUSED, "unauthorized")], USUAL, 20, |a, n| Box::pin(requests::bad_tokens(a, n))),
        attack("oversized", &[(CLOSED, "too_large")], USUAL, 20, |a, n| Box::pin(websocket::oversized(a, n))),
        attack("announced", &[(CLOSED, "too_large")], USUAL, 20, |a, n| Box::pin(websocket::announced(a, n))),
        attack("fragments", &[(THROTTLED, "fragment")], USUAL, 20, |a, n| Box::pin(websocket::fragments(a, n))),
        attack("deep-json", &[(REJECTED, "too_deep")], USUAL, 20, |a, n| Box::pin(websocket::deep_json(a, n))),
        attack("pings", &[(THROTTLED, "control")], STALL, 20, |a, n| Box::pin(websocket::pings(a, n))),
        attack("churn", &[(ROOM_CHANGES, "entered")], STALL, 20, |a, n| Box::pin(websocket::churn(a, n))),
        attack("events", &[(THROTTLED, "event")], STALL, 20, |a, n| Box::pin(websocket::events(a, n))),
        attack("guessed-sids", &[(REFUSED, "unknown_session")], USUAL, 20, |a, n| Box::pin(polling::guessed_sids(a, n))),
        attack("stolen-sids", &[(CLOSED, "protocol_error")], USUAL, 20, |a, n| Box::pin(polling::stolen_sids(a, n))),
        attack("unconnected", &[(REFUSED, "session_limit"), (REFUSED, "handshake_rate")], USUAL, 20, |a, n| Box::pin(polling::unconnected(a, n))),
        attack("early-packets", &[(REFUSED, "flood")], USUAL, 20, |a, n| Box::pin(polling::early_packets(a, n))),
        attack("never-reading", &[(CLOSED, "write_stall")], STALL, 100, |a, n| Box::pin(reading::never_reading(a, n))),
    ]
}

fn attack(
    name: &'static str,
    counted: &'static [(&'static str, &'static str)],
    least: Duration,
    tasks: usize,
    attempt: for<'a> fn(&'a Attacker, usize) -> Attempt<'a>,
) -> Attack {
    Attack { name, counted, least, tasks, attempt }
}

/// Returns those that need no longer than others.
pub(crate) fn short() -> Vec<Attack> {
    all().into_iter().filter(|attack| attack.least <= BRIEF).collect()
}

/// Returns the attack with this name.
pub(crate) fn named(name: &str) -> Result<Attack> {
    let attacks = all();
    let found = attacks.iter().find(|attack| attack.name == name).copied();
    let names = || attacks.iter().map(|attack| attack.name).collect::<Vec<_>>().join(", ");
    found.ok_or_else(|| format!("no attack \"{name}\"; there are {}", names()).into())
}

/// Opens an Engine.IO session over long polling, and returns its id.
async fn engine_open(attacker: &Attacker, number: usize) -> Result<String> {
    let answer = attacker.ask(number, &http::get("/socket.io/?EIO=4&transport=polling", "")).await?;
    let sid = answer.split_once("\"sid\":\"").and_then(|(_, rest)| Some(rest.split_once('"')?.0));
    Ok(sid.ok_or("no session")?.to_owned())
}
