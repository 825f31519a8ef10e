use std::future::poll_fn;
use std::sync::Arc;
use std::task::Poll;

use bytes::Bytes;
use futures_sink::Sink;
use futures_util::SinkExt;
use tokio::time::timeout;

use crate::{Admitted, CloseReason, Codec, ConnectionId, Dispatcher, SessionOutlet, Take};

/// A connection without a network, made by a provider's `connect`; dropping it ends the connection.
#[derive(Debug)]
pub struct Link {
    id: ConnectionId,
    task: tokio::task::JoinHandle<()>,
}

/// Bytes moved to the sink between two flushes.
const BATCH_BYTES: usize = 64 * 1024;

impl Link {
    /// The connection's id.
    pub fn id(&self) -> ConnectionId {
        self.id
    }

    /// Ends the connection.
    pub fn close(self) {}

    /// Waits until the connection has ended by itself: closed by the server, or the sink failed.
    pub async fn closed(mut self) {
        let _ = (&mut self.task).await;
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<C: Codec> Dispatcher<C> {
    /// Delivers into any sink what a connection of the network would get: the same welcome, limits, order and
    /// catch-up. `bytes` turns a frame into what the sink takes.
    pub fn connect_sink<S>(self: &Arc<Self>, admitted: Admitted, sink: S, bytes: fn(&C::Frame) -> Bytes) -> Link
    where
        S: Sink<Bytes> + Send + 'static,
    {
        let outlet = Arc::new(SessionOutlet::new());
        let registration = self.register(admitted, Arc::clone(&outlet) as _);
        let id = registration.id();
        let write_stall = self.config().write_stall;
        let task = tokio::spawn(async move {
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
                    Ok(Ok(())) => {}
                    Ok(Err(_)) => break CloseReason::CONNECTION_LOST,
                    Err(_) => break CloseReason::WRITE_STALL,
                }
                if let Take::Closed(reason) = take {
                    // The sink learns of the end by being closed; if that fails the end is the same.
                    let _ = poll_fn(|cx| Poll::Ready(sink.as_mut().poll_close(cx).is_ready())).await;
                    break reason;
                }
            };
            registration.end(reason);
        });
        Link { id, task }
    }
}
