//! Clients that never read.

use std::time::Duration;

use realtime_bench::Result;
use realtime_faults::api;
use realtime_wire::http;
use realtime_wire::websocket::{UPGRADE, client_text};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio::time::sleep;

use crate::attacker::Attacker;

/// The tenant of these clients.
const TENANT: &str = "deaf";
/// The size of an event to them, in bytes.
const SIZE: usize = 100_000;
const PACE: Duration = Duration::from_millis(200);
const LIMIT: Duration = Duration::from_secs(5);

/// Connects over each transport and reads nothing, while one task sends to all of them.
pub(super) async fn never_reading(attacker: &Attacker, number: usize) -> Result<()> {
    if number == 0 {
        let event = json!({ "target": { "tenant": TENANT }, "event": "large", "data": "x".repeat(SIZE) });
        api::post(attacker.server, "/api/send", &event, LIMIT).await.json()?;
        sleep(PACE).await;
        return Ok(());
    }
    let mut stream = attacker.connect_with(number, Some(4096)).await?;
    let query = format!("user=deaf{number}&tenant={TENANT}");
    let request = match number % 3 {
        0 => http::get(&format!("/sse?{query}"), ""),
        1 => http::get(&format!("/ws?{query}"), UPGRADE),
        _ => http::get(&format!("/socket.io/?EIO=4&transport=websocket&{query}"), UPGRADE),
    };
    stream.write_all(&request).await?;
    if number % 3 == 2 {
        sleep(Duration::from_millis(500)).await;
        stream.write_all(&client_text("40{}")).await?;
    }
    // A closed connection shows in an error of its socket only, since nothing is read.
    loop {
        sleep(Duration::from_secs(1)).await;
        if let Some(error) = stream.take_error()? {
            return Err(error.into());
        }
    }
}
