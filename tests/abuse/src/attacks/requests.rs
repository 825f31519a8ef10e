//! HTTP requests that never end, and too many that do.

use std::time::Duration;

use realtime_bench::Result;
use realtime_wire::http;
use realtime_wire::websocket::UPGRADE;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use super::engine_open;
use crate::attacker::{Attacker, beginning, until_closed};

/// The time between two bytes of a client that trickles.
const TRICKLE: Duration = Duration::from_secs(1);

/// Sends one header after the other, and never the last one.
pub(super) async fn slow_headers(attacker: &Attacker, number: usize) -> Result<()> {
    let stream = attacker.connect(number).await?;
    trickle(stream, &format!("GET /sse?user=slow{number} HTTP/1.1\r\nhost: demo\r\n"), "x: y\r\n").await
}

/// Announces a body and sends a byte of it each second.
pub(super) async fn slow_bodies(attacker: &Attacker, number: usize) -> Result<()> {
    let target = if number.is_multiple_of(2) {
        "/sse/refresh".to_owned()
    } else {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", engine_open(attacker, number).await?)
    };
    let stream = attacker.connect(number).await?;
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: demo\r\ncontent-type: application/json\r\ncontent-length: 8000\r\n\r\n"
    );
    trickle(stream, &head, " ").await
}

async fn trickle(mut stream: TcpStream, first: &str, then: &str) -> Result<()> {
    stream.write_all(first.as_bytes()).await?;
    let (mut reading, mut writing) = stream.split();
    let drain = async { tokio::io::copy(&mut reading, &mut tokio::io::sink()).await };
    let feed = async {
        loop {
            sleep(TRICKLE).await;
            if writing.write_all(then.as_bytes()).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        _ = drain => {}
        () = feed => {}
    }
    Ok(())
}

/// Opens a connection, and sends nothing.
pub(super) async fn idle_sockets(attacker: &Attacker, number: usize) -> Result<()> {
    until_closed(&mut attacker.connect(number).await?).await
}

/// Opens a connection, and resets it.
pub(super) async fn connection_flood(attacker: &Attacker, number: usize) -> Result<()> {
    Ok(attacker.connect(number).await?.set_zero_linger()?)
}

/// Connects as somebody new over each transport, and leaves.
pub(super) async fn handshake_flood(attacker: &Attacker, number: usize) -> Result<()> {
    let user = attacker.next();
    let request = match number % 3 {
        0 => http::get(&format!("/sse?user=flood{user}"), ""),
        1 => http::get(&format!("/ws?user=flood{user}"), UPGRADE),
        _ => http::get("/socket.io/?EIO=4&transport=polling", ""),
    };
    attacker.ask(number, &request).await.map(drop)
}

/// Connects as one user, again and again, and stays.
pub(super) async fn user_flood(attacker: &Attacker, number: usize) -> Result<()> {
    let mut stream = attacker.connect(number).await?;
    let request =
        if number.is_multiple_of(2) { http::get("/sse?user=one", "") } else { http::get("/ws?user=one", UPGRADE) };
    stream.write_all(&request).await?;
    if beginning(&mut stream).await?.contains(" 429 ") {
        sleep(Duration::from_millis(20)).await;
        return Ok(());
    }
    until_closed(&mut stream).await
}

/// Resumes from cursors that no server made: broken, forged, and of another epoch.
pub(super) async fn bad_cursors(attacker: &Attacker, number: usize) -> Result<()> {
    let attempt = attacker.next();
    let cursor = match attempt % 4 {
        0 => "%00%ff".to_owned(),
        1 => "A".repeat(44),
        2 => "B".repeat(5_000),
        _ => format!("{attempt:044}"),
    };
    let request = if number.is_multiple_of(2) {
        http::get(&format!("/sse?user=cursor{number}&lastEventId={cursor}"), "")
    } else {
        http::get(&format!("/ws?user=cursor{number}&lastEventId={cursor}"), UPGRADE)
    };
    attacker.ask(number, &request).await.map(drop)
}

/// Connects without a name, with broken ones, and refreshes streams that are not there.
pub(super) async fn bad_tokens(attacker: &Attacker, number: usize) -> Result<()> {
    let attempt = attacker.next();
    let request = match attempt % 5 {
        0 => http::get("/sse", "authorization: Bearer nonsense\r\n"),
        1 => http::get("/ws?user=", UPGRADE),
        2 => http::get(&format!("/ws?user=%00{attempt}"), UPGRADE),
        3 => http::get(&format!("/sse?user={}", "u".repeat(10_000)), ""),
        _ => http::post("/sse/refresh", &format!("{{\"connectionId\":\"{attempt:032}\",\"token\":\"nonsense\"}}")),
    };
    attacker.ask(number, &request).await.map(drop)
}
