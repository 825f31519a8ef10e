//! A plain fan-out of pre-encoded frames: what every server with a task for each connection needs,
//! and nothing else.
//!
//! It uses the same listener, router and upgrade as our WebSocket provider, and sends the same
//! bytes. It has no log, no window, no positions and no receipts: a client that reads too slowly is
//! closed.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{Response, StatusCode, header};
use axum::routing::get;
use bytes::Bytes;
use futures_util::task::AtomicWaker;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use realtime_unified::serve;
use realtime_wire::websocket::server_text;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpListener;
use tokio::time::{Instant, Sleep};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use super::{CONNECTED, envelope, everyone};
use crate::server::{Audience, Publisher};
use crate::{Result, lock};

/// The number of frames that may wait for one connection, as in our outboxes.
const FRAMES: usize = 256;
/// The number of slices for one write.
const PIECES: usize = 64;
/// The number of bytes read at a time.
const READ: usize = 4096;
/// The time between two pings, as our provider has it.
const HEARTBEAT: Duration = Duration::from_secs(30);
/// The time that the client may take to send something after a ping.
const PONG_TIMEOUT: Duration = Duration::from_secs(20);
/// A ping without a payload.
const PING: Bytes = Bytes::from_static(&[0x89, 0]);

#[derive(Clone, Default)]
struct Plain {
    /// The queues, locked while a frame is put into all of them: nothing blocks there.
    queues: Arc<Mutex<Vec<Arc<Queue>>>>,
}

/// The frames that wait for one connection.
#[derive(Default)]
struct Queue {
    waiting: Mutex<Waiting>,
    waker: AtomicWaker,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    closed: bool,
}

/// One connection's task: it writes everything that waits, reads, and pings.
struct Session<S> {
    io: S,
    queue: Arc<Queue>,
    /// The frames that are being written.
    writing: VecDeque<Bytes>,
    timer: Pin<Box<Sleep>>,
    /// Set while a ping is unanswered.
    pinged: bool,
}

/// Serves in a task of its own.
pub fn start(listener: TcpListener) -> Arc<dyn Publisher> {
    let plain = Plain::default();
    let app = Router::new().route("/ws", get(upgrade)).with_state(plain.clone());
    tokio::spawn(std::future::IntoFuture::into_future(serve(listener, app)));
    Arc::new(plain)
}

/// Answers the opening handshake; the connection begins when the client has the answer.
async fn upgrade(State(plain): State<Plain>, mut request: Request) -> Response<Body> {
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY).map(|key| derive_accept_key(key.as_bytes()));
    let stream = request.extensions_mut().remove::<OnUpgrade>();
    let (Some(key), Some(stream)) = (key, stream) else {
        return status(Response::builder(), StatusCode::BAD_REQUEST);
    };
    tokio::spawn(async move {
        if let Ok(stream) = stream.await {
            let queue = plain.enter();
            Session::new(TokioIo::new(stream), Arc::clone(&queue)).await;
            lock(&queue.waiting).closed = true;
        }
    });
    let response = Response::builder()
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, key);
    status(response, StatusCode::SWITCHING_PROTOCOLS)
}

fn status(response: axum::http::response::Builder, status: StatusCode) -> Response<Body> {
    response.status(status).body(Body::empty()).unwrap_or_default()
}

impl Plain {
    /// Creates a queue that begins with `connected`.
    fn enter(&self) -> Arc<Queue> {
        let queue = Arc::new(Queue::default());
        queue.push(&server_text(CONNECTED.as_bytes()).into());
        lock(&self.queues).push(Arc::clone(&queue));
        queue
    }
}

#[async_trait]
impl Publisher for Plain {
    async fn publish(&self, audience: &Audience, json: Bytes) -> Result<()> {
        everyone(audience)?;
        let frame = Bytes::from(server_text(envelope(&json)?.as_bytes()));
        lock(&self.queues).retain(|queue| queue.push(&frame));
        Ok(())
    }
}

impl Queue {
    /// Adds a frame and wakes the task; returns `false` if the connection is closed, as it is when
    /// its queue is full.
    fn push(&self, frame: &Bytes) -> bool {
        let mut waiting = lock(&self.waiting);
        waiting.closed |= waiting.frames.len() >= FRAMES;
        if !waiting.closed {
            waiting.frames.push_back(frame.clone());
        }
        // With more frames in it, the task has been woken already.
        let (wake, open) = (waiting.closed || waiting.frames.len() == 1, !waiting.closed);
        drop(waiting);
        if wake {
            self.waker.wake();
        }
        open
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Session<S> {
    fn new(io: S, queue: Arc<Queue>) -> Self {
        let timer = Box::pin(tokio::time::sleep(HEARTBEAT));
        Self { io, queue, writing: VecDeque::new(), timer, pinged: false }
    }

    /// Takes everything that waits and writes it; pending when there is nothing left, or the client
    /// does not read.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // From an earlier poll: frames that came since have woken the task already, and must be
            // looked for.
            let resumed = !self.writing.is_empty();
            if !resumed {
                // Registered before looking, so that frames that come in between wake the task.
                self.queue.waker.register(cx.waker());
                let mut waiting = lock(&self.queue.waiting);
                if waiting.closed {
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
                std::mem::swap(&mut self.writing, &mut waiting.frames);
                drop(waiting);
                if self.writing.is_empty() {
                    return Poll::Pending;
                }
            }
            while !self.writing.is_empty() {
                let written = ready!(self.poll_pieces(cx))?;
                self.advance(written);
            }
            ready!(Pin::new(&mut self.io).poll_flush(cx))?;
            // Frames that came since the look found an empty queue and have woken this task.
            if !resumed {
                return Poll::Pending;
            }
        }
    }

    fn poll_pieces(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        if let (1, Some(frame)) = (self.writing.len(), self.writing.front()) {
            return Pin::new(&mut self.io).poll_write(cx, frame);
        }
        let mut pieces = [IoSlice::new(&[]); PIECES];
        let mut count = 0;
        for (slot, frame) in pieces.iter_mut().zip(&self.writing) {
            *slot = IoSlice::new(frame);
            count += 1;
        }
        Pin::new(&mut self.io).poll_write_vectored(cx, &pieces[..count])
    }

    fn advance(&mut self, mut written: usize) {
        while let Some(frame) = self.writing.front_mut() {
            if written < frame.len() {
                *frame = frame.split_off(written);
                return;
            }
            written -= frame.len();
            self.writing.pop_front();
        }
    }

    /// Reads until there is nothing. The clients here only send pongs, so any bytes are just a sign
    /// of life.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut space = [MaybeUninit::uninit(); READ];
            let mut buffer = ReadBuf::uninit(&mut space);
            ready!(Pin::new(&mut self.io).poll_read(cx, &mut buffer))?;
            if buffer.filled().is_empty() {
                return Poll::Ready(Ok(()));
            }
            self.pinged = false;
        }
    }

    /// Pings in time; ready when the client has sent nothing after a ping.
    fn poll_heartbeat(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        while self.timer.as_mut().poll(cx).is_ready() {
            if self.pinged {
                return Poll::Ready(());
            }
            self.pinged = true;
            self.timer.as_mut().reset(Instant::now() + PONG_TIMEOUT);
            self.queue.push(&PING);
        }
        Poll::Pending
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Session<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        // The clients' side notices a client that is missing.
        let ended = this.poll_write(cx).is_ready() || this.poll_read(cx).is_ready();
        if ended || this.poll_heartbeat(cx).is_ready() { Poll::Ready(()) } else { Poll::Pending }
    }
}
