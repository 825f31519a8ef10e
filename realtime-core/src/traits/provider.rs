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

/// One transport behind the common face.
#[async_trait]
pub trait RealtimeProvider: Send + Sync {
    /// Its name, by which a service finds it: `"sse"`, `"ws"`, `"socket"`, or one's own.
    fn name(&self) -> &'static str;

    /// What it can do.
    fn capabilities(&self) -> Capabilities;

    /// Whether clients can send events.
    fn is_bidirectional(&self) -> bool {
        self.capabilities().bidirectional
    }

    /// Checks its configuration; called before any provider of a service is attached. By default there is nothing wrong.
    ///
    /// # Errors
    /// [`crate::Error::Config`] that names the field.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Gives it what it needs to run; called once, by the service that owns it.
    ///
    /// # Errors
    /// [`crate::Error::Backplane`] when the log cannot be read, [`crate::Error::Config`] when called twice.
    async fn attach(&self, runtime: Runtime) -> Result<()>;

    /// Its sending side.
    fn broadcast(&self) -> Arc<dyn RealtimeBroadcast>;

    /// Its sending side with acks and rooms, if it has them.
    fn socket_io(&self) -> Option<Arc<dyn SocketIoBroadcast>> {
        None
    }

    /// Its room membership, if it has rooms.
    fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        None
    }

    /// Closes the connections a target means, here at once and on all nodes through the log; answers how many of this node
    /// were told to close. Those that come after it stay.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`]. When the log does not take it, those of this node are closed all the same, and the
    /// error is [`crate::Error::OutcomeUnknown`], or [`crate::Error::Backplane`] when no other node will hear of it.
    async fn close(&self, target: Target, reason: CloseReason) -> Result<usize>;

    /// Takes no more connections and closes those there are evenly over the drain's time; returns when their hooks have
    /// run, or the time, and a little more, is over. Sends go on, also after that. By default it does nothing, and
    /// [`RealtimeProvider::shutdown`] closes the connections.
    async fn drain(&self, drain: Drain) {
        let _ = drain;
    }

    /// Drains, then takes no more sends. A service calls it when all its providers are drained.
    async fn shutdown(&self, drain: Drain);

    /// What it has done on this node.
    fn stats(&self) -> Stats;

    /// How the connections of a target stand, those of this node; a provider that does not know says nothing.
    fn connections(&self, target: &Target) -> Vec<ConnectionStats> {
        let _ = target;
        Vec::new()
    }
}
