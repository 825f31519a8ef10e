//! Entry namespace, to which every session is connected first, hidden from its client.
//!
//! socketioxide keeps a session without any connection until `connect_timeout`, even if the session
//! has ended before, and calls no hook at its end. A session that is connected to this namespace is
//! removed when it ends, and its disconnect hook runs.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use socketioxide::handler::{ConnectHandler, DisconnectHandler, Value};
use socketioxide::socket::{DisconnectReason, Socket};

use crate::engine::adapter::{DirectAdapter, Inline};
use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::engine::sessions::session_of;

/// Connect handler of the entry namespace.
#[derive(Clone)]
pub(crate) struct EntryNamespace;

type ConnectError = Box<dyn std::fmt::Display + Send>;

impl ConnectHandler<DirectAdapter, Inline> for EntryNamespace {
    fn call(&self, socket: Arc<Socket<DirectAdapter>>, _: Option<Value>) {
        if let Some(session) = session_of(socket.req_parts()) {
            session.note_entered();
        }
    }

    fn call_middleware<'a>(
        &'a self,
        socket: Arc<Socket<DirectAdapter>>,
        _: &'a Option<Value>,
    ) -> Pin<Box<dyn Future<Output = Result<(), ConnectError>> + Send + 'a>> {
        if let Some(session) = session_of(socket.req_parts()) {
            session.entry.hide_answer();
            socket.on_disconnect(OnSessionEnd(session));
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Disconnect handler that closes the session; its drop does so too, because socketioxide may drop
/// a socket without its hook.
struct OnSessionEnd(Arc<EngineSession>);

impl DisconnectHandler<DirectAdapter, Inline> for OnSessionEnd {
    fn call_with_defer(
        &self,
        socket: Arc<Socket<DirectAdapter>>,
        reason: DisconnectReason,
        defer: fn(Arc<Socket<DirectAdapter>>),
    ) {
        if reason == DisconnectReason::PacketParsingError {
            self.0.close_for(Cause::Malformed);
        }
        self.0.close();
        defer(socket);
    }
}

impl Drop for OnSessionEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}
