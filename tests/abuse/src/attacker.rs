//! The attacking process.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use realtime_bench::{Result, lock, process};
use realtime_wire::http;
use realtime_wire::websocket::UPGRADE;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use crate::attack::Attack;

/// The addresses that an attack comes from.
const SOURCES: usize = 4;
/// The time to wait for an answer.
const ANSWER: Duration = Duration::from_secs(5);
/// The time after an attempt that failed.
const PAUSE: Duration = Duration::from_millis(2);
/// The bytes per second that an attack sends in all: a line of 1 Gbit/s.
const LINE: f64 = 125e6;
/// The nice value: the watched clients on the same processor come first.
const NICE: i32 = 15;

/// The state that the tasks of an attack share.
pub(crate) struct Attacker {
    /// The attacked server.
    pub(crate) server: SocketAddr,
    /// The end of the attack.
    pub(crate) end: Instant,
    /// The number of attempts.
    attempts: AtomicU64,
    /// The next number of [`next`](Self::next).
    next: AtomicU64,
    /// The time at which the line is free.
    line: Mutex<Instant>,
}

/// Makes an attack for so long, and prints the number of attempts.
pub(crate) fn run(attack: Attack, server: SocketAddr, length: Duration) -> Result<()> {
    process::end_with_parent();
    rustix::process::nice(NICE)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let attacker = Arc::new(Attacker {
            server,
            end: Instant::now() + length,
            attempts: AtomicU64::new(0),
            next: AtomicU64::new(0),
            line: Mutex::new(Instant::now()),
        });
        let mut tasks = JoinSet::new();
        for number in 0..attack.tasks {
            tasks.spawn(repeat(attack, Arc::clone(&attacker), number));
        }
        tasks.join_all().await;
        println!("{}", attacker.attempts.load(Ordering::Relaxed));
        Ok(())
    })
}

async fn repeat(attack: Attack, attacker: Arc<Attacker>, number: usize) {
    while Instant::now() < attacker.end {
        attacker.attempts.fetch_add(1, Ordering::Relaxed);
        match timeout_at(attacker.end, (attack.attempt)(&attacker, number)).await {
            Ok(Ok(())) => tokio::task::yield_now().await,
            Ok(Err(_)) => sleep(PAUSE).await,
            Err(_) => return,
        }
    }
}

impl Attacker {
    /// Returns a number that is not returned again.
    pub(crate) fn next(&self) -> u64 {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    /// Writes bytes once the line is free.
    pub(crate) async fn write(&self, stream: &mut (impl AsyncWriteExt + Unpin), bytes: &[u8]) -> Result<()> {
        let turn = {
            let mut line = lock(&self.line);
            let turn = (*line).max(Instant::now());
            *line = turn + Duration::from_secs_f64(bytes.len() as f64 / LINE);
            turn
        };
        sleep_until(turn).await;
        Ok(stream.write_all(bytes).await?)
    }

    /// Connects from one of the addresses of the attack.
    pub(crate) async fn connect(&self, number: usize) -> Result<TcpStream> {
        self.connect_with(number, None).await
    }

    /// Connects with a receive buffer of this size.
    pub(crate) async fn connect_with(&self, number: usize, receive_buffer: Option<u32>) -> Result<TcpStream> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = receive_buffer {
            socket.set_recv_buffer_size(bytes)?;
        }
        let octet = u8::try_from(number % SOURCES)? + 1;
        socket.bind(SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 66, 0, octet)), 0))?;
        let stream = socket.connect(self.server).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Sends a request on a connection of its own, and returns the beginning of the answer.
    pub(crate) async fn ask(&self, number: usize, request: &[u8]) -> Result<String> {
        let mut stream = self.connect(number).await?;
        stream.write_all(request).await?;
        let answer = beginning(&mut stream).await;
        // A reset, so that the addresses do not run out of ports.
        stream.set_zero_linger()?;
        answer
    }

    /// Opens a WebSocket at this target.
    ///
    /// # Errors
    /// When it is refused.
    pub(crate) async fn websocket(&self, number: usize, target: &str) -> Result<TcpStream> {
        let mut stream = self.connect(number).await?;
        stream.write_all(&http::get(target, UPGRADE)).await?;
        let answer = beginning(&mut stream).await?;
        if !answer.starts_with("HTTP/1.1 101") {
            stream.set_zero_linger()?;
            return Err(answer.into());
        }
        Ok(stream)
    }
}

/// Reads until the first bytes of an answer, some KiB at most.
pub(crate) async fn beginning(stream: &mut TcpStream) -> Result<String> {
    let mut buffer = vec![0; 4096];
    let length = timeout(ANSWER, stream.read(&mut buffer)).await.map_err(|_| "no answer")??;
    if length == 0 {
        return Err("disconnected".into());
    }
    Ok(String::from_utf8_lossy(&buffer[..length]).into_owned())
}

/// Reads and drops what comes until the connection ends.
pub(crate) async fn until_closed(stream: &mut TcpStream) -> Result<()> {
    let mut buffer = vec![0; 4096];
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
