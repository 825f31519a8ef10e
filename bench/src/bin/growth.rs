//! Times that would grow with a product of two numbers in a careless implementation, by either
//! number:
//!
//! - a catch-up, by the rooms entered and joined: each 64 KiB are read under the window's lock,
//! - a disconnect, by the asks that are under way on the node,
//! - a URL, by the rooms that it names, which are read before the client is authenticated.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use futures_util::sink;
use hyper::Request;
use realtime_bench::Result;
use realtime_bench::report::Report;
use realtime_http::spi::ConnectQuery;
use realtime_unified::config::OutboxConfig;
use realtime_unified::spi::{Link, Runtime};
use realtime_unified::{ConnectRequest, Event, Identity, RealtimeProvider, Target, WsConfig, WsProvider};
use tokio::sync::{Notify, Semaphore};

/// Bytes of one event's payload; 16 of them fill a read.
const PAYLOAD: usize = 4 * 1024;
const READ: usize = 64 * 1024;

#[derive(Parser)]
struct Args {
    /// Rooms of either kind, asks under way, and rooms in a URL: one line for each number
    #[arg(long, value_delimiter = ',', default_values_t = [1, 10, 100, 1000])]
    numbers: Vec<usize>,
    /// Reads of 64 KiB, disconnects, and requests that are measured for each number
    #[arg(long, default_value_t = 50)]
    times: usize,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let args = Args::parse();
    let mut report = Report::default();
    report.table(24, &["rooms entered + joined", "µs for each 64 KiB of catch-up"]);
    for number in &args.numbers {
        row(&report, format!("{number} + {number}"), catch_up(*number, args.times).await?);
    }
    println!();
    report.table(24, &["asks under way", "µs for each disconnect"]);
    for number in &args.numbers {
        row(&report, number.to_string(), disconnect(*number, args.times).await?);
    }
    println!();
    report.table(24, &["times a URL names a room", "µs for each request"]);
    for number in &args.numbers {
        let all_differ = name_rooms(&(0..*number).map(|n| format!("channel={n}")).collect::<Vec<_>>(), args.times);
        let all_the_same = name_rooms(&vec!["channel=board".to_owned(); *number], args.times);
        row(&report, format!("{number}, all differ"), all_differ);
        row(&report, format!("{number}, all the same"), all_the_same);
    }
    Ok(())
}

fn row(report: &Report, what: String, micros: f64) {
    report.row(&[what, format!("{micros:.1}")]);
}

/// Closes connections while asks of others are under way; returns microseconds for each.
async fn disconnect(asks: usize, times: usize) -> Result<f64> {
    let provider = WsProvider::new(WsConfig::default());
    provider.attach(Runtime::in_memory()).await?;
    let asked = provider.connect(Identity::user("asked"), sink::drain())?;
    let asker = provider.socket_io().ok_or("no asks")?;
    let mut under_way = Vec::new();
    for _ in 0..asks {
        let ask = Event::json("sure?", &())?;
        under_way.push(asker.ask(Target::user("asked"), ask, Duration::from_secs(3600)).await?);
    }
    let leaving: Vec<_> = (0..times)
        .map(|_| provider.connect(Identity::anonymous(), sink::drain()))
        .collect::<std::result::Result<_, _>>()?;
    let begun = Instant::now();
    leaving.into_iter().for_each(Link::close);
    let elapsed = begun.elapsed();
    drop((asked, under_way));
    Ok(elapsed.as_secs_f64() * 1e6 / times as f64)
}

/// Reads a URL's query; returns microseconds for each.
fn name_rooms(channels: &[String], times: usize) -> f64 {
    let (parts, ()) = Request::get(format!("/sse?{}", channels.join("&"))).body(()).unwrap_or_default().into_parts();
    let begun = Instant::now();
    for _ in 0..times {
        std::hint::black_box(ConnectQuery::of(&ConnectRequest::new("sse", &parts), 100));
    }
    begun.elapsed().as_secs_f64() * 1e6 / times as f64
}

/// Lets a reader fall behind and catch up; returns microseconds for each read.
async fn catch_up(rooms: usize, reads: usize) -> Result<f64> {
    let config = WsConfig::default().with_outbox(OutboxConfig::default().with_frames(4));
    let provider = WsProvider::new(config);
    provider.attach(Runtime::in_memory()).await?;
    let received = Arc::new((AtomicUsize::new(0), Notify::new(), Semaphore::new(1)));
    let events = reads * READ / PAYLOAD;
    let sink = sink::unfold(Arc::clone(&received), move |received, bytes: bytes::Bytes| async move {
        // Waits while the gate is shut.
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
