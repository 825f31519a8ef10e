use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_sink::Sink;
use futures_util::SinkExt;
use tokio::time::timeout;

use crate::delivery::dispatcher::{Admitted, Dispatcher};
use crate::delivery::outbox::Take;
use crate::delivery::registration::Registration;
use crate::traits::codec::Codec;
use crate::traits::outlet::SessionOutlet;
use crate::values::close::CloseReason;
use crate::values::connection::ConnectionId;
use crate::values::error::Result;
use crate::values::inbound::Inbound;
use crate::values::name::check_name;

/// A connection without a network, created by a provider's `connect`; dropping it closes the
/// connection.
pub struct Link {
    id: ConnectionId,
    end: Arc<dyn LinkEnd>,
    task: tokio::task::JoinHandle<()>,
}

/// The registration of a link, without its codec's type.
trait LinkEnd: Send + Sync {
    fn receive(&self, inbound: Inbound) -> bool;
    fn enter_room(&self, room: &str) -> Result<bool>;
    fn leave(&self, reason: CloseReason);
}

impl<C: Codec> LinkEnd for Registration<C> {
    fn receive(&self, inbound: Inbound) -> bool {
        Self::receive(self, inbound)
    }

    fn enter_room(&self, room: &str) -> Result<bool> {
        check_name("room", room)?;
        Ok(self.dispatcher().enter_room(self.id(), room))
    }

    fn leave(&self, reason: CloseReason) {
        Self::leave(self, reason);
    }
}

/// The number of bytes fed to the sink between two flushes.
const BATCH_BYTES: usize = 64 * 1024;

impl Link {
    /// Returns the connection's id.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Passes the connection an event as its client would send it; the handlers run in order, their
    /// answers go into the sink. `false` when so many events wait that the reading of a network's
    /// client would be paused.
    pub fn receive(&self, inbound: Inbound) -> bool {
        self.end.receive(inbound)
    }

    /// Adds the connection to a room, without asking the policy; `false` if it was in already.
    ///
    /// # Errors
    /// [`crate::Error::InvalidName`].
    pub fn enter_room(&self, room: &str) -> Result<bool> {
        self.end.enter_room(room)
    }

    /// Closes the connection as a client does with a close frame.
    pub fn close(self) {
        self.end.leave(CloseReason::NORMAL);
    }

    /// Waits until the connection is closed by the server, or the sink has failed.
    pub async fn closed(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<C: Codec> Dispatcher<C> {
    /// Delivers into any sink what a connection of the network would get: the same welcome, limits,
    /// order and catch-up. `bytes` converts a frame to the sink's bytes.
    pub fn connect_sink<S>(self: &Arc<Self>, admitted: Admitted, sink: S, bytes: fn(&C::Frame) -> Bytes) -> Link
    where
        S: Sink<Bytes> + Send + 'static,
    {
        let outlet = Arc::new(SessionOutlet::new());
        let registration = Arc::new(self.register(admitted, Arc::clone(&outlet) as _));
        let (id, end) = (registration.id(), Arc::clone(&registration) as Arc<dyn LinkEnd>);
        let write_stall = self.config().delivery.write_stall;
        let session = async move {
            let mut sink = Box::pin(sink);
            let mut frames = Vec::new();
            let reason = 'session: loop {
                let take = poll_fn(|cx| outlet.poll_take(&registration, cx, BATCH_BYTES, &mut frames)).await;
                for frame in frames.drain(..) {
                    match timeout(write_stall, sink.feed(bytes(&frame))).await {
                        Ok(Ok(())) => {}
                        Ok(Err(_)) => break 'session CloseReason::CONNECTION_LOST,
                        Err(_) => break 'session CloseReason::WRITE_STALL,
                    }
                }
                match timeout(write_stall, sink.flush()).await {
                    Ok(Ok(())) => registration.written(),
                    Ok(Err(_)) => break CloseReason::CONNECTION_LOST,
                    Err(_) => break CloseReason::WRITE_STALL,
                }
                if let Take::Closed(reason) = take {
                    // Closing notifies the sink; a failure changes nothing.
                    let _ = poll_fn(|cx| Poll::Ready(sink.as_mut().poll_close(cx).is_ready())).await;
                    break reason;
                }
            };
            registration.leave(reason);
        };
        Link { id, end, task: tokio::spawn(session) }
    }
}
