//! Plain TCP clients, for tests of what a well-behaved client never does.

use std::net::SocketAddr;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::{TcpSocket, TcpStream};

use crate::in_time;

/// Connects with a receive buffer of 8 KiB, so that the server's writes stall after few bytes when
/// the client does not read.
///
/// # Panics
/// If the connection fails.
pub async fn connect_with_small_buffer(address: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().expect("a socket can be created");
    socket.set_recv_buffer_size(8 * 1024).expect("the receive buffer can be set");
    in_time("a connection", socket.connect(address)).await.expect("the server accepts the connection")
}

/// Reads the head of an HTTP/1.1 message with the empty line behind it, and leaves the rest unread.
///
/// # Panics
/// If the connection ends before, or the head is not UTF-8.
pub async fn read_head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte = in_time("a message head", stream.read_u8()).await;
        head.push(byte.unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&head))));
    }
    String::from_utf8(head).expect("a head in UTF-8")
}

/// Makes a client unreachable: its kernel drops every packet from now on, and answers none.
///
/// # Panics
/// If the kernel refuses the filter.
#[cfg(all(feature = "server", target_os = "linux"))]
pub fn blackhole(stream: &TcpStream) {
    // A program that drops each packet: BPF_RET | BPF_K with zero.
    let drop_all = socket2::SockFilter::new(6, 0, 0, 0);
    socket2::SockRef::from(stream).attach_filter(&[drop_all]).expect("the filter can be attached");
}
