//! The messages from the client of a registered connection.

use std::sync::Arc;
use std::task::{Context, Poll};

use crate::delivery::registration::Registration;
use crate::inbound::inbox::Inbox;
use crate::inbound::meter::Meter;
use crate::traits::codec::Codec;
use crate::values::handler_error::HandlerError;
use crate::values::inbound::{Inbound, InboundPayload};
use crate::values::throttles::MeteredKind;

impl<C: Codec> Registration<C> {
    /// Queues an event from the client for the handlers; `false` asks the session to pause reading
    /// until [`Registration::poll_room`], or to stop if the connection is to be closed: its events
    /// are ignored.
    pub fn receive(&self, inbound: Inbound) -> bool {
        if self.is_closed() {
            return false;
        }
        let size = inbound.size();
        self.dispatcher.count_in(size);
        let has_room = self.inbox().push(inbound);
        self.charge(MeteredKind::Event, 1, size) && has_room
    }

    /// Counts messages of the client that are neither events nor answers, or further bytes of those
    /// that are, against its rate; `false` asks the session to pause reading until
    /// [`Registration::poll_room`].
    pub fn charge(&self, kind: MeteredKind, messages: u32, bytes: usize) -> bool {
        self.is_closed() || self.meter().is_none_or(|meter| meter.charge(kind, messages, bytes))
    }

    /// Ready when reading may resume.
    pub fn poll_room(&self, cx: &mut Context<'_>) -> Poll<()> {
        let room = self.connection.inbox.get().map_or(Poll::Ready(()), |inbox| inbox.poll_room(cx));
        let free = self.created_meter().map_or(Poll::Ready(()), |meter| meter.poll_free(cx));
        if room.is_ready() { free } else { room }
    }

    /// Returns whether the session was asked to pause reading, and may not resume yet.
    pub fn is_paused(&self) -> bool {
        self.connection.inbox.get().is_some_and(|inbox| inbox.is_paused())
            || self.created_meter().is_some_and(|meter| meter.is_held())
    }

    /// Sets a callback for each time that reading may resume, if [`Registration::is_paused`] is
    /// false then, for transports whose reader is not the session's task.
    pub fn on_room(&self, call: impl Fn() + Send + Sync + 'static) {
        let call: Arc<dyn Fn() + Send + Sync> = Arc::new(call);
        self.inbox().on_room({
            let call = Arc::clone(&call);
            move || call()
        });
        self.created_meter().into_iter().for_each(|meter| meter.on_free(Arc::clone(&call)));
    }

    /// Returns the connection's meter, created on first use; none if there is no rate.
    fn meter(&self) -> Option<&Arc<Meter>> {
        self.connection.meter.get_or_init(|| self.dispatcher.meter(&self.connection)).as_ref()
    }

    fn created_meter(&self) -> Option<&Arc<Meter>> {
        self.connection.meter.get()?.as_ref()
    }

    /// Returns the connection's queue of inbound events, created with its worker on first use.
    pub fn inbox(&self) -> &Arc<Inbox> {
        if let Some(inbox) = self.connection.inbox.get() {
            return inbox;
        }
        let inbox = self.connection.inbox.get_or_init(|| self.dispatcher.start_worker(&self.connection));
        if self.connection.has_left() {
            // It was unregistered before it had an inbox: nothing else would end the worker.
            inbox.abandon();
        }
        inbox
    }

    /// Settles an ask with the client's answer; `false` if no caller waits for it (any more), or
    /// the connection is to be closed. One that nobody waits for counts against the client's rate:
    /// the session asks [`Registration::is_paused`] afterwards.
    pub fn answer(&self, ack: u64, payload: InboundPayload) -> bool {
        if self.is_closed() {
            return false;
        }
        let size = payload.bytes().len();
        self.dispatcher.count_in(size);
        let awaited = self.dispatcher.answer(ack, self.id(), payload);
        self.charge(MeteredKind::Event, u32::from(!awaited), size);
        awaited
    }

    /// Settles an ask whose answer cannot be read; `false` as with [`Registration::answer`].
    pub fn answer_unreadable(&self, ack: u64) -> bool {
        !self.is_closed() && self.dispatcher.answer_unreadable(ack, self.id())
    }

    /// Sends the client an error, as the answer to its number if it gave one, in order with the
    /// answers of the handlers; `false` asks the session to pause reading until
    /// [`Registration::poll_room`].
    pub fn reject(&self, error: HandlerError, ack: Option<u64>) -> bool {
        if self.is_closed() {
            return false;
        }
        let has_room = self.inbox().push_rejected(error, ack);
        self.charge(MeteredKind::Event, 1, 0) && has_room
    }
}
