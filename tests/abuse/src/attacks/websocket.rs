//! Attacks by connected clients over WebSocket.

use std::time::Duration;

use realtime_bench::Result;
use realtime_wire::websocket::{TEXT, client_frame, client_text};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::sleep;

use crate::attacker::{Attacker, until_closed};

/// The opcode of a further fragment.
const CONTINUATION: u8 = 0;
const PING: u8 = 9;
/// The bit of the last fragment, in a frame's first byte.
const FIN: u8 = 0x80;

/// A message above the limit, in frames of 64 KiB.
pub(super) async fn oversized(attacker: &Attacker, number: usize) -> Result<()> {
    let mut stream = open(attacker, number).await?;
    let piece = vec![b'x'; 64 * 1024];
    attacker.write(&mut stream, &begun(TEXT, &piece)).await?;
    for _ in 0..64 {
        attacker.write(&mut stream, &begun(CONTINUATION, &piece)).await?;
    }
    until_closed(&mut stream).await
}

/// A frame that announces far more than the limit.
pub(super) async fn announced(attacker: &Attacker, number: usize) -> Result<()> {
    let mut stream = open(attacker, number).await?;
    let mut head = vec![FIN | TEXT, 0x80 | 127];
    head.extend((1u64 << 40).to_be_bytes());
    head.extend([1, 2, 3, 4]);
    stream.write_all(&head).await?;
    until_closed(&mut stream).await
}

/// One message in fragments of one byte, or of none, without an end.
pub(super) async fn fragments(attacker: &Attacker, number: usize) -> Result<()> {
    let mut stream = open(attacker, number).await?;
    let piece: &[u8] = if number.is_multiple_of(2) { b" " } else { b"" };
    stream.write_all(&begun(TEXT, b"{")).await?;
    flood(attacker, stream, &begun(CONTINUATION, piece).repeat(200)).await
}

/// JSON that is nested without an end.
pub(super) async fn deep_json(attacker: &Attacker, number: usize) -> Result<()> {
    let mut text = "{\"type\":\"echo\",\"payload\":".to_owned();
    text.push_str(&"[".repeat(100_000));
    flood(attacker, open(attacker, number).await?, &client_text(&text)).await
}

/// Pings without an end.
pub(super) async fn pings(attacker: &Attacker, number: usize) -> Result<()> {
    flood(attacker, open(attacker, number).await?, &client_frame(PING, &[b'p'; 125]).repeat(100)).await
}

/// Rooms that are entered and left again without an end.
pub(super) async fn churn(attacker: &Attacker, number: usize) -> Result<()> {
    let mut frames = Vec::new();
    for room in 0..50 {
        for kind in ["subscribe", "unsubscribe"] {
            let text = format!("{{\"type\":\"{kind}\",\"payload\":{{\"channel\":\"room{number}-{room}\"}}}}");
            frames.extend(client_text(&text));
        }
    }
    flood(attacker, open(attacker, number).await?, &frames).await
}

/// Events that each have an answer, without an end.
pub(super) async fn events(attacker: &Attacker, number: usize) -> Result<()> {
    let frames = client_text("{\"type\":\"echo\",\"payload\":{\"a\":1},\"ack\":1}").repeat(100);
    flood(attacker, open(attacker, number).await?, &frames).await
}

async fn open(attacker: &Attacker, number: usize) -> Result<TcpStream> {
    attacker.websocket(number, &format!("/ws?user=frames{number}&tenant=attackers")).await
}

/// Writes the same frames until the connection ends, and reads what comes.
async fn flood(attacker: &Attacker, mut stream: TcpStream, frames: &[u8]) -> Result<()> {
    let (mut reading, mut writing) = stream.split();
    let read = async { tokio::io::copy(&mut reading, &mut tokio::io::sink()).await };
    let write = async {
        while attacker.write(&mut writing, frames).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::select! {
        _ = read => {}
        () = write => {}
    }
    // Reconnecting at once is the handshake flood.
    sleep(Duration::from_millis(100)).await;
    Ok(())
}

/// Encodes a frame that is not the last one of its message.
fn begun(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = client_frame(opcode, payload);
    frame[0] &= !FIN;
    frame
}
