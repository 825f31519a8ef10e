use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Closed, Packet, soon};

/// Engine.IO client on a websocket.
pub struct Websocket(pub WebSocketStream<TcpStream>);

impl Websocket {
    /// Performs the handshake for this path and query. With `buffer`, the kernel's receive buffer
    /// has about this number of bytes.
    pub async fn open(address: SocketAddr, path: &str, buffer: Option<u32>) -> Result<Self, tungstenite::Error> {
        let socket = TcpSocket::new_v4().unwrap();
        if let Some(bytes) = buffer {
            socket.set_recv_buffer_size(bytes).unwrap();
        }
        let stream = soon("a connection", socket.connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let url = format!("ws://{address}{path}");
        let (websocket, _) = soon("a handshake", tokio_tungstenite::client_async(url, stream)).await?;
        Ok(Self(websocket))
    }

    pub async fn next(&mut self) -> Result<Packet, Closed> {
        loop {
            return match self.0.next().await {
                Some(Ok(Message::Text(text))) => Ok(Packet::Text(text.to_string())),
                Some(Ok(Message::Binary(bytes))) => Ok(Packet::Binary(bytes)),
                Some(Ok(Message::Close(frame))) => {
                    // Answers the close frame and waits for EOF.
                    while let Some(Ok(_)) = self.0.next().await {}
                    Err(Closed { code: frame.map(|frame| frame.code.into()) })
                }
                Some(Ok(_)) => continue,
                Some(Err(_)) | None => Err(Closed { code: None }),
            };
        }
    }

    /// Sends packets. Errors are ignored: the next read reports them.
    pub async fn send(&mut self, packets: Vec<Packet>) {
        for packet in packets {
            let message = match packet {
                Packet::Text(text) => Message::text(text),
                Packet::Binary(bytes) => Message::Binary(bytes),
            };
            let _ = self.0.feed(message).await;
        }
        let _ = self.0.flush().await;
    }
}
