use std::sync::Arc;

use async_trait::async_trait;

use crate::delivery::dispatcher::Dispatcher;
use crate::traits::broadcast::{RealtimeBroadcast, RoomMembership, SocketIoBroadcast};
use crate::traits::codec::Codec;
use crate::traits::provider::RealtimeProvider;
use crate::traits::runtime::Runtime;
use crate::values::capabilities::Capabilities;
use crate::values::close::CloseReason;
use crate::values::connection_stats::ConnectionStats;
use crate::values::drain::Drain;
use crate::values::error::Result;
use crate::values::stats::Stats;
use crate::values::target::Target;

/// A provider that delivers by a [`Dispatcher`]: it becomes a [`RealtimeProvider`] by saying where
/// the dispatcher is.
///
/// ```
/// use std::sync::Arc;
///
/// use realtime_core::spi::{Codec, Dispatched, Dispatcher};
/// use realtime_core::{Capabilities, RealtimeProvider};
///
/// struct Mine<C: Codec> {
///     dispatcher: Arc<Dispatcher<C>>,
/// }
///
/// impl<C: Codec> Dispatched for Mine<C> {
///     type Codec = C;
///
///     fn name(&self) -> &'static str {
///         "mine"
///     }
///
///     fn capabilities(&self) -> Capabilities {
///         Capabilities::none().with_resume(true).with_rooms(true)
///     }
///
///     fn dispatcher(&self) -> &Arc<Dispatcher<C>> {
///         &self.dispatcher
///     }
/// }
///
/// fn is_a_provider<P: RealtimeProvider>() {}
/// # fn check<C: Codec>() { is_a_provider::<Mine<C>>() }
/// ```
#[async_trait]
pub trait Dispatched: Send + Sync + 'static {
    /// The encoding of this provider's frames.
    type Codec: Codec;

    /// Returns the provider's name.
    fn name(&self) -> &'static str;

    /// Returns what the provider can do. With [`Capabilities::acks`] it has a
    /// [`SocketIoBroadcast`].
    fn capabilities(&self) -> Capabilities;

    /// Returns the dispatcher, the same one each time.
    fn dispatcher(&self) -> &Arc<Dispatcher<Self::Codec>>;

    /// Checks the configuration and the handlers; by default there is nothing to check.
    ///
    /// # Errors
    /// [`crate::Error::Config`] that names the field.
    fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Runs once the dispatcher is attached; by default nothing happens.
    fn attached(&self) {}

    /// Closes the provider's own resources after the dispatcher has shut down; by default nothing
    /// happens.
    async fn finish(&self) {}
}

#[async_trait]
#[diagnostic::do_not_recommend]
impl<P: Dispatched> RealtimeProvider for P {
    fn name(&self) -> &'static str {
        Dispatched::name(self)
    }

    fn capabilities(&self) -> Capabilities {
        Dispatched::capabilities(self)
    }

    fn check(&self) -> Result<()> {
        Dispatched::check(self)
    }

    async fn attach(&self, runtime: Runtime) -> Result<()> {
        Dispatched::check(self)?;
        self.dispatcher().attach(runtime).await?;
        self.attached();
        Ok(())
    }

    fn broadcast(&self) -> Arc<dyn RealtimeBroadcast> {
        Arc::new(Arc::clone(self.dispatcher()))
    }

    fn socket_io(&self) -> Option<Arc<dyn SocketIoBroadcast>> {
        Dispatched::capabilities(self).acks.then(|| Arc::new(Arc::clone(self.dispatcher())) as _)
    }

    fn rooms(&self) -> Option<Arc<dyn RoomMembership>> {
        Some(Arc::new(Arc::clone(self.dispatcher())))
    }

    async fn close(&self, target: Target, reason: CloseReason) -> Result<usize> {
        self.dispatcher().close(target, reason).await
    }

    async fn drain(&self, drain: Drain) {
        self.dispatcher().drain(drain).await;
    }

    async fn shutdown(&self, drain: Drain) {
        self.dispatcher().shutdown(drain).await;
        self.finish().await;
    }

    fn stats(&self) -> Stats {
        self.dispatcher().stats()
    }

    fn connections(&self, target: &Target) -> Vec<ConnectionStats> {
        self.dispatcher().connections(target)
    }
}
