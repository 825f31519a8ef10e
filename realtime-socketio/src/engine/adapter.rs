use std::convert::Infallible;
use std::future::Future;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use socketioxide::adapter::Emitter;
use socketioxide::socket::Sid;
use socketioxide::{AckError, SocketError};
use socketioxide_core::adapter::{BroadcastOptions, CoreAdapter, CoreLocalAdapter, DefinedAdapter, SocketEmitter};
use socketioxide_core::packet::Packet;

use crate::packet::args::{self, Arguments, Unreadable};
use crate::packet::encoded::Encoded;

/// Failure to put a packet into a socket's channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SendError {
    /// The channel is full, which the credit window should prevent.
    #[error("the socket's channel is full")]
    Full,
    /// The socket is disconnected.
    #[error("the socket is disconnected")]
    Disconnected,
}

/// Failure of an ask.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// The socket disconnected before the answer.
    #[error("the socket is disconnected")]
    Disconnected,
    /// The answer could not be read.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
    /// No answer came in time.
    #[error("no answer in time")]
    TimedOut,
}

/// Slot for the main namespace's adapter, set once the namespace exists.
#[derive(Clone, Default)]
pub struct MainAdapter(Arc<OnceLock<Weak<DirectAdapter>>>);

impl MainAdapter {
    /// Returns the adapter while the namespace exists.
    pub(crate) fn find(&self) -> Option<Arc<DirectAdapter>> {
        self.0.get().and_then(Weak::upgrade)
    }
}

/// Marker type of this crate's handlers for socketioxide's handler traits.
pub(crate) enum Inline {}

/// Adapter of [`SocketIoProvider::io`](crate::SocketIoProvider::io); only named as the parameter of
/// socketioxide's types.
///
/// The type is socketioxide's local adapter, with a way to pass one encoded packet to one socket,
/// immediately and without serde.
///
/// socketioxide's own `emit` serialises for every call. `CoreLocalAdapter` is the only public type
/// that accepts an encoded packet, and it can only be stored in an adapter's `init`.
pub struct DirectAdapter {
    local: CoreLocalAdapter<Emitter>,
    main: MainAdapter,
}

impl DirectAdapter {
    /// Puts one packet into the socket's channel, in the order of the calls.
    ///
    /// Packets for a socket that is not in the namespace are dropped without an error; its
    /// disconnect hook runs.
    ///
    /// # Errors
    /// [`SendError::Full`], and [`SendError::Disconnected`] while the socket is being closed.
    pub(crate) fn send(&self, sid: Sid, packet: &Encoded) -> Result<(), SendError> {
        match self.local.broadcast(packet.packet(), BroadcastOptions::new(sid)) {
            Ok(()) => Ok(()),
            Err(errors) if errors.iter().any(|error| matches!(error, SocketError::InternalChannelFull)) => {
                Err(SendError::Full)
            }
            Err(_) => Err(SendError::Disconnected),
        }
    }

    /// Puts one event into the socket's channel and waits for the client's answer.
    ///
    /// Needs a runtime with time. Dropping the future discards the answer.
    ///
    /// # Errors
    /// [`SendError::Full`] or [`SendError::Disconnected`] when the event was not sent; the future:
    /// [`AskError`].
    pub(crate) fn ask(
        &self,
        sid: Sid,
        packet: &Encoded,
        timeout: Duration,
    ) -> Result<impl Future<Output = Result<Arguments, AskError>> + Send + use<>, SendError> {
        let (answers, sent) = self.local.broadcast_with_ack(packet.packet(), BroadcastOptions::new(sid), Some(timeout));
        let mut answers = Box::pin(answers);
        if sent == 0 {
            return Err(SendError::Disconnected);
        }
        // A packet that was not put into the channel has its answer, an error, immediately.
        let early = answers.next().now_or_never().flatten().map(|(_, answer)| answer);
        match early {
            Some(Err(AckError::Socket(SocketError::InternalChannelFull))) => return Err(SendError::Full),
            Some(Err(AckError::Socket(SocketError::Closed))) => return Err(SendError::Disconnected),
            _ => {}
        }
        Ok(async move {
            let answer = match early {
                Some(answer) => Some(answer),
                None => answers.next().await.map(|(_, answer)| answer),
            };
            match answer {
                Some(Ok(value)) => Ok(args::read_ack(value)?),
                Some(Err(AckError::Timeout)) => Err(AskError::TimedOut),
                Some(Err(_)) | None => Err(AskError::Disconnected),
            }
        })
    }

    /// Disconnects one socket from the main namespace; its hook runs, its Engine.IO session stays
    /// open.
    ///
    /// # Errors
    /// [`SendError::Full`]: nothing happened.
    pub(crate) fn disconnect(&self, sid: Sid) -> Result<(), SendError> {
        self.local.disconnect_socket(BroadcastOptions::new(sid)).map_err(|_| SendError::Full)
    }
}

impl DefinedAdapter for DirectAdapter {}

impl CoreAdapter<Emitter> for DirectAdapter {
    type Error = Infallible;
    type State = MainAdapter;
    type AckStream = <Emitter as SocketEmitter>::AckStream;
    type InitRes = ();

    fn new(state: &Self::State, local: CoreLocalAdapter<Emitter>) -> Self {
        Self { local, main: state.clone() }
    }

    fn init(self: Arc<Self>, on_success: impl FnOnce() + Send + 'static) -> Self::InitRes {
        if self.local.path().as_str() == "/" {
            self.main.0.get_or_init(|| Arc::downgrade(&self));
        }
        on_success();
    }

    async fn broadcast_with_ack(
        &self,
        packet: Packet,
        opts: BroadcastOptions,
        timeout: Option<Duration>,
    ) -> Result<Self::AckStream, Self::Error> {
        Ok(self.local.broadcast_with_ack(packet, opts, timeout).0)
    }

    fn get_local(&self) -> &CoreLocalAdapter<Emitter> {
        &self.local
    }
}
