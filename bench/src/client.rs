//! A raw client: one TCP stream, one push parser, no library under it that could cost more than the server.

use std::future::poll_fn;
use std::io;
use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::task::{Poll, ready};
use std::time::Duration;

use clap::ValueEnum;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::{Error, Result};

pub mod socketio;
pub mod sse;
pub mod ws;

/// What [`Client::hear`] says when the server has ended the connection in the protocol's way.
pub const GOODBYE: &str = "the server has closed the connection";
/// How long a client may take from its first packet to the event `connected`.
const CONNECT: Duration = Duration::from_secs(20);
/// The longest head of a response.
const HEAD: usize = 16 * 1024;
/// Bytes taken from the socket at a time.
const READ: usize = 16 * 1024;
/// Connections from one source address before the next one is used, well below the system's range of ports.
pub const PER_SOURCE: usize = 10_000;

/// How a client speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Raw WebSocket.
    Ws,
    /// Server-Sent Events over HTTP/1.1.
    Sse,
    /// Socket.IO over Engine.IO 4, websocket only.
    Socketio,
}

/// What a push parser makes of the bytes it is fed.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// Bytes to send back: a pong, or the next step of a handshake.
    Answer(Vec<u8>),
    /// The server has ended the connection in the protocol's way.
    End,
    /// An event.
    Event {
        /// Its name.
        name: &'a str,
        /// What carries its payload: at least the payload's JSON.
        data: &'a [u8],
        /// The place it leaves the client at; empty if it tells none.
        cursor: &'a str,
    },
    /// An event stream's `retry:`, in milliseconds. The other transports say it with the event `reconnect`.
    Retry(u64),
}

/// The push parser of one transport.
#[derive(Debug)]
enum Parser {
    Socketio(socketio::Parser),
    Sse(sse::Parser),
    Ws(ws::Parser),
}

/// How a client is to connect.
#[derive(Clone, Debug)]
pub struct Dial {
    /// How it speaks.
    pub transport: Transport,
    /// The server.
    pub server: SocketAddr,
    /// The user it says it is; nobody if `None`.
    pub user: Option<String>,
    /// Its number, which decides the source address.
    pub number: usize,
    /// The kernel's receive buffer in bytes; the system's default if `None`.
    pub receive_buffer: Option<u32>,
}

/// What a client asks for when it connects, beside who it is.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The place it was at before; new here if empty.
    pub cursor: String,
    /// The rooms it names.
    pub rooms: Vec<String>,
}

/// A connected client.
#[derive(Debug)]
pub struct Client {
    stream: TcpStream,
    parser: Parser,
    /// The last place it was told.
    cursor: String,
    retry: Option<Duration>,
    /// Bytes that came with the head of the response.
    early: Vec<u8>,
    answers: Vec<u8>,
    ended: bool,
}

impl Transport {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Ws, Self::Sse, Self::Socketio];

    /// The name of the provider that serves it.
    pub const fn provider(self) -> &'static str {
        match self {
            Self::Socketio => "socket",
            Self::Sse => "sse",
            Self::Ws => "ws",
        }
    }

    fn request(self, user: Option<&str>, wish: &Wish) -> String {
        const UPGRADE: &str = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
        let (path, headers) = match self {
            Self::Socketio => ("/socket.io/?EIO=4&transport=websocket", UPGRADE),
            Self::Sse => ("/sse?", "Accept: text/event-stream\r\n"),
            Self::Ws => ("/ws?", UPGRADE),
        };
        let mut query = user.map(|user| format!("&user={user}&tenant=bench")).unwrap_or_default();
        // Socket.IO's clients say these in `auth`.
        if self != Self::Socketio {
            query.extend(wish.rooms.iter().map(|room| format!("&channel={room}")));
            if !wish.cursor.is_empty() {
                query.extend(["&lastEventId=", &wish.cursor]);
            }
        }
        format!("GET {path}{query} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
    }
}

impl Client {
    /// Connects, and waits for the event `connected`.
    ///
    /// # Errors
    /// When it is refused, or not connected within 20 s.
    pub async fn connect(dial: &Dial) -> Result<Self> {
        Self::connect_with(dial, &Wish::default(), |_, _| {}).await
    }

    /// Connects with a wish, and hands on `connected` and what comes in the same bytes.
    ///
    /// # Errors
    /// When it is refused, or not connected within 20 s.
    pub async fn connect_with(dial: &Dial, wish: &Wish, mut event: impl FnMut(&str, &[u8])) -> Result<Self> {
        let connect = async {
            let mut client = Self::open(dial, wish).await?;
            let mut connected = false;
            while !connected {
                let hear = |name: &str, data: &[u8]| {
                    connected |= name == "connected";
                    event(name, data);
                };
                client.hear(hear).await?;
            }
            Ok::<_, Error>(client)
        };
        timeout(CONNECT, connect).await.map_err(|_| "not connected in time")?
    }

    /// The last place it was told; empty before the first one.
    pub fn cursor(&self) -> &str {
        &self.cursor
    }

    /// The last `retry:` of an event stream since this was last asked.
    pub fn take_retry(&mut self) -> Option<Duration> {
        self.retry.take()
    }

    /// Ends the connection with a reset, as a cut wire does once one side notices.
    ///
    /// # Errors
    /// What the system says.
    pub fn cut(self) -> Result<()> {
        Ok(self.stream.set_zero_linger()?)
    }

    /// Waits for the next bytes and hands on the events in them.
    ///
    /// # Errors
    /// When the connection has ended, or the server breaks the protocol. Not cancel safe while an answer is written.
    pub async fn hear(&mut self, mut event: impl FnMut(&str, &[u8])) -> Result<()> {
        let Self { stream, parser, cursor: place, retry, early, answers, ended } = self;
        if *ended {
            return Err(GOODBYE.into());
        }
        let mut hear = |heard: Heard<'_>| match heard {
            Heard::Answer(bytes) => answers.extend(bytes),
            Heard::End => *ended = true,
            Heard::Retry(millis) => *retry = Some(Duration::from_millis(millis)),
            Heard::Event { name, data, cursor } => {
                if !cursor.is_empty() {
                    place.clear();
                    place.push_str(cursor);
                }
                event(name, data);
            }
        };
        if early.is_empty() {
            poll_fn(|cx| {
                // On the stack of the poll and not in the task, which would keep it while it waits.
                let mut space = [const { MaybeUninit::<u8>::uninit() }; READ];
                let mut buffer = ReadBuf::uninit(&mut space);
                ready!(Pin::new(&mut *stream).poll_read(cx, &mut buffer))?;
                if buffer.filled().is_empty() {
                    return Poll::Ready(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()));
                }
                Poll::Ready(parser.feed(buffer.filled(), &mut hear))
            })
            .await?;
        } else {
            parser.feed(&std::mem::take(early), &mut hear)?;
        }
        if !answers.is_empty() {
            stream.write_all(&std::mem::take(answers)).await?;
        }
        Ok(())
    }

    /// Sends the request and reads the head of the answer.
    async fn open(dial: &Dial, wish: &Wish) -> Result<Self> {
        let socket = TcpSocket::new_v4()?;
        if let Some(bytes) = dial.receive_buffer {
            // Before connecting, for the window's scale is settled there.
            socket.set_recv_buffer_size(bytes)?;
        }
        socket.bind(source(dial.number))?;
        let mut stream = socket.connect(dial.server).await?;
        stream.set_nodelay(true)?;
        stream.write_all(dial.transport.request(dial.user.as_deref(), wish).as_bytes()).await?;

        let mut head = Vec::with_capacity(512);
        let end = loop {
            if stream.read_buf(&mut head).await? == 0 {
                return Err("closed within the head of the response".into());
            }
            if let Some(end) = head.windows(4).position(|window| window == b"\r\n\r\n") {
                break end + 4;
            }
            if head.len() > HEAD {
                return Err("the head of the response is too long".into());
            }
        };
        let parser = Parser::after(dial.transport, wish, std::str::from_utf8(&head[..end])?)?;
        let early = head.split_off(end);
        Ok(Self { stream, parser, cursor: String::new(), retry: None, early, answers: Vec::new(), ended: false })
    }
}

impl Parser {
    /// The parser for what follows this head, if the head says yes.
    fn after(transport: Transport, wish: &Wish, head: &str) -> Result<Self> {
        let head = head.to_ascii_lowercase();
        let expected = if transport == Transport::Sse { " 200 " } else { " 101 " };
        let status = head.lines().next().unwrap_or_default();
        if !status.contains(expected) {
            return Err(format!("refused: {status}").into());
        }
        Ok(match transport {
            Transport::Socketio => Self::Socketio(socketio::Parser::new(wish)?),
            Transport::Sse => Self::Sse(sse::Parser::new(head.contains("transfer-encoding: chunked"))),
            Transport::Ws => Self::Ws(ws::Parser::default()),
        })
    }

    fn feed(&mut self, bytes: &[u8], hear: &mut dyn FnMut(Heard<'_>)) -> Result<()> {
        match self {
            Self::Socketio(parser) => parser.feed(bytes, hear),
            Self::Sse(parser) => parser.feed(bytes, hear),
            Self::Ws(parser) => parser.feed(bytes, hear),
        }
    }
}

/// Loopback addresses in turn, so that the ports of one do not run short; other ones than most programs use, and than
/// other processes of these do.
fn source(number: usize) -> SocketAddr {
    let octet = |number: usize| u8::try_from(number % 200).unwrap_or_default() + 1;
    let process = std::process::id() as usize;
    let address = Ipv4Addr::new(127, octet(process / 200), octet(process), octet(number / PER_SOURCE));
    SocketAddr::new(IpAddr::V4(address), 0)
}
