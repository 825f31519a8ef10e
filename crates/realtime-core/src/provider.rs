use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::{Acks, Capabilities, CloseReason, ConnectionStats, Drain, Event, Receipt, Result, Runtime, Stats, Target};

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

    /// Closes the connections a target means, on all nodes; answers how many of this node were told to close.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`], [`crate::Error::Backplane`].
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

/// Sends events to users, tenants, rooms and everyone.
#[async_trait]
pub trait RealtimeBroadcast: Send + Sync {
    /// Sends an event; resolves when it is in the log and in this node's outboxes.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`], [`crate::Error::Unsupported`] and [`crate::Error::TooLarge`] before anything
    /// is logged; [`crate::Error::Backplane`] when nobody got it; [`crate::Error::OutcomeUnknown`] when that is not known.
    async fn send(&self, target: Target, event: Event) -> Result<Receipt>;

    /// [`RealtimeBroadcast::send`] to every connection of a user.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_user(&self, user: &str, event: Event) -> Result<Receipt> {
        self.send(Target::user(user), event).await
    }

    /// [`RealtimeBroadcast::send`] to every connection of a tenant.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_tenant(&self, tenant: &str, event: Event) -> Result<Receipt> {
        self.send(Target::tenant(tenant), event).await
    }

    /// [`RealtimeBroadcast::send`] to the members of a room.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_room(&self, room: &str, event: Event) -> Result<Receipt> {
        self.send(Target::room(room), event).await
    }

    /// [`RealtimeBroadcast::send`] to everyone.
    ///
    /// # Errors
    /// Those of `send`.
    async fn to_all(&self, event: Event) -> Result<Receipt> {
        self.send(Target::all(), event).await
    }
}

/// Puts users into rooms and takes them out, for all their connections of now and later.
#[async_trait]
pub trait RoomMembership: Send + Sync {
    /// Joins a user to a room; resolves when sends to the room reach the user's connections here.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`], [`crate::Error::Backplane`], [`crate::Error::OutcomeUnknown`].
    async fn join_room(&self, user: &str, room: &str) -> Result<()>;

    /// Takes all of a user's connections out of a room, also those that entered it themselves.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`], [`crate::Error::Backplane`], [`crate::Error::OutcomeUnknown`].
    async fn leave_room(&self, user: &str, room: &str) -> Result<()>;

    /// The rooms a user has been joined to and those that the user's connections of this node entered, sorted by name.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`].
    async fn user_rooms(&self, user: &str) -> Result<Vec<String>>;
}

/// What bidirectional transports add: questions that each matched connection answers, and rooms.
#[async_trait]
pub trait SocketIoBroadcast: RealtimeBroadcast + RoomMembership {
    /// Asks every connection of a user; the answers come as they arrive, for this long at most.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`].
    async fn to_user_with_ack(&self, user: &str, event: Event, timeout: Duration) -> Result<Acks>;

    /// Asks every member of a room; the answers come as they arrive, for this long at most.
    ///
    /// # Errors
    /// Those of [`RealtimeBroadcast::send`].
    async fn to_room_with_ack(&self, room: &str, event: Event, timeout: Duration) -> Result<Acks>;
}
