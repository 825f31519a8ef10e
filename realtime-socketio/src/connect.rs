//! Connections to the main namespace, from CONNECT to the disconnect hook.
//!
//! A connection starts in these steps:
//!
//! 1. The head of the CONNECT packet is admitted before socketioxide reads it
//!    (`engine/session/admission.rs`).
//! 2. socketioxide spawns a task for the CONNECT, which calls [`Connect::call_middleware`]. The
//!    middleware has the [`Acceptor`] decide, which may hold the CONNECT until a slot of its user
//!    is free. A rejection ends the sequence: the client gets `connect_error`, or its session is
//!    closed.
//! 3. Still in the middleware, the event and disconnect handlers are set and a [`Session`] is
//!    created, whose start is stored in the [`EngineSession`]. No event may arrive before the
//!    handlers are set, and nothing may be sent before step 4.
//! 4. socketioxide sends the answer to the CONNECT and calls [`Connect::call`], which spawns the
//!    [`Session`].
//! 5. The session sends the frames of its [`FrameSource`], the first of which is `connected`.
//!
//! A client that disconnects between 3 and 4 takes the stored start with it: [`OnDisconnect`]
//! removes it.

use std::fmt::Display;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use realtime_core::spi::{Meter, MeterCalls};
use realtime_core::{Refusal, RefusalKind};
use socketioxide::handler::{ConnectHandler, DisconnectHandler, Value};
use socketioxide::socket::{DisconnectReason, Socket};

use crate::engine::adapter::{DirectAdapter, Inline, MainAdapter};
use crate::engine::session::cause::Cause;
use crate::engine::session::registry::Report;
use crate::engine::session::{EngineSession, GRACE};
use crate::engine::sessions::{self, ConnectionGuard, Sessions};
use crate::inbound::{EventSink, Reader};
use crate::session::{FrameSource, Limits, Session, State};

/// Policy that accepts or rejects connections to the main namespace.
#[async_trait]
pub(crate) trait Acceptor: Send + Sync + 'static {
    /// Accepts or rejects a connection.
    ///
    /// The future is dropped when the session ends meanwhile.
    async fn accept(&self, attempt: ConnectAttempt<'_>) -> Result<Accepted, Rejection>;

    /// Counts and logs a refusal that was decided elsewhere, or a fault of a client without a
    /// connection, with the client's address if it is known.
    fn report(&self, report: Report, client: Option<IpAddr>);

    /// Returns a meter for a session by the rate of its client; none if there is no rate.
    fn meter(&self, calls: MeterCalls) -> Option<Arc<Meter>>;
}

/// Rejection of a connection.
pub(crate) enum Rejection {
    /// The session is closed, for this cause if there is one, so that the client reconnects by
    /// itself; after `connect_error` it would not.
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
    /// The Engine.IO session that the CONNECT came on.
    pub session: Arc<EngineSession>,
}

/// Accepted connection.
pub(crate) struct Accepted {
    /// Receiver of the client's events.
    pub events: Arc<dyn EventSink>,
    /// Source of the frames for the client; polled once the client was sent the answer to its
    /// CONNECT.
    pub source: Box<dyn FrameSource>,
    /// Called once when the connection ends, even if it was never started.
    pub on_disconnected: OnDisconnected,
}

/// Callback for the end of a connection.
pub(crate) type OnDisconnected = Box<dyn FnOnce(Disconnected) + Send>;

/// End of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Disconnected {
    /// socketioxide's reason; none when the client disconnected before the answer to its CONNECT.
    pub reason: Option<DisconnectReason>,
    /// Cause for which this side closed the session.
    pub cause: Option<Cause>,
    /// `true` if a websocket's stream ended without a close; otherwise a transport error is a
    /// violation of the protocol.
    pub transport_lost: bool,
    /// Number of the large packet that has arrived in part only.
    pub partial_packet: Option<u64>,
}

/// Connect handler of the main namespace. Its middleware already sets the event handlers, so that
/// no event of a fast client arrives before them, as it can with socketioxide's own connect
/// handlers.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) acceptor: Arc<dyn Acceptor>,
    pub(crate) main: MainAdapter,
    pub(crate) sessions: Arc<Sessions>,
    pub(crate) max_message: usize,
    pub(crate) limits: Limits,
}

type ConnectError = Box<dyn Display + Send>;

impl ConnectHandler<DirectAdapter, Inline> for Connect {
    fn call(&self, socket: Arc<Socket<DirectAdapter>>, _: Option<Value>) {
        let start = sessions::session_of(socket.req_parts()).and_then(|session| session.take_start_task());
        if let Some(start) = start {
            start();
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<DirectAdapter>>,
        auth: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ConnectError>> + Send + 'a>> {
        Box::pin(async move {
            self.connect(&socket, auth.as_ref()).await.map_err(|message| Box::new(message) as ConnectError)
        })
    }
}

impl Connect {
    /// Decides on a CONNECT and prepares the connection. The error is the message of
    /// `connect_error`.
    async fn connect(&self, socket: &Socket<DirectAdapter>, auth: Option<&Value>) -> Result<(), String> {
        // Every session has been opened by this crate's service.
        let Some(session) = sessions::session_of(socket.req_parts()) else { return Err("internal error".into()) };
        let Some(adapter) = self.main.find() else {
            let refusal = Refusal::new(RefusalKind::Internal, "internal error");
            self.acceptor.report(refusal.clone().into(), session.client());
            session.answer_main(false);
            return Err(session.connect_errors.queue(&refusal));
        };
        let Accepted { events, source, on_disconnected } = self.accept(socket, auth, &session).await?;
        let disconnected = Arc::new(AtomicBool::new(false));
        let connection = Session {
            adapter,
            engine: Arc::clone(&session),
            disconnected: Arc::clone(&disconnected),
            sid: socket.id,
            source,
            events: Arc::clone(&events),
            limits: self.limits,
            state: State::default(),
        };
        session.set_start_task(Box::new(move || {
            tokio::spawn(connection.run());
        }));
        session.answer_main(true);
        let callback = Mutex::new(Some((on_disconnected, self.sessions.add_connection())));
        socket.on_disconnect(OnDisconnect { callback, session: Arc::clone(&session), disconnected });
        socket.on_fallback(Reader { events, session, max_message: self.max_message });
        Ok(())
    }

    /// Has the acceptor decide, for as long as the session is open and `connect_timeout` has not
    /// passed.
    async fn accept(
        &self,
        socket: &Socket<DirectAdapter>,
        auth: Option<&Value>,
        session: &Arc<EngineSession>,
    ) -> Result<Accepted, String> {
        let attempt = ConnectAttempt {
            parts: socket.req_parts(),
            auth: auth.and_then(Value::as_str).map(|text| text.as_str()),
            session: Arc::clone(session),
        };
        let accepted = tokio::select! {
            biased;
            // No client waits for the answer any more.
            () = session.closed() => return Err(session.connect_errors.queue(&Refusal::bad_request("the session has ended"))),
            accepted = self.acceptor.accept(attempt) => accepted,
            // Counted and logged by the sweep.
            () = session.expired() => Err(Rejection::Refused(sessions::timeout_refusal())),
        };
        if accepted.is_err() {
            session.answer_main(false);
        }
        match accepted {
            Ok(accepted) => Ok(accepted),
            Err(Rejection::Refused(refusal)) => Err(session.connect_errors.queue(&refusal)),
            Err(Rejection::Reconnect(cause)) => {
                session.close_for_reconnect(cause).await;
                // Until the session has ended, the error that is returned would still reach the
                // client.
                tokio::time::sleep(GRACE).await;
                let kind = if cause == Some(Cause::UserLimit) { RefusalKind::UserLimit } else { RefusalKind::Draining };
                Err(session.connect_errors.queue(&Refusal::new(kind, "session closed; please reconnect")))
            }
        }
    }
}

/// Disconnect handler, which reports the end of a connection once; its drop does so too, because
/// socketioxide may drop a socket without its hook.
struct OnDisconnect {
    callback: Mutex<Option<(OnDisconnected, ConnectionGuard)>>,
    session: Arc<EngineSession>,
    disconnected: Arc<AtomicBool>,
}

impl OnDisconnect {
    fn report(&self, reason: Option<DisconnectReason>) {
        let callback = self.callback.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((on_disconnected, _guard)) = callback {
            self.disconnected.store(true, Ordering::SeqCst);
            drop(self.session.take_start_task());
            if reason == Some(DisconnectReason::PacketParsingError) {
                // The end of this connection counts and logs the fault, the session's end does not.
                self.session.set_cause(Cause::Malformed);
            }
            self.session.leave_main();
            self.session.credit.wake();
            // A client that leaves only this namespace may connect again on the same session.
            self.session.resume();
            on_disconnected(Disconnected {
                reason,
                cause: self.session.cause(),
                transport_lost: self.session.is_transport_lost(),
                partial_packet: self.session.progress.find_partial_packet(),
            });
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
        self.report(Some(reason));
        defer(socket);
    }
}

impl Drop for OnDisconnect {
    fn drop(&mut self) {
        self.report(None);
    }
}
