use std::io;
use std::process::Child;
use std::time::Duration;

use tokio::net::TcpStream;

use crate::in_time;

/// Waits until a server on this port of this machine is up, as a check of a new connection says.
///
/// # Panics
/// If the process ends, or it takes longer than [`DEADLINE`](crate::DEADLINE).
pub async fn until_answering<F>(process: &mut Child, port: u16, is_up: impl Fn(TcpStream) -> F + Send + Sync)
where
    F: Future<Output = io::Result<bool>> + Send,
{
    let answering = async {
        loop {
            if let Ok(stream) = TcpStream::connect(("127.0.0.1", port)).await
                && is_up(stream).await.unwrap_or(false)
            {
                return;
            }
            if let Ok(Some(status)) = process.try_wait() {
                panic!("the server on port {port} ended: {status}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    in_time("a server that answers", answering).await;
}
