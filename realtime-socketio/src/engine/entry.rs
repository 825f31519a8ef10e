//! The namespace that every session enters first, without its client's knowing.
//!
//! socketioxide remembers a session that connects to nothing until `connect_timeout`, even when it has ended long before,
//! and tells nobody of the end of one. Connected to a namespace of ours, a session is forgotten with its end, and its end
//! is heard of.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use socketioxide::handler::{ConnectHandler, DisconnectHandler, Value};
use socketioxide::socket::{DisconnectReason, Socket};

use crate::engine::adapter::{DirectAdapter, Inline};
use crate::engine::session::EngineSession;
use crate::engine::session::cause::Cause;
use crate::engine::sessions::session_of;

/// Its connect handler.
#[derive(Clone)]
pub(crate) struct EntryNamespace;

type Refusal = Box<dyn std::fmt::Display + Send>;

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
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + 'a>> {
        if let Some(session) = session_of(socket.req_parts()) {
            session.begin_hiding();
            socket.on_disconnect(OnSessionEnd(session));
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

/// Hears of the session's end, also when socketioxide drops its socket without the hook.
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
