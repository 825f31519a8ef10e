//! What one reader's rooms cost while it catches up: time for each 64 KiB that it reads, by the number of rooms it entered
//! itself and was joined to. It grows in proportion, and the window's lock is held for all of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use clap::Parser;
use futures_util::sink;
use realtime_bench::Result;
use realtime_unified::{Event, Identity, OutboxConfig, RealtimeProvider, Runtime, WsConfig, WsProvider};
use tokio::sync::{Notify, Semaphore};

/// Bytes of one event's payload: so many fill a read.
const PAYLOAD: usize = 4 * 1024;
const READ: usize = 64 * 1024;

#[derive(Parser)]
struct Args {
    /// Rooms of either kind: one line for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000])]
    rooms: Vec<usize>,
    /// Reads of 64 KiB that are measured
    #[arg(long, default_value_t = 50)]
    reads: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    println!("rooms entered + joined | µs for each 64 KiB of catch-up");
    for rooms in args.rooms {
        println!("{rooms:14} + {rooms:<5} | {:25.1}", catch_up(rooms, args.reads).await?);
    }
    Ok(())
}

/// Lets a reader fall behind and catch up; microseconds for each read.
async fn catch_up(rooms: usize, reads: usize) -> Result<f64> {
    let config = WsConfig::default().with_outbox(OutboxConfig::default().with_frames(4));
    let provider = WsProvider::new(config);
    provider.attach(Runtime::in_memory()).await?;
    let received = Arc::new((AtomicUsize::new(0), Notify::new(), Semaphore::new(1)));
    let events = reads * READ / PAYLOAD;
    let sink = sink::unfold(Arc::clone(&received), move |received, bytes: bytes::Bytes| async move {
        // Stands still while the gate is shut.
        drop(received.2.acquire().await);
        if bytes.len() > PAYLOAD && received.0.fetch_add(1, Ordering::Relaxed) + 1 == events {
            received.1.notify_one();
        }
        Ok::<_, std::convert::Infallible>(received)
    });
    let link = provider.connect(Identity::user("reader"), sink)?;
    let membership = provider.rooms().ok_or("no rooms")?;
    for room in 0..rooms {
        link.enter_room(&format!("own {room}"))?;
        membership.join_room("reader", &format!("joined {room}")).await?;
    }
    let gate = received.2.acquire().await?;
    let broadcast = provider.broadcast();
    let payload = "x".repeat(PAYLOAD);
    for _ in 0..events {
        broadcast.to_room("own 0", Event::json("e", &payload)?).await?;
    }
    let begun = Instant::now();
    drop(gate);
    received.1.notified().await;
    Ok(begun.elapsed().as_secs_f64() * 1e6 / reads as f64)
}
