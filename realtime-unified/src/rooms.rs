//! Rooms of users, and closing connections, with every provider.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::time::SystemTime;

use realtime_core::spi::Log;
use realtime_core::{CloseReason, ConnectionId, Delivered, Error, EventId, Receipt, Result, RoomMembership, Target};

use crate::registry::Entry;
use crate::send::ROOMS;
use crate::service::NotificationService;

/// A provider's name and its rooms.
type Named = (&'static str, Arc<dyn RoomMembership>);

impl NotificationService {
    /// Joins a user to a room, in every tenant, for its connections over any transport, current and
    /// future: one record in the log, so all or nothing.
    ///
    /// # Errors
    /// Those of [`RoomMembership::join_room`]; [`Error::Unsupported`] when no provider has rooms;
    /// the first error of a custom provider, after those before it have joined the user.
    pub async fn join_room(&self, user: &str, room: &str) -> Result<Receipt> {
        let others = self.other_rooms();
        let others = others.iter().map(|(name, rooms)| async { (*name, rooms.join_room(user, room).await) });
        change(self.log_in_use().map(|log| log.join_room(user, None, room)), others).await
    }

    /// Joins the user of one tenant to a room, for its connections over any transport, current and
    /// future.
    ///
    /// # Errors
    /// Those of [`NotificationService::join_room`].
    pub async fn join_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<Receipt> {
        let others = self.other_rooms();
        let others = others.iter().map(|(name, rooms)| async { (*name, rooms.join_room_in(tenant, user, room).await) });
        change(self.log_in_use().map(|log| log.join_room(user, Some(tenant), room)), others).await
    }

    /// Removes a user from a room, in every tenant, for its connections over any transport: one
    /// record in the log.
    ///
    /// # Errors
    /// Those of [`NotificationService::join_room`].
    pub async fn leave_room(&self, user: &str, room: &str) -> Result<Receipt> {
        let others = self.other_rooms();
        let others = others.iter().map(|(name, rooms)| async { (*name, rooms.leave_room(user, room).await) });
        change(self.log_in_use().map(|log| log.leave_room(user, None, room)), others).await
    }

    /// Removes the user of one tenant from a room, also if it was joined by its bare name.
    ///
    /// # Errors
    /// Those of [`NotificationService::join_room`].
    pub async fn leave_room_in(&self, tenant: &str, user: &str, room: &str) -> Result<Receipt> {
        let others = self.other_rooms();
        let others =
            others.iter().map(|(name, rooms)| async { (*name, rooms.leave_room_in(tenant, user, room).await) });
        change(self.log_in_use().map(|log| log.leave_room(user, Some(tenant), room)), others).await
    }

    /// Returns the rooms that a user has been joined to, in any tenant, and those that its
    /// connections of this node entered, with whatever provider; sorted by name.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; the first error of a custom provider.
    pub async fn user_rooms(&self, user: &str) -> Result<Vec<String>> {
        let others = self.other_rooms();
        let others = others.iter().map(|(_, rooms)| rooms.user_rooms(user));
        union(self.log_in_use().map(|log| log.user_rooms(user, None)), others).await
    }

    /// Returns the rooms of one tenant's user, as [`NotificationService::user_rooms`] does.
    ///
    /// # Errors
    /// Those of [`NotificationService::user_rooms`].
    pub async fn user_rooms_in(&self, tenant: &str, user: &str) -> Result<Vec<String>> {
        let others = self.other_rooms();
        let others = others.iter().map(|(_, rooms)| rooms.user_rooms_in(tenant, user));
        union(self.log_in_use().map(|log| log.user_rooms(user, Some(tenant))), others).await
    }

    /// Closes the connections of a target with every provider, here immediately and on all nodes
    /// through the log. Returns how many were asked to close, on all nodes as far as they have
    /// reported it within two seconds.
    ///
    /// # Errors
    /// Those of [`realtime_core::RealtimeProvider::close`], after all providers were asked.
    pub async fn close(&self, target: Target, reason: CloseReason) -> Result<usize> {
        let mut closing = match self.log_in_use() {
            Some(log) => log.close(target.clone(), reason.clone()).await,
            None => Ok(0),
        };
        for entry in self.named(None).1 {
            let closed = entry.provider.close(target.clone(), reason.clone()).await;
            closing = closing.and_then(|closing| Ok(closing + closed?));
        }
        closing
    }

    /// Closes the connections of a user, in any tenant, with every provider on all nodes: the
    /// client gets code 4000 with this text, of which the first 123 bytes count (the default one if
    /// it is empty), and should not reconnect by itself. Returns how many were asked to close, as
    /// [`NotificationService::close`] does.
    ///
    /// # Errors
    /// Those of [`NotificationService::close`].
    pub async fn disconnect_user(&self, user: &str, reason: impl Into<String>) -> Result<usize> {
        self.close(Target::user(user), CloseReason::kicked(reason)).await
    }

    /// Closes the connections of one tenant's user, as [`NotificationService::disconnect_user`]
    /// does.
    ///
    /// # Errors
    /// Those of [`NotificationService::close`].
    pub async fn disconnect_user_in(&self, tenant: &str, user: &str, reason: impl Into<String>) -> Result<usize> {
        self.close(Target::user_in(tenant, user), CloseReason::kicked(reason)).await
    }

    /// Closes one connection, of whatever node, as [`NotificationService::disconnect_user`] does.
    ///
    /// # Errors
    /// Those of [`NotificationService::close`].
    pub async fn disconnect(&self, connection: ConnectionId, reason: impl Into<String>) -> Result<usize> {
        self.close(Target::connection(connection), CloseReason::kicked(reason)).await
    }

    /// Revokes the token with this id ([`Identity::with_token_id`](realtime_core::Identity)) until
    /// a time, on all nodes and whatever the provider: its connections are closed with code 4004,
    /// and connections and refreshes with it are refused with 401, by nodes that start later too. A
    /// time that has passed revokes nothing; of two revocations of a token the later end counts.
    /// Each node compares the time with its own clock.
    ///
    /// Returns how many connections were asked to close, as [`NotificationService::close`] does.
    ///
    /// # Errors
    /// [`Error::InvalidName`]; [`Error::NotAttached`] without a provider that reads the log;
    /// [`Error::TooManyRevocations`] beyond
    /// [`revocations`](crate::NotificationServiceBuilder::revocations), and [`Error::Backplane`]:
    /// the token is not revoked. When only the record could not be appended, those of
    /// [`NotificationService::close`]: the other nodes refuse the token within 30 seconds.
    pub async fn revoke_token(&self, id: &str, until: SystemTime) -> Result<usize> {
        let runtime = self.runtime().ok_or_else(|| Error::NotAttached { provider: None })?;
        runtime.log.revoke_token(id, until, runtime.max_revocations).await
    }

    /// Returns the log, if a provider of this service is attached to it.
    fn log_in_use(&self) -> Option<&Log> {
        self.log().filter(|_| !self.named(None).0.is_empty())
    }

    /// Returns the custom providers that have rooms.
    fn other_rooms(&self) -> Vec<Named> {
        let rooms = |entry: &Entry| Some((entry.name(), entry.provider.rooms()?));
        self.named(None).1.into_iter().filter_map(rooms).collect()
    }
}

/// Changes the rooms of a user with the log, then with the custom providers, one after the other.
async fn change<F: Future<Output = (&'static str, Result<()>)>>(
    logged: Option<impl Future<Output = Result<Receipt>>>,
    others: impl Iterator<Item = F>,
) -> Result<Receipt> {
    let mut receipt = match logged {
        Some(logged) => Some(logged.await?),
        None => None,
    };
    for other in others {
        let (name, result) = other.await;
        result?;
        let receipt = receipt.get_or_insert_with(|| Receipt::new(EventId::random(), None, None));
        receipt.add(name, Receipt::new(receipt.id, None, Some(Delivered::default())));
    }
    receipt.ok_or_else(|| Error::Unsupported { provider: None, what: ROOMS })
}

/// Returns the names that the log and the custom providers return.
async fn union<F: Future<Output = Result<Vec<String>>>>(
    logged: Option<Result<Vec<String>>>,
    others: impl Iterator<Item = F>,
) -> Result<Vec<String>> {
    let mut rooms: BTreeSet<_> = logged.transpose()?.into_iter().flatten().collect();
    for other in others {
        rooms.extend(other.await?);
    }
    Ok(rooms.into_iter().collect())
}
