//! The end of connections: by the application, with their credentials, and with a token's
//! revocation.

use std::sync::Arc;

use tokio::time::Instant;

use crate::delivery::connection::Connection;
use crate::delivery::credentials::Due;
use crate::delivery::dispatcher::Dispatcher;
use crate::traits::codec::Codec;
use crate::values::close::CloseReason;
use crate::values::event::Event;
use crate::values::position::Position;

impl<C: Codec> Dispatcher<C> {
    /// Closes a connection, with a last frame that says why where the transport's close does not;
    /// returns `false` if it was asked before.
    pub(crate) fn end(&self, connection: &Connection<C::Frame>, reason: &CloseReason) -> bool {
        let last_frame = (!self.codec.has_close_codes()).then(|| {
            let value = serde_json::json!({
                "code": reason.code(),
                "reason": reason.text(),
                "reconnect": reason.should_reconnect(),
            });
            self.codec.event(&Event::protocol("closed", &value), None)
        });
        connection.close_with(Position::START, reason.clone(), last_frame)
    }

    /// Closes the connections whose credentials are the token with this id; returns how many were
    /// not closed before.
    pub(super) fn end_token(&self, token: &str) -> usize {
        let everyone = self.hub.everyone();
        let is_meant = |connection: &&Arc<Connection<C::Frame>>| {
            connection.credentials.as_ref().is_some_and(|credentials| credentials.is_token(token))
        };
        everyone.iter().filter(is_meant).filter(|connection| self.end(connection, &CloseReason::REVOKED)).count()
    }

    /// Begins to watch the credentials of a connection that was just registered.
    pub(super) fn begin_credentials(&self, connection: &Arc<Connection<C::Frame>>) {
        self.expiries.schedule(connection, self.config.delivery.expiry_notice);
        self.end_if_revoked(connection);
    }

    /// Closes a connection whose token was revoked after it had been checked: who revokes it adds
    /// it to the table first, and looks for connections then.
    pub(super) fn end_if_revoked(&self, connection: &Connection<C::Frame>) {
        let identity = connection.current_info().identity;
        if self.runtime.get().is_some_and(|runtime| runtime.log.is_revoked(&identity)) {
            self.end(connection, &CloseReason::REVOKED);
        }
    }

    /// Tells connections that their credentials are about to end, and closes them when they do,
    /// until the dispatcher is shut down.
    pub(super) async fn watch_expiries(self: Arc<Self>) {
        loop {
            tokio::select! {
                () = self.expiries.due() => {}
                () = self.running.stop.cancelled() => return,
            }
            for (connection, due) in self.expiries.take(Instant::now()) {
                match due {
                    Due::End => {
                        self.end(&connection, &CloseReason::EXPIRED);
                    }
                    Due::Notice(left, _) => {
                        let (frame, outbox) = (self.codec.expiring(left), self.config.delivery.outbox);
                        // Left out if the lane is full: such a client would not read it in time
                        // either.
                        let (_, wake) = connection.outbox.push_side(frame, false, outbox, Instant::now());
                        if wake {
                            connection.outlet.wake();
                        }
                    }
                    Due::Nothing => {}
                }
            }
        }
    }
}
