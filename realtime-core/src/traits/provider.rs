use std::sync::Arc;

use async_trait::async_trait;

use crate::traits::broadcast::{RealtimeBroadcast, RoomMembership, SocketIoBroadcast};
use crate::traits::runtime::Runtime;
use crate::values::capabilities::Capabilities;
use crate::values::close::CloseReason;
use crate::values::connection_stats::ConnectionStats;
use crate::values::drain::Drain;
use crate::values::error::Result;
use crate::values::stats::Stats;
use crate::values::target::Target;

/// A transport: SSE, WebSocket, Socket.IO, or one of the application's own.
#[async_trait]
pub trait RealtimeProvider: Send + Sync {
    /// Returns the provider's unique name: `"sse"`, `"ws"`, `"socket"`, or another.
    fn name(&self) -> &'static str;

    /// Returns what the provider can do.
    fn capabilities(&self) -> Capabilities;

    /// Returns whether clients can send events.
    fn is_bidirectional(&self) -> bool {
        self.capabilities().bidirectional
    }

    /// Checks the configuration; called before any provider of a service is attached. By default
    /// there is nothing to check.
    ///
    /// # Errors
    /// [`crate::Error::Config`] that names the field.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Connects the provider to its runtime; called once, by the service.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`] when the log cannot be read, [`crate::Error::Config`] when
    /// called twice.
    async fn attach(&self, runtime: Runtime) -> Result<()>;

    /// Returns the provider's broadcast, which sends to its connections alone.
    fn broadcast(&self) -> Arc<dyn RealtimeBroadcast>;

    /// Returns the provider's broadcast with acks and rooms, if it has them.
    fn socket_io(&self) -> Option<Arc<dyn SocketIoBroadcast>> {
        None
    }

    /// Returns the provider's room membership, if it has rooms.
    fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        None
    }

    /// Closes the connections of a target, here immediately and on all nodes through the log.
    /// Returns how many were asked to close, as far as the other nodes reported in time. Later
    /// connections stay open.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`]. When the append fails, this node's connections are closed all
    /// the same, and the error is [`crate::Error::OutcomeUnknown`], or [`crate::Error::Backplane`]
    /// when no other node will receive it.
    async fn close(&self, target: Target, reason: CloseReason) -> Result<usize>;

    /// Stops accepting connections, closes the existing ones evenly over the drain's time, and
    /// returns once their hooks have run, or shortly after that time. Sends work meanwhile and
    /// afterwards. By default nothing happens, and [`RealtimeProvider::shutdown`] closes the
    /// connections.
    async fn drain(&self, drain: Drain) {
        let _ = drain;
    }

    /// Drains, then rejects sends. A service calls it when all its providers are drained.
    async fn shutdown(&self, drain: Drain);

    /// Returns the provider's statistics on this node.
    fn stats(&self) -> Stats;

    /// Returns the statistics of this node's connections of a target; empty if unsupported.
    fn connections(&self, target: &Target) -> Vec<ConnectionStats> {
        let _ = target;
        Vec::new()
    }
}
