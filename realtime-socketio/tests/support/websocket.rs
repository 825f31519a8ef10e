use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};
use tokio_tungstenite::tungstenite::{self, Message};

use super::{Closed, Packet, in_time};

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
        let stream = in_time("a connection", socket.connect(address)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let url = format!("ws://{address}{path}");
        let (websocket, _) = in_time("a handshake", tokio_tungstenite::client_async(url, stream)).await?;
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

    /// Reads to the end, and returns it.
    pub async fn closed(&mut self) -> Closed {
        let closed = async {
            loop {
                if let Err(closed) = self.next().await {
                    return closed;
                }
            }
        };
        in_time("the close", closed).await
    }

    /// Reads to the close frame, and returns its code and reason; zero and nothing if there is
    /// none.
    pub async fn close_frame(&mut self) -> (u16, String) {
        let frame = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Close(Some(frame)))) => return (frame.code.into(), frame.reason.to_string()),
                    Some(Ok(Message::Close(None)) | Err(_)) | None => return (0, String::new()),
                    Some(Ok(_)) => {}
                }
            }
        };
        in_time("a close frame", frame).await
    }

    /// Sends a text in one frame for each of its parts.
    pub async fn send_parts(&mut self, parts: &[&[u8]]) -> Result<(), tungstenite::Error> {
        for (number, part) in parts.iter().enumerate() {
            let code = if number == 0 { Data::Text } else { Data::Continue };
            let mut frame = Frame::message(part.to_vec(), OpCode::Data(code), number + 1 == parts.len());
            frame.header_mut().mask = Some([1, 2, 3, 4]);
            self.0.send(Message::Frame(frame)).await?;
        }
        Ok(())
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
