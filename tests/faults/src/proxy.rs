//! The network between a node and its broker: a TCP proxy that can hold everything back, or lead
//! to another broker.

use std::net::SocketAddr;

use realtime_bench::Result;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The state that the connections follow.
#[derive(Clone, Copy, Debug)]
struct Line {
    /// `true` while no byte passes, in either direction.
    held: bool,
    to: SocketAddr,
    /// Counts the brokers; connections to an earlier one are closed.
    turn: u64,
}

/// A running proxy; dropping this closes all connections.
#[derive(Debug)]
pub struct Proxy {
    /// The address that it listens on.
    pub address: SocketAddr,
    line: watch::Sender<Line>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    /// Starts one in front of a broker.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn start(to: SocketAddr) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (line, followed) = watch::channel(Line { held: false, to, turn: 0 });
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((client, _)) = listener.accept().await {
                while connections.try_join_next().is_some() {}
                connections.spawn(carry(client, followed.clone()));
            }
        });
        Ok(Self { address, line, _tasks: tasks })
    }

    /// Holds everything back, or lets it pass again: bytes and ends that came meanwhile arrive
    /// then.
    pub fn hold(&self, held: bool) {
        self.line.send_modify(|line| line.held = held);
    }

    /// Closes all connections, and leads new ones to another broker.
    pub fn lead_to(&self, to: SocketAddr) {
        self.line.send_modify(|line| (line.to, line.turn) = (to, line.turn + 1));
    }
}

async fn carry(client: TcpStream, mut line: watch::Receiver<Line>) {
    let Ok(Line { to, turn, .. }) = line.wait_for(|line| !line.held).await.map(|line| *line) else { return };
    let Ok(broker) = TcpStream::connect(to).await else { return };
    let _ = (client.set_nodelay(true), broker.set_nodelay(true));
    let ((from_client, to_client), (from_broker, to_broker)) = (client.into_split(), broker.into_split());
    tokio::select! {
        // Either end ends both.
        _ = pump(from_client, to_broker, line.clone()) => {}
        _ = pump(from_broker, to_client, line.clone()) => {}
        _ = line.wait_for(|line| line.turn != turn) => {}
    }
}

async fn pump(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut line: watch::Receiver<Line>) -> Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or_default();
        line.wait_for(|line| !line.held).await?;
        if length == 0 {
            return Ok(());
        }
        to.write_all(&buffer[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    async fn echo(mark: u8) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    while stream.read_u8().await.is_ok() {
                        stream.write_u8(mark).await.unwrap();
                    }
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream) -> std::io::Result<u8> {
        stream.write_u8(0).await?;
        stream.read_u8().await
    }

    #[tokio::test]
    async fn held_bytes_arrive_later_and_another_broker_takes_over() {
        let (first, second) = (echo(1).await, echo(2).await);
        let proxy = Proxy::start(first).await.unwrap();
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), 1);
        proxy.hold(true);
        stream.write_u8(0).await.unwrap();
        assert!(timeout(Duration::from_millis(50), stream.read_u8()).await.is_err());
        proxy.hold(false);
        assert_eq!(stream.read_u8().await.unwrap(), 1);
        proxy.lead_to(second);
        assert!(ask(&mut stream).await.is_err());
        let mut stream = TcpStream::connect(proxy.address).await.unwrap();
        assert_eq!(ask(&mut stream).await.unwrap(), 2);
    }
}
