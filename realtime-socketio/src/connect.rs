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

use crate::adapter::{DirectAdapter, MainAdapter};
use crate::carrier::{Carrier, GRACE};
use crate::carriers::{self, Carriers, Connected};
use crate::cause::Cause;
use crate::inbound::{Inlet, Inline, Reader};
use crate::pump::{Limits, Pump, Source};
use crate::service;

/// Decides who may connect to the main namespace.
#[async_trait]
pub(crate) trait Acceptor: Send + Sync + 'static {
    /// Takes a connection, or does not.
    ///
    /// Dropped when the session ends meanwhile.
    async fn accept(&self, offer: Offer<'_>) -> Result<Accepted, Turned>;

    /// Counts and logs somebody who was refused before that, with the client's address where it is known.
    fn report(&self, refusal: Refusal, client: Option<IpAddr>);
}

/// Somebody who was not taken.
pub(crate) enum Turned {
    /// The client is to come back by itself, which it does not after `connect_error`: its session ends, for this cause if
    /// there is one to be told.
    Away(Option<Cause>),
    /// The client is answered with `connect_error`.
    Down(Refusal),
}

/// Someone who wants to connect.
pub(crate) struct Offer<'a> {
    /// The request that opened the session: address, headers, query, extensions.
    pub parts: &'a http::request::Parts,
    /// The client's `auth` as JSON text.
    pub auth: Option<&'a str>,
    /// The session's reins, for [`Carrier::resume`].
    pub carrier: Arc<Carrier>,
}

/// A connection that was taken.
pub(crate) struct Accepted {
    /// Where its events go.
    pub inlet: Arc<dyn Inlet>,
    /// Where its frames come from; asked once the client has been told that it is connected.
    pub source: Box<dyn Source>,
    /// Around what is done for it.
    pub(crate) span: tracing::Span,
    /// Called once, whatever becomes of the connection.
    pub ended: OnEnded,
}

/// Told once how a connection ended.
pub(crate) type OnEnded = Box<dyn FnOnce(Ended) + Send>;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ended {
    /// What Socket.IO says; none when the client was gone before it was told that it is connected.
    pub reason: Option<DisconnectReason>,
    /// What this side says, if this side ended it for a fault.
    pub cause: Option<Cause>,
    /// Whether a websocket's stream ended by itself; if not, an error of the transport is a broken protocol.
    pub lost: bool,
    /// The number of the large packet of which a part had arrived and not all.
    pub cut: Option<u64>,
}

/// A taken connection whose client does not know yet.
pub(crate) struct Start(Pump, tracing::Span);

/// The main namespace's connect handler. Everything is put into place in its middleware, so that
/// no event of a quick client finds the handlers missing, as it can with socketioxide's own.
#[derive(Clone)]
pub(crate) struct Connect {
    pub(crate) acceptor: Arc<dyn Acceptor>,
    pub(crate) main: MainAdapter,
    pub(crate) carriers: Arc<Carriers>,
    pub(crate) max_message: usize,
    pub(crate) limits: Limits,
}

type Refused = Box<dyn Display + Send>;

impl ConnectHandler<DirectAdapter, Inline> for Connect {
    fn call(&self, socket: Arc<Socket<DirectAdapter>>, _: Option<Value>) {
        let start = service::carrier_of(socket.req_parts()).and_then(|carrier| carrier.put_start(None));
        if let Some(Start(pump, span)) = start {
            tokio::spawn(pump.run().instrument(span));
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
        // Every session of ours has one.
        let Some(carrier) = service::carrier_of(socket.req_parts()) else { return Err("internal error".into()) };
        let Some(adapter) = self.main.find() else {
            let refusal = Refusal::new(RefusalKind::Internal, "internal error");
            self.acceptor.report(refusal.clone(), carrier.client());
            carrier.answer_main(false);
            return Err(carrier.deny(&refusal));
        };
        let offer = Offer {
            parts: socket.req_parts(),
            auth: auth.and_then(Value::as_str).map(|text| text.as_str()),
            carrier: Arc::clone(&carrier),
        };
        let accepted = tokio::select! {
            biased;
            // Nobody waits for the answer any more.
            () = carrier.closed() => return Err(carrier.deny(&Refusal::bad_request("the session has ended"))),
            accepted = self.acceptor.accept(offer) => accepted,
            // Counted and logged by whoever has looked at the clock.
            () = carrier.expired() => Err(Turned::Down(carriers::late())),
        };
        if accepted.is_err() {
            carrier.answer_main(false);
        }
        let Accepted { inlet, source, span, ended } = match accepted {
            Ok(accepted) => accepted,
            Err(Turned::Down(refusal)) => return Err(carrier.deny(&refusal)),
            Err(Turned::Away(cause)) => {
                carrier.send_away(cause).await;
                // Until then what is returned here would still reach the client.
                tokio::time::sleep(GRACE).await;
                let kind = if cause == Some(Cause::UserLimit) { RefusalKind::UserLimit } else { RefusalKind::Draining };
                return Err(carrier.deny(&Refusal::new(kind, "sent away, to come back")));
            }
        };
        let gone = Arc::new(AtomicBool::new(false));
        let pump = Pump::new(
            adapter,
            Arc::clone(&carrier),
            Arc::clone(&gone),
            socket.id,
            source,
            Arc::clone(&inlet),
            self.limits,
        );
        carrier.put_start(Some(Start(pump, span)));
        carrier.answer_main(true);
        let ended = Mutex::new(Some((ended, self.carriers.connect())));
        socket.on_disconnect(Goodbye { ended, carrier: Arc::clone(&carrier), gone });
        socket.on_fallback(Reader { inlet, carrier, max_message: self.max_message });
        Ok(())
    }
}

/// Tells once that a connection is over, also when socketioxide drops a socket without its hook.
struct Goodbye {
    ended: Mutex<Option<(OnEnded, Connected)>>,
    carrier: Arc<Carrier>,
    gone: Arc<AtomicBool>,
}

impl Goodbye {
    fn say(&self, reason: Option<DisconnectReason>) {
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((ended, _connected)) = ended {
            self.gone.store(true, Ordering::SeqCst);
            drop(self.carrier.put_start(None));
            self.carrier.leave_main();
            self.carrier.credit.wake();
            // A client that leaves only this namespace may come back on the same session.
            self.carrier.resume();
            let (cause, lost, cut) = (self.carrier.cause(), self.carrier.is_lost(), self.carrier.outflow.cut());
            ended(Ended { reason, cause, lost, cut });
        }
    }
}

impl DisconnectHandler<DirectAdapter, Inline> for Goodbye {
    fn call_with_defer(
        &self,
        socket: Arc<Socket<DirectAdapter>>,
        reason: DisconnectReason,
        defer: fn(Arc<Socket<DirectAdapter>>),
    ) {
        self.say(Some(reason));
        defer(socket);
    }
}

impl Drop for Goodbye {
    fn drop(&mut self) {
        self.say(None);
    }
}
