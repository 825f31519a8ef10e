//! A raw client: one TCP stream and a parser that does not parse JSON, so that it costs less than
//! the server does.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use clap::ValueEnum;
use realtime_wire::{ConnectOptions, Connection, Received, Scanned};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::server::user_name;
use crate::{Error, Result};

/// The error of [`Client::receive`] when the server has closed the connection in the protocol's
/// way.
pub const CLOSED: &str = "the server has closed the connection";
/// The time that a client may take from its first packet to the event `connected`.
const CONNECT: Duration = Duration::from_secs(20);
/// Bytes read from the socket at a time.
const READ: usize = 16 * 1024;
/// Connections from one source address before the next one is used, well below the system's range
/// of ports.
pub const PER_SOURCE: usize = 10_000;

/// A transport of the benchmarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Raw WebSocket.
    Ws,
    /// Server-Sent Events over HTTP/1.1.
    Sse,
    /// Socket.IO over Engine.IO 4, websocket only.
    Socketio,
}

/// The way in which a client connects.
#[derive(Clone, Debug)]
pub struct Dial {
    /// The transport.
    pub transport: Transport,
    /// The server.
    pub server: SocketAddr,
    /// The user's name; anonymous if `None`.
    pub user: Option<String>,
    /// The client's number, which decides the source address.
    pub number: usize,
    /// The kernel's receive buffer in bytes; the system's default if `None`.
    pub receive_buffer: Option<u32>,
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    connection: Connection,
    /// The last cursor that it received.
    cursor: String,
    retry: Option<Duration>,
    closed: bool,
}

impl Transport {
    /// Every transport.
    pub const ALL: [Self; 3] = [Self::Ws, Self::Sse, Self::Socketio];

    /// Returns the name of the provider that serves it.
    #[must_use]
    pub const fn provider(self) -> &'static str {
        self.wire().provider()
    }

    const fn wire(self) -> realtime_wire::Transport {
        match self {
            Self::Socketio => realtime_wire::Transport::SocketIo,
            Self::Sse => realtime_wire::Transport::Sse,
            Self::Ws => realtime_wire::Transport::Ws,
        }
    }
}

impl Dial {
    /// Creates the dial of client `number`, with a user of its own.
    #[must_use]
    pub fn new(transport: Transport, server: SocketAddr, number: usize) -> Self {
        Self { transport, server, user: Some(user_name(number)), number, receive_buffer: None }
    }
}

impl Client {
    /// Connects, and waits for the event `connected`.
    ///
    /// # Errors
    /// When it is rejected, or not connected within 20 s.
    pub async fn connect(dial: &Dial) -> Result<Self> {
        Self::connect_with(dial, &ConnectOptions::default(), |_, _| {}).await
    }

    /// Connects with a cursor and rooms (the query follows from the user), and hands on `connected`
    /// and the events in the same bytes.
    ///
    /// # Errors
    /// When it is rejected, or not connected within 20 s.
    pub async fn connect_with(
        dial: &Dial,
        options: &ConnectOptions,
        mut event: impl FnMut(&str, &[u8]),
    ) -> Result<Self> {
        let connect = async {
            let mut client = Self::open(dial, options).await?;
            let mut connected = false;
            while !connected {
                let each = |name: &str, data: &[u8]| {
                    connected |= name == "connected";
                    event(name, data);
                };
                client.receive(each).await?;
            }
            Ok::<_, Error>(client)
        };
        timeout(CONNECT, connect).await.map_err(|_| "not connected in time")?
    }

    /// Returns the last cursor that it received, if there was one.
    #[must_use]
    pub fn cursor(&self) -> Option<String> {
        Some(self.cursor.clone()).filter(|cursor| !cursor.is_empty())
    }

    /// Returns the last `retry:` of an event stream, the one that it began with included.
    #[must_use]
    pub fn last_retry(&self) -> Option<Duration> {
        self.connection.retry().map(Duration::from_millis)
    }

    /// Takes the last `retry:` of an event stream since the previous call.
    pub fn take_retry(&mut self) -> Option<Duration> {
        self.retry.take()
    }

    /// Closes the connection with a reset, as a network failure does once one side notices.
    ///
    /// # Errors
    /// When the system fails to.
    pub fn reset(self) -> Result<()> {
        Ok(self.stream.set_zero_linger()?)
    }

    /// Waits for the next bytes and hands on the events in them.
    ///
    /// # Errors
    /// When the connection is closed or rejected, or the server breaks the protocol. Not cancel
    /// safe while a reply is written.
    pub async fn receive(&mut self, mut event: impl FnMut(&str, &[u8])) -> Result<()> {
        self.receive_scanned(|scanned| event(scanned.name, scanned.data)).await
    }

    /// Waits for the next bytes and hands on the events in them, each with its cursor.
    ///
    /// # Errors
    /// Those of [`Client::receive`].
    pub async fn receive_scanned(&mut self, mut event: impl FnMut(Scanned<'_>)) -> Result<()> {
        let Self { stream, connection, cursor, retry, closed } = self;
        if *closed {
            return Err(CLOSED.into());
        }
        let mut each = |received: Received<'_>| {
            match received {
                Received::Close => *closed = true,
                Received::Message(encoded) => {
                    if let Some(scanned) = encoded.scan()? {
                        if !scanned.cursor.is_empty() {
                            cursor.clear();
                            cursor.push_str(scanned.cursor);
                        }
                        event(scanned);
                    }
                }
                Received::Refused(what) => return Err(format!("rejected: {what}")),
                Received::Retry(millis) => *retry = Some(Duration::from_millis(millis)),
            }
            Ok(())
        };
        poll_fn(|cx| {
            // On the stack of the poll and not in the task, which would keep it while it waits.
            let mut space = [const { MaybeUninit::<u8>::uninit() }; READ];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
            }
            Poll::Ready(connection.feed(0, buffer.filled(), &mut each).map_err(Error::from))
        })
        .await?;
        // A closed connection is dropped next: its close frame stays unanswered.
        let outgoing = connection.outgoing(0);
        if !outgoing.is_empty() && !*closed {
            stream.write_all(&std::mem::take(outgoing)).await?;
        }
        Ok(())
    }

    /// Connects the socket and sends the request; nothing has been received yet.
    ///
    /// # Errors
    /// When the system fails to.
    pub async fn open(dial: &Dial, options: &ConnectOptions) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = dial.receive_buffer {
            // Before connecting, for the window's scale is settled there.
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(source(dial.number))?;
        let mut stream = socket.connect(dial.server).await?;
        stream.set_nodelay(true)?;
        let query = dial.user.as_ref().map(|user| format!("user={user}&tenant=bench")).unwrap_or_default();
        let options = ConnectOptions { query, ..options.clone() };
        let mut connection = Connection::new(dial.transport.wire(), &options);
        stream.write_all(&std::mem::take(connection.outgoing(0))).await?;
        Ok(Self { stream, connection, cursor: String::new(), retry: None, closed: false })
    }
}

/// Returns loopback addresses in turn, so that the ports of one do not run short; they differ from
/// those of most programs, and of other processes of these benchmarks.
fn source(number: usize) -> SocketAddr {
    let octet = |number: usize| u8::try_from(number % 200).unwrap_or_default() + 1;
    let process = std::process::id() as usize;
    let address = Ipv4Addr::new(127, octet(process / 200), octet(process), octet(number / PER_SOURCE));
    SocketAddr::new(IpAddr::V4(address), 0)
}
