//! Socket.IO over long polling, with the session ids of others.

use std::time::Duration;

use realtime_bench::Result;
use realtime_wire::http;
use tokio::time::sleep;

use super::engine_open;
use crate::attacker::Attacker;

/// Polls and posts with ids that it makes up.
pub(super) async fn guessed_sids(attacker: &Attacker, number: usize) -> Result<()> {
    let guess = attacker.next();
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={guess:020}AAAA");
    let request = if number.is_multiple_of(2) { http::get(&target, "") } else { http::post(&target, "40") };
    attacker.ask(number, &request).await.map(drop)
}

/// Connects a session, and uses its id from two other connections at the same time.
pub(super) async fn stolen_sids(attacker: &Attacker, number: usize) -> Result<()> {
    let sid = engine_open(attacker, number).await?;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let connect = format!("40{{\"user\":\"stolen{number}\"}}");
    attacker.ask(number, &http::post(&target, &connect)).await?;
    let poll = http::get(&target, "");
    // Reads the first packets of the server. Two polls at a time wait after that.
    attacker.ask(number, &poll).await?;
    let _ = tokio::join!(attacker.ask(number + 1, &poll), attacker.ask(number + 2, &poll));
    Ok(())
}

/// Opens sessions that never connect to a namespace.
pub(super) async fn unconnected(attacker: &Attacker, number: usize) -> Result<()> {
    engine_open(attacker, number).await?;
    sleep(Duration::from_millis(5)).await;
    Ok(())
}

/// Sends more packets before its connection than a client needs.
pub(super) async fn early_packets(attacker: &Attacker, number: usize) -> Result<()> {
    let sid = engine_open(attacker, number).await?;
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}");
    let packets = vec!["42[\"echo\",1]"; 1_000].join("\u{1e}");
    attacker.ask(number, &http::post(&target, &packets)).await.map(drop)
}
