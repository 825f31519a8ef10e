//! Asks: events that each matched connection answers.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;

use crate::delivery::dispatcher::Dispatcher;
use crate::log::ask::ACKS;
use crate::traits::broadcast::SocketIoBroadcast;
use crate::traits::codec::Codec;
use crate::values::ack::{AckStatus, Acks};
use crate::values::connection::ConnectionId;
use crate::values::error::Result;
use crate::values::event::Event;
use crate::values::fate::Answer;
use crate::values::inbound::InboundPayload;
use crate::values::position::Position;
use crate::values::target::Target;

#[async_trait]
impl<C: Codec> SocketIoBroadcast for Arc<Dispatcher<C>> {
    async fn to_user_with_ack(&self, user: &str, event: Event, timeout: Duration) -> Result<Acks> {
        Dispatcher::ask(self, Target::user(user), event, timeout).await
    }

    async fn to_room_with_ack(&self, room: &str, event: Event, timeout: Duration) -> Result<Acks> {
        Dispatcher::ask(self, Target::room(room), event, timeout).await
    }

    async fn ask(&self, target: Target, event: Event, timeout: Duration) -> Result<Acks> {
        Dispatcher::ask(self, target, event, timeout).await
    }
}

impl<C: Codec> Dispatcher<C> {
    /// Asks the connections of a target; the answers come as they arrive, for `timeout` (and a day)
    /// at most.
    ///
    /// # Errors
    /// Those of [`crate::RealtimeBroadcast::send`]; [`crate::Error::Unsupported`] where clients
    /// cannot answer, and for a volatile event or one with a key.
    pub async fn ask(self: &Arc<Self>, target: Target, event: Event, timeout: Duration) -> Result<Acks> {
        self.check_question(&target, &event)?;
        self.open_log()?.ask(Some(&[self.config.provider]), target, event, timeout).await
    }

    pub(super) fn check_question(&self, target: &Target, event: &Event) -> Result<()> {
        if !self.config.capabilities.acks {
            return Err(self.unsupported(ACKS));
        }
        if event.is_volatile() {
            return Err(self.unsupported("volatile asks"));
        }
        self.check_keys(event, "idempotency keys of asks", "latest keys of asks")?;
        self.check_event(target, event)
    }

    pub(crate) fn answer(&self, ack: u64, connection: ConnectionId, payload: InboundPayload) -> bool {
        let offline = self.runtime.get().and_then(|runtime| runtime.log.offline());
        let life = offline.map_or(0, |offline| offline.life());
        let ask = self.asks().settle(ack, connection);
        let is_answer = ask.is_some_and(|ask| {
            self.keep_answer(ack, connection, Answer::Received);
            ask.settle(connection, AckStatus::Answered, Some(payload))
        });
        if is_answer && let Some(offline) = offline {
            offline.settle(life, [Position::new(ack)]);
        }
        is_answer
    }

    pub(crate) fn answer_unreadable(&self, ack: u64, connection: ConnectionId) -> bool {
        let ask = self.asks().settle(ack, connection);
        ask.is_some_and(|ask| {
            self.keep_answer(ack, connection, Answer::Unreadable);
            ask.settle(connection, AckStatus::Unreadable, None)
        })
    }
}
