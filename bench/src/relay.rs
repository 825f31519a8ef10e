//! One port in front of several servers, as any load balancer: a connection goes to the first
//! server that is ready.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional_with_sizes};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::Child;
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::{Result, child, process};

/// The time between two questions to each server whether it is ready.
const ASK: Duration = Duration::from_millis(100);
/// The time that a server may take to answer.
const ANSWER: Duration = Duration::from_secs(1);
/// The buffer sizes of each connection, from a client and to it.
const BUFFERS: (usize, usize) = (1024, 4096);
/// The number of no server: none is ready.
const NONE: usize = usize::MAX;

/// A running relay process. Dropping this kills it, and it ends by itself when this process is
/// gone.
#[derive(Debug)]
pub struct RelayProcess {
    _child: Child,
    /// The address that it listens on.
    pub address: SocketAddr,
}

impl RelayProcess {
    /// Starts one for this many connections at a time, and waits until it has found a server that
    /// is ready, of which the first one is preferred.
    ///
    /// # Errors
    /// When it cannot be started or ends early.
    pub async fn start(servers: &[SocketAddr], connections: usize) -> Result<Self> {
        let options = serde_json::to_string(&(servers, connections))?;
        let (child, address) = child::start(&[], &["relay", &options]).await?;
        Ok(Self { _child: child, address: address.parse()? })
    }
}

/// Relays until the parent process is gone, with options as [`RelayProcess::start`] writes them.
pub(crate) fn run(options: &str) -> Result<()> {
    let (servers, connections): (_, u64) = serde_json::from_str(options)?;
    // Two for each, and once more for clients that reconnect before the old connections are closed.
    process::raise_open_files(connections * 3 + 256)?;
    process::end_with_parent();
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(relay(servers))
}

async fn relay(servers: Vec<SocketAddr>) -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let chosen = Arc::new(AtomicUsize::new(NONE));
    let mut asking = interval(ASK);
    asking.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while chosen.load(Ordering::Relaxed) == NONE {
        asking.tick().await;
        choose(&servers, &chosen).await;
    }
    println!("{}", listener.local_addr()?);
    let (known, now) = (servers.clone(), Arc::clone(&chosen));
    tokio::spawn(async move {
        loop {
            asking.tick().await;
            choose(&known, &now).await;
        }
    });
    loop {
        let (client, _) = listener.accept().await?;
        // No server is ready: the client finds its connection closed.
        let Some(server) = servers.get(chosen.load(Ordering::Relaxed)).copied() else { continue };
        tokio::spawn(async move {
            // However it ends, both sides notice.
            let _ = carry(client, server).await;
        });
    }
}

async fn carry(mut client: TcpStream, server: SocketAddr) -> Result<()> {
    let mut server = TcpStream::connect(server).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from, to) = BUFFERS;
    copy_bidirectional_with_sizes(&mut client, &mut server, from, to).await?;
    Ok(())
}

/// Asks the servers in order, and stores the first one that is ready.
async fn choose(servers: &[SocketAddr], chosen: &AtomicUsize) {
    for (number, server) in servers.iter().enumerate() {
        if matches!(timeout(ANSWER, is_ready(*server)).await, Ok(Ok(true))) {
            return chosen.store(number, Ordering::Relaxed);
        }
    }
    chosen.store(NONE, Ordering::Relaxed);
}

async fn is_ready(server: SocketAddr) -> Result<bool> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    Ok(&answer == b"HTTP/1.1 200")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Starts a server that answers every request with this status.
    async fn server(status: &'static str) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 256]).await;
                let _ = stream.write_all(format!("HTTP/1.1 {status}\r\n\r\n").as_bytes()).await;
            }
        });
        address
    }

    #[tokio::test]
    async fn first_ready_server_is_chosen() {
        let (down, up, also_up) = (server("503 No").await, server("200 OK").await, server("200 OK").await);
        let gone = {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            listener.local_addr().unwrap()
        };
        let chosen = AtomicUsize::new(NONE);
        choose(&[gone, down, up, also_up], &chosen).await;
        assert_eq!(chosen.load(Ordering::Relaxed), 2);
        choose(&[gone, down], &chosen).await;
        assert_eq!(chosen.load(Ordering::Relaxed), NONE);
    }
}
