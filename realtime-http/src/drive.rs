//! The driver of one connection of the server, from its first byte to its end.

use std::{
    convert::Infallible,
    io,
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request},
    response::Response,
    routing::future::RouteFuture,
};
use futures_util::{
    FutureExt as _,
    future::{BoxFuture, Either},
};
use http::header::CONNECTION;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::{http1, http2},
};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite},
    sync::watch,
    time::timeout,
};
use tower_service::Service as _;

use crate::activity::{Activity, Verdict};
use crate::config::WireConfig;
use crate::ended::Ended;
use crate::guard::{Guard, GuardedStream};
use crate::head::Unread;
use crate::listener::WireInfo;
use crate::pending::{Entered, Pending};
#[cfg(feature = "tls")]
use crate::tls::{Acceptor, Tls};
use crate::upgrade::has_token;
use crate::upload::{Pace, Upload};
use crate::wire::Wire;

/// The first bytes of an HTTP/2 client with prior knowledge (RFC 9113 §3.4).
const HTTP2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The bytes of one HTTP/2 request body that may be in flight unread; requests are small here.
const HTTP2_STREAM_WINDOW: u32 = 64 * 1024;

/// The bytes of all request bodies of one HTTP/2 connection that may be in flight unread.
const HTTP2_CONNECTION_WINDOW: u32 = 256 * 1024;

/// The bytes of one HTTP/2 response that wait for a slow client before its body is not asked for
/// more.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;

/// The phase of the server's life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Phase {
    Open,
    /// The shutdown: responses that have begun may end.
    Closing,
    /// The end of the shutdown: everything is aborted.
    Aborted,
}

/// The two protocols with their settings, and the router; one for all connections.
pub(crate) struct Protocols {
    router: Router,
    config: WireConfig,
    /// The connections without a request so far.
    pending: Arc<Pending>,
    /// The HTTP/2 connections between two requests.
    idle: Arc<Pending>,
    http1: http1::Builder,
    http2: http2::Builder<TokioExecutor>,
    #[cfg(feature = "tls")]
    acceptor: Option<Acceptor>,
}

/// The stream of a connection: plain, or secured by TLS.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Unread + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Unread + Send + Unpin + 'static> Stream for S {}

enum Version {
    Http1,
    Http2,
}

impl Protocols {
    pub(crate) fn new(router: Router, config: &WireConfig, guard: &Guard) -> Self {
        let mut http1 = http1::Builder::new();
        http1
            .timer(TokioTimer::new())
            .header_read_timeout(config.header_read_timeout)
            .max_buf_size(config.checked_http1_buffer());
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .keep_alive_interval(config.http2_ping_interval)
            .keep_alive_timeout(config.http2_ping_timeout)
            .max_concurrent_streams(config.http2_max_streams)
            .initial_stream_window_size(HTTP2_STREAM_WINDOW)
            .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
            // Extended CONNECT (RFC 8441) is not offered: a browser would use it for websockets,
            // which are accepted over HTTP/1.1.
            .max_send_buf_size(HTTP2_SEND_BUFFER);
        Self {
            router,
            config: config.clone(),
            pending: Arc::clone(guard.pending()),
            idle: Arc::clone(guard.idle()),
            http1,
            http2,
            #[cfg(feature = "tls")]
            acceptor: None,
        }
    }

    /// Requires TLS of every connection.
    #[cfg(feature = "tls")]
    pub(crate) fn with_tls(mut self, tls: Option<Tls>) -> Self {
        self.acceptor = tls.map(Acceptor::new);
        self
    }

    /// Starts to serve one connection, in a task of its own.
    pub(crate) fn start(self: Arc<Self>, stream: GuardedStream, phase: watch::Receiver<Phase>) {
        let wire = Arc::clone(stream.wire());
        // Here and not in the task, so that the bound holds before the task runs.
        let pending = self.pending.enter(&wire);
        #[cfg(feature = "tls")]
        if self.acceptor.is_some() {
            tokio::spawn(self.secure(stream, wire, pending, phase));
            return;
        }
        tokio::spawn(self.drive(stream, wire, pending, phase));
    }

    /// Serves one connection after its TLS handshake.
    #[cfg(feature = "tls")]
    async fn secure(
        self: Arc<Self>,
        stream: GuardedStream,
        wire: Arc<Wire>,
        pending: Entered,
        mut phase: watch::Receiver<Phase>,
    ) {
        let Some(acceptor) = &self.acceptor else { return };
        // Boxed, so that the memory for the handshake is released with its end.
        let accept = Box::pin(acceptor.accept(stream));
        let secured = tokio::select! {
            secured = accept => match secured {
                Ok(secured) => secured,
                Err(error) => return tracing::debug!(peer = %wire.peer(), %error, "TLS handshake failed"),
            },
            _ = phase.changed() => return,
        };
        self.drive(secured, wire, pending, phase).await;
    }

    /// Serves one connection until it ends, is upgraded, or the server stops; the receiver is
    /// dropped with the connection.
    async fn drive<S: Stream>(
        self: Arc<Self>,
        mut stream: S,
        wire: Arc<Wire>,
        pending: Entered,
        mut phase: watch::Receiver<Phase>,
    ) {
        // hyper-util's detection waits forever for a client that sends nothing.
        let version = tokio::select! {
            version = timeout(self.config.header_read_timeout, detect(&mut stream)) => match version {
                Ok(Ok(version)) => version,
                Ok(Err(error)) => return tracing::trace!(peer = %wire.peer(), %error, "connection ended before a request"),
                Err(_) => {
                    wire.count(Ended::NoRequest);
                    return tracing::debug!(peer = %wire.peer(), "closing a connection that sent no request in time");
                }
            },
            _ = phase.changed() => return,
        };
        let routes = Routes {
            router: self.router.clone(),
            wire: Arc::clone(&wire),
            pending: Mutex::new(Some(pending)),
            pace: Pace::of(&self.config),
            activity: None,
        };
        let io = TokioIo::new(stream);
        let ended = match version {
            Version::Http1 => self.serve_http1(io, routes, &mut phase).await,
            // Boxed, so that an HTTP/1 connection does not take the memory of both.
            Version::Http2 => Box::pin(self.serve_http2(io, routes, &mut phase)).await,
        };
        if let Err(error) = ended {
            if error.is_timeout() && !wire.requested() {
                wire.count(Ended::HeaderTimeout);
            }
            tracing::debug!(peer = %wire.peer(), stalled = wire.stalled(), %error, "connection failed");
        }
    }

    async fn serve_http1<S: Stream>(
        &self,
        io: TokioIo<S>,
        routes: Routes,
        phase: &mut watch::Receiver<Phase>,
    ) -> hyper::Result<()> {
        let wire = Arc::clone(&routes.wire);
        let mut connection = pin!(self.http1.serve_connection(io, routes).with_upgrades());
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                may_finish = next_phase(phase, &wire) => match may_finish {
                    true => connection.as_mut().graceful_shutdown(),
                    false => return Ok(()),
                },
            }
        }
    }

    async fn serve_http2<S: Stream>(
        &self,
        io: TokioIo<S>,
        mut routes: Routes,
        phase: &mut watch::Receiver<Phase>,
    ) -> hyper::Result<()> {
        let wire = Arc::clone(&routes.wire);
        let activity = Activity::new(&self.config, &wire, &self.idle);
        routes.activity = Some(Arc::clone(&activity));
        let mut was_idle = false;
        let mut connection = pin!(self.http2.serve_connection(io, routes));
        loop {
            tokio::select! {
                ended = connection.as_mut() => return ended,
                may_finish = next_phase(phase, &wire) => match may_finish {
                    true => connection.as_mut().graceful_shutdown(),
                    false => return Ok(()),
                },
                // What `Connection: close` is over HTTP/1 is GOAWAY here (RFC 9113 §6.8).
                () = activity.finishing() => connection.as_mut().graceful_shutdown(),
                verdict = activity.watch() => match verdict {
                    Verdict::Idle if was_idle => {
                        wire.kill();
                        return Ok(());
                    }
                    Verdict::Idle => {
                        was_idle = true;
                        connection.as_mut().graceful_shutdown();
                    }
                    // No task waits for one of its streams: hyper does not ask a body for more
                    // whose window is closed.
                    Verdict::Stalled => {
                        tracing::debug!(peer = %wire.peer(), "aborting a connection whose streams are not read");
                        wire.stall();
                        return Ok(());
                    }
                },
            }
        }
    }
}

/// Waits for the server's next phase; `false` if the connection may not shut down gracefully in it.
async fn next_phase(phase: &mut watch::Receiver<Phase>, wire: &Wire) -> bool {
    // An error means that the server was dropped, which `may_finish` checks too.
    let _ = phase.changed().await;
    may_finish(wire, phase)
}

/// Returns whether a connection may shut down gracefully.
fn may_finish(wire: &Wire, phase: &watch::Receiver<Phase>) -> bool {
    if phase.has_changed().is_err() || *phase.borrow() == Phase::Aborted {
        // Unsent bytes are useless now.
        wire.kill();
        return false;
    }
    // Without a request there is nothing to finish, and half-sent headers must not delay the
    // shutdown.
    wire.requested()
}

/// Detects the protocol from the first bytes, which can be read again afterwards.
async fn detect<S: Stream>(stream: &mut S) -> io::Result<Version> {
    let mut head = [0; HTTP2_PREFACE.len()];
    let mut filled = 0;
    while filled < head.len() && head[..filled] == HTTP2_PREFACE[..filled] {
        match stream.read(&mut head[filled..]).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => filled += bytes,
        }
    }
    stream.unread(&head[..filled]);
    Ok(if head == *HTTP2_PREFACE { Version::Http2 } else { Version::Http1 })
}

/// The router as hyper calls it.
struct Routes {
    router: Router,
    wire: Arc<Wire>,
    /// Set until the first request.
    pending: Mutex<Option<Entered>>,
    /// The time for the body of a request, if it is bounded.
    pace: Option<Pace>,
    /// The activity of an HTTP/2 connection.
    activity: Option<Arc<Activity>>,
}

impl hyper::service::Service<hyper::Request<Incoming>> for Routes {
    type Response = Response;
    type Error = Infallible;
    type Future = Either<RouteFuture<Infallible>, BoxFuture<'static, Result<Response, Infallible>>>;

    fn call(&self, request: hyper::Request<Incoming>) -> Self::Future {
        if self.wire.note_request() {
            self.pending.lock().unwrap_or_else(PoisonError::into_inner).take();
        }
        let mut late = None;
        let mut request: Request = request.map(|body| match self.pace {
            Some(pace) if !body.is_end_stream() => {
                let upload = Upload::new(body, pace, Arc::clone(&self.wire));
                late = Some(upload.late());
                Body::new(upload)
            }
            _ => Body::new(body),
        });
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(WireInfo::new(&self.wire)));
        extensions.insert(ConnectInfo(self.wire.peer()));
        let open = self.activity.as_ref().map(Activity::begin);
        let response = self.router.clone().call(request);
        if late.is_none() && open.is_none() {
            return Either::Left(response);
        }
        let followed = async move {
            let mut response = response.await?;
            if let Some(late) = late {
                response = late.answer(response);
            }
            Ok(match open {
                Some(open) => {
                    let is_last = has_token(response.headers(), CONNECTION, "close");
                    response.map(|body| open.follow(body, is_last))
                }
                None => response,
            })
        };
        Either::Right(followed.boxed())
    }
}
