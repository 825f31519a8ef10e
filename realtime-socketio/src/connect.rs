use std::fmt::Display;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use realtime_core::{Refusal, RefusalKind};
use socketioxide::handler::{ConnectHandler, DisconnectHandler, Value};
use socketioxide::socket::{DisconnectReason, Socket};
use tracing::Instrument;

use crate::engine::adapter::{DirectAdapter, Inline, MainAdapter};
use crate::engine::session::cause::Cause;
use crate::engine::session::{EngineSession, GRACE};
use crate::engine::sessions::{self, Connected, Sessions};
use crate::inbound::{Inlet, Reader};
use crate::session::{Limits, Session, Source};

/// Decides who may connect to the main namespace.
#[async_trait]
pub(crate) trait Acceptor: Send + Sync + 'static {
    /// Accepts or rejects a connection.
    ///
    /// The future is dropped when the session ends meanwhile.
    async fn accept(&self, attempt: ConnectAttempt<'_>) -> Result<Accepted, Rejection>;

    /// Counts and logs a refusal that was decided elsewhere, with the client's address if it is known.
    fn report(&self, refusal: Refusal, client: Option<IpAddr>);
}

/// Rejection of a connection.
pub(crate) enum Rejection {
    /// The session ends, for this cause if there is one, so that the client reconnects by itself; after `connect_error` it would not.
    Reconnect(Option<Cause>),
    /// The client is answered with `connect_error`.
    Refused(Refusal),
}

/// Attempt of a client to connect.
pub(crate) struct ConnectAttempt<'a> {
    /// The request that opened the session: address, headers, query, extensions.
    pub parts: &'a http::request::Parts,
    /// The client's `auth` as JSON text.
    pub auth: Option<&'a str>,
    /// The session under it.
    pub session: Arc<EngineSession>,
}

/// Accepted connection.
pub(crate) struct Accepted {
    /// Receiver of the client's events.
    pub inlet: Arc<dyn Inlet>,
    /// Source of its frames; polled once the client has been told that it is connected.
    pub source: Box<dyn Source>,
    /// Span of what is done for it.
    pub(crate) span: tracing::Span,
    /// Called once, whatever becomes of the connection.
    pub ended: OnEnded,
}

/// Callback for the end of a connection.
pub(crate) type OnEnded = Box<dyn FnOnce(Ended) + Send>;

/// End of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// socketioxide's reason; none when the client was gone before it was told that it is connected.
    pub reason: Option<DisconnectReason>,
    /// Cause for which this side ended the session.
    pub cause: Option<Cause>,
    /// Whether a websocket's stream ended without a close; if not, a transport error is a violation of the protocol.
    pub lost: bool,
    /// Number of the large packet that has arrived in part only.
    pub cut: Option<u64>,
}

/// Connect handler of the main namespace. Its middleware already sets the event handlers, so that no event of a fast client comes
/// before them, as it can with socketioxide's own.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) acceptor: Arc<dyn Acceptor>,
    pub(crate) main: MainAdapter,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) max_message: usize,
    pub(crate) limits: Limits,
}

type Refused = Box<dyn Display + Send>;

impl ConnectHandler<DirectAdapter, Inline> for Connect {
    fn call(&self, socket: Arc<Socket<DirectAdapter>>, _: Option<Value>) {
        let start = sessions::session_of(socket.req_parts()).and_then(|session| session.put_start(None));
        if let Some(start) = start {
            start();
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<DirectAdapter>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refused>> + Send + 'a>> {
        Box::pin(
            async move { self.connect(&socket, auth.as_ref()).await.map_err(|refusal| Box::new(refusal) as Refused) },
        )
    }
}

impl Connect {
    async fn connect(&self, socket: &Socket<DirectAdapter>, auth: Option<&Value>) -> Result<(), String> {
        // Every session has been opened by this crate's service.
        let Some(session) = sessions::session_of(socket.req_parts()) else { return Err("internal error".into()) };
        let Some(adapter) = self.main.find() else {
            let refusal = Refusal::new(RefusalKind::Internal, "internal error");
            self.acceptor.report(refusal.clone(), session.client());
            session.answer_main(false);
            return Err(session.connect_errors.deny(&refusal));
        };
        let attempt = ConnectAttempt {
            parts: socket.req_parts(),
            auth: auth.and_then(Value::as_str).map(|text| text.as_str()),
            session: Arc::clone(&session),
        };
        let accepted = tokio::select! {
            biased;
            // Nobody waits for the answer any more.
            () = session.closed() => return Err(session.connect_errors.deny(&Refusal::bad_request("the session has ended"))),
            accepted = self.acceptor.accept(attempt) => accepted,
            // Counted and logged by the sweep.
            () = session.expired() => Err(Rejection::Refused(sessions::timeout_refusal())),
        };
        if accepted.is_err() {
            session.answer_main(false);
        }
        let Accepted { inlet, source, span, ended } = match accepted {
            Ok(accepted) => accepted,
            Err(Rejection::Refused(refusal)) => return Err(session.connect_errors.deny(&refusal)),
            Err(Rejection::Reconnect(cause)) => {
                session.close_for_reconnect(cause).await;
                // Until then what is returned here would still reach the client.
                tokio::time::sleep(GRACE).await;
                let kind = if cause == Some(Cause::UserLimit) { RefusalKind::UserLimit } else { RefusalKind::Draining };
                return Err(session.connect_errors.deny(&Refusal::new(kind, "sent away, to come back")));
            }
        };
        let gone = Arc::new(AtomicBool::new(false));
        let connection = Session::new(
            adapter,
            Arc::clone(&session),
            Arc::clone(&gone),
            socket.id,
            source,
            Arc::clone(&inlet),
            self.limits,
        );
        session.put_start(Some(Box::new(move || {
            tokio::spawn(connection.run().instrument(span));
        })));
        session.answer_main(true);
        let ended = Mutex::new(Some((ended, self.sessions.connect())));
        socket.on_disconnect(OnDisconnect { ended, session: Arc::clone(&session), gone });
        socket.on_fallback(Reader { inlet, session, max_message: self.max_message });
        Ok(())
    }
}

/// Disconnect handler, which reports the end of a connection once; its drop does so too, because socketioxide may drop a socket
/// without its hook.
struct OnDisconnect {
    ended: Mutex<Option<(OnEnded, Connected)>>,
    session: Arc<EngineSession>,
    gone: Arc<AtomicBool>,
}

impl OnDisconnect {
    fn end(&self, reason: Option<DisconnectReason>) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((ended, _connected)) = ended {
            self.gone.store(true, Ordering::SeqCst);
            drop(self.session.put_start(None));
            self.session.leave_main();
            self.session.credit.wake();
            // A client that leaves only this namespace may come back on the same session.
            self.session.resume();
            let (cause, lost, cut) = (self.session.cause(), self.session.is_lost(), self.session.progress.cut());
            ended(Ended { reason, cause, lost, cut });
        }
    }
}

impl DisconnectHandler<DirectAdapter, Inline> for OnDisconnect {
    fn call_with_defer(
        &self,
        socket: Arc<Socket<DirectAdapter>>,
        reason: DisconnectReason,
        defer: fn(Arc<Socket<DirectAdapter>>),
    ) {
        self.end(Some(reason));
        defer(socket);
    }
}

impl Drop for OnDisconnect {
    fn drop(&mut self) {
        self.end(None);
    }
}
