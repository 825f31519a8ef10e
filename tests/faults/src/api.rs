//! The HTTP interface of a node.

use std::net::SocketAddr;
use std::time::Duration;

use realtime_bench::Result;
use realtime_wire::http::{self, Part, Responses};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// The outcome of a request.
#[derive(Debug)]
pub enum Reply {
    /// An answer, with its status.
    Answer(u16, Vec<u8>),
    /// The request was written, and no answer came.
    Unanswered(String),
    /// No connection: nothing was written.
    Unsent(String),
}

impl Reply {
    /// Returns the JSON of an answer with the status 200.
    ///
    /// # Errors
    /// When it is none.
    pub fn json(self) -> Result<Value> {
        match self {
            Self::Answer(200, body) => Ok(serde_json::from_slice(&body)?),
            Self::Answer(status, body) => Err(format!("{status}: {}", String::from_utf8_lossy(&body)).into()),
            Self::Unanswered(error) | Self::Unsent(error) => Err(error.into()),
        }
    }
}

/// Posts JSON.
pub async fn post(node: SocketAddr, path: &str, body: &Value, limit: Duration) -> Reply {
    call(node, &http::post(path, &body.to_string()), limit).await
}

/// Gets a path.
pub async fn get(node: SocketAddr, path: &str, limit: Duration) -> Reply {
    call(node, &http::get(path, ""), limit).await
}

/// Writes a request on a connection of its own, and reads the answer.
async fn call(node: SocketAddr, request: &[u8], limit: Duration) -> Reply {
    let mut stream = match timeout(limit, TcpStream::connect(node)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Reply::Unsent(error.to_string()),
        Err(_) => return Reply::Unsent("not connected in time".to_owned()),
    };
    match timeout(limit, exchange(&mut stream, request)).await {
        Ok(Ok((status, body))) => Reply::Answer(status, body),
        Ok(Err(error)) => Reply::Unanswered(error.to_string()),
        Err(_) => Reply::Unanswered("not answered in time".to_owned()),
    }
}

async fn exchange(stream: &mut TcpStream, request: &[u8]) -> Result<(u16, Vec<u8>)> {
    stream.write_all(request).await?;
    let (mut responses, mut body, mut ended) = (Responses::default(), Vec::new(), None);
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            return Err("the connection was closed".into());
        }
        responses.feed(&buffer[..length], &mut |status, part| {
            match part {
                Part::Data(data) => body.extend_from_slice(data),
                Part::End => ended = Some(status),
                Part::Head => {}
            }
            Ok(())
        })?;
        if let Some(status) = ended {
            return Ok((status, body));
        }
    }
}
